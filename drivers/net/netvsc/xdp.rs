// SPDX-License-Identifier: GPL-2.0

//! XDP: what is received is shown to a program first, and goes where that says.
//!
//! The program belongs to the interface, and so survives whatever becomes of the connection to the host.

use crate::{
    counters::Received,
    port::Port,
    settings::ETH_HEADER, //
};
use kernel::prelude::*;
use rlis_hv::SharedMemory;
use rlis_net::{
    NetDevice,
    PollContext,
    RxPacket,
    Verdict,
    XDP_ROOM, //
};

/// The largest MTU with a program: a frame has to lie in a page, with room for the program and for the stack.
pub(crate) const MAX_MTU: u32 = XDP_ROOM - ETH_HEADER;

/// Returns whether a program can be attached; if not, why.
///
/// # Errors
///
/// The reason, for the user to read.
pub(crate) fn allows_program(dev: &NetDevice) -> core::result::Result<(), &'static CStr> {
    if dev.mtu() > MAX_MTU {
        return Err(c"hv_netvsc: XDP: mtu too large");
    }
    if dev.features().lro {
        // What the host has joined lies in no page.
        return Err(c"hv_netvsc: XDP: not support LRO");
    }
    Ok(())
}

/// What is made of a frame that was received.
pub(crate) enum Shown {
    /// There is no program any more.
    NoProgram,
    /// It goes to the stack; there is none if there was no memory for it.
    Pass(Option<RxPacket>),
    /// The program has taken care of it.
    Done,
}

/// Shows a frame of `len` bytes to the program. What that wants sent is kept, and sent by `send_kept` when it is enough.
#[inline(never)]
pub(crate) fn show(
    counters: &Received,
    send_kept: &dyn Fn(&mut PollContext<'_>),
    memory: &SharedMemory,
    position: usize,
    len: usize,
    cx: &mut PollContext<'_>,
) -> Shown {
    if u32::try_from(len).is_ok_and(|len| len > XDP_ROOM) {
        // With a tag in it, or since before the program was there.
        counters.xdp_drop.add(1);
        cx.count();
        return Shown::Done;
    }
    let Some(verdict) = cx.run_program(memory, position, len) else {
        return Shown::NoProgram;
    };
    let received = || {
        counters.packets.add(1);
        counters.bytes.add(u64::try_from(len).unwrap_or(0));
    };
    match verdict {
        Verdict::Pass(packet) => return Shown::Pass(Some(packet)),
        Verdict::NoMemory => return Shown::Pass(None),
        Verdict::Dropped | Verdict::Aborted => counters.xdp_drop.add(1),
        Verdict::Redirected => {
            counters.xdp_redirect.add(1);
            received();
        }
        Verdict::Transmit(frame) => {
            counters.xdp_tx.add(1);
            received();
            if let Err(frame) = cx.keep(frame) {
                send_kept(cx);
                // There is room for it now.
                drop(cx.keep(frame));
            }
        }
    }
    cx.count();
    Shown::Done
}

/// Joined frames are not shown to a program, and must not get past it: the host was told not to join any.
#[cold]
pub(crate) fn refuse_joined(counters: &Received, port: &Port) {
    counters.xdp_drop.add(1);
    port.complain(
        "a frame that the host has joined, in spite of the program that is attached",
        &"dropped",
    );
}

#[kunit_tests(hv_netvsc_xdp)]
mod tests {
    use super::*;

    #[test]
    fn largest_mtu() {
        // As with the C driver.
        assert!((3400..=3506).contains(&MAX_MTU));
    }
}
