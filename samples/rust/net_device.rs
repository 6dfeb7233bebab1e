// SPDX-License-Identifier: GPL-2.0

//! A network interface that throws away what is sent through it.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_net::{
    Counter,
    Driver,
    Duplex,
    Features,
    InterfaceParams,
    LinkSettings,
    MacAddress,
    NetDevice,
    Registration,
    Rtnl,
    Sent,
    Stats,
    TxPacket,
    TxQueue,
    Unregistered, //
};

// --8<--
/// Counts frames. There is one queue, so one writer at a time.
#[derive(Default)]
pub struct Sink {
    frames: Counter,
    bytes: Counter,
}

impl Driver for Sink {
    fn open(&self, dev: &NetDevice, _rtnl: &Rtnl<'_>) -> Result {
        dev.carrier_on();
        Ok(())
    }

    fn stop(&self, dev: &NetDevice, _rtnl: &Rtnl<'_>) {
        dev.carrier_off();
    }

    // A frame is an owned value: it is sent, held, left with the stack or thrown away, and never forgotten.
    fn transmit(&self, _dev: &NetDevice, _queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
        self.frames.add(1);
        self.bytes.add(packet.len().into());
        packet.discard()
    }

    fn stats(&self) -> Stats {
        Stats {
            tx_packets: self.frames.get(),
            tx_bytes: self.bytes.get(),
            ..Stats::default()
        }
    }

    // What needs the RTNL asks for the proof that it is held.
    fn change_mtu(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, mtu: u32) -> Result {
        dev.set_mtu(rtnl, mtu);
        Ok(())
    }
    // -->8--

    fn change_address(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, address: MacAddress) -> Result {
        dev.set_address(rtnl, address);
        Ok(())
    }

    fn rx_mode(&self) {}

    fn link(&self) -> LinkSettings {
        LinkSettings {
            speed: None,
            duplex: Duplex::Full,
        }
    }
}

/// Adds the interface, until the registration is dropped.
///
/// # Errors
///
/// Those of [`Unregistered::register`].
pub fn add() -> Result<Registration<Sink>> {
    let params = InterfaceParams {
        queues: 1,
        address: MacAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        min_mtu: 68,
        max_mtu: 9000,
        features: Features::default(),
    };
    Unregistered::new(None, &params)?.register(Arc::new(Sink::default(), GFP_KERNEL)?)
}
