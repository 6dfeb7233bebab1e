// SPDX-License-Identifier: GPL-2.0

//! What is left to a thread: scanning, LUNs that come, go and change.

use crate::identity;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Mutex, //
    }, //
};
use rlis_hv::work::{
    Task,
    Worker, //
};
use rlis_scsi::HostRef;

/// Places for LUNs that something is to be done about. When they are all taken, the host is scanned instead.
const PLACES: usize = 64;

/// How long a device may take for TEST UNIT READY when the host is scanned, in seconds.
const TEST_SECONDS: u32 = 30;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// Look for LUNs that are gone or new.
    Scan,
    /// Read the properties of a LUN anew.
    Rescan(Address),
    /// Remove a LUN that the host says is not there.
    Remove(Address),
    /// The names of the adapter are these now.
    Names { node: u64, port: u64 },
}

/// Channel, target and LUN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    pub(crate) channel: u8,
    pub(crate) target: u8,
    pub(crate) lun: u8,
}

/// Bits of `Events::flags`.
const SCAN: u32 = 1;
const NAMES: u32 = 2;

/// Bits of a place, besides the address; 0 is a free place.
const RESCAN: u32 = 1 << 24;
const REMOVE: u32 = 2 << 24;

fn encode(kind: u32, address: Address) -> u32 {
    let Address {
        channel,
        target,
        lun,
    } = address;
    kind | u32::from_le_bytes([lun, target, channel, 0])
}

fn decode(place: u32) -> Option<Event> {
    let [lun, target, channel, kind] = place.to_le_bytes();
    let address = Address {
        channel,
        target,
        lun,
    };
    match u32::from(kind) << 24 {
        RESCAN => Some(Event::Rescan(address)),
        REMOVE => Some(Event::Remove(address)),
        _ => None,
    }
}

/// The events of one adapter, and who acts on them.
///
/// Noting an event allocates nothing and takes no lock, so it is possible wherever a command completes, and it
/// cannot fail.
#[pin_data]
pub(crate) struct Events {
    flags: Atomic<u32>,
    places: [Atomic<u32>; PLACES],
    /// The newest names, of the node and of the port.
    names: [Atomic<u64>; 2],
    /// The adapter, as long as its devices are looked after.
    #[pin]
    host: Mutex<Option<HostRef>>,
}

impl Events {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            flags: Atomic::new(0),
            places: [const { Atomic::new(0) }; PLACES],
            names: [const { Atomic::new(0) }; 2],
            host <- new_mutex!(None),
        })
    }

    /// Changes what the thread works on.
    pub(crate) fn retarget(&self, host: Option<HostRef>) {
        let before = core::mem::replace(&mut *self.host.lock(), host);
        drop(before);
    }

    fn note(&self, event: Event) {
        match event {
            Event::Scan => self.set(SCAN),
            Event::Names { node, port } => {
                let [own_node, own_port] = &self.names;
                own_node.store(node, Relaxed);
                own_port.store(port, Relaxed);
                self.set(NAMES);
            }
            Event::Rescan(address) => self.place(encode(RESCAN, address)),
            Event::Remove(address) => self.place(encode(REMOVE, address)),
        }
    }

    fn set(&self, flag: u32) {
        let mut now = self.flags.load(Relaxed);
        while let Err(other) = self.flags.cmpxchg(now, now | flag, Full) {
            now = other;
        }
    }

    fn place(&self, value: u32) {
        if self.places.iter().any(|place| place.load(Relaxed) == value) {
            return;
        }
        if !self
            .places
            .iter()
            .any(|place| place.cmpxchg(0, value, Full).is_ok())
        {
            self.set(SCAN);
        }
    }

    /// Calls `f` for all that has been noted since.
    fn take(&self, mut f: impl FnMut(Event)) {
        let flags = self.flags.xchg(0, Full);
        if flags & NAMES != 0 {
            let [node, port] = &self.names;
            f(Event::Names {
                node: node.load(Relaxed),
                port: port.load(Relaxed),
            });
        }
        for place in &self.places {
            if place.load(Relaxed) != 0 {
                if let Some(event) = decode(place.xchg(0, Full)) {
                    f(event);
                }
            }
        }
        if flags & SCAN != 0 {
            f(Event::Scan);
        }
    }
}

/// Notes an event, and has it acted on soon. Any context.
pub(crate) fn notify(worker: &Worker<Events>, event: Event) {
    worker.note(event);
    worker.queue();
}

impl Task for Events {
    fn run(this: &Worker<Self>) {
        let Some(host) = this.host.lock().clone() else {
            return;
        };
        this.take(|event| match event {
            Event::Names { node, port } => host.set_fc_names(node, port),
            Event::Scan => {
                // The host only says that something has changed. What is gone is found by asking for it.
                host.test_devices(TEST_SECONDS);
                identity::check(&host);
                host.scan();
            }
            Event::Rescan(address) => {
                if let Some(device) = find(&host, address) {
                    identity::look_again(&host, &device);
                }
            }
            Event::Remove(address) => {
                if let Some(device) = find(&host, address) {
                    device.remove();
                }
            }
        });
    }
}

fn find(host: &HostRef, address: Address) -> Option<rlis_scsi::DeviceRef> {
    host.device(
        address.channel.into(),
        address.target.into(),
        address.lun.into(),
    )
}

#[kunit_tests(hv_storvsc_events)]
mod tests {
    use super::*;

    fn address(lun: u8) -> Address {
        Address {
            channel: 1,
            target: 2,
            lun,
        }
    }

    fn taken(events: &Events) -> Result<KVec<Event>> {
        let mut all = KVec::new();
        let mut failed = false;
        events.take(|event| failed |= all.push(event, GFP_KERNEL).is_err());
        if failed {
            return Err(ENOMEM);
        }
        Ok(all)
    }

    #[test]
    fn each_once() -> Result {
        let events = KBox::pin_init(Events::new(), GFP_KERNEL)?;
        for _ in 0..3 {
            events.note(Event::Scan);
            events.note(Event::Rescan(address(7)));
            events.note(Event::Remove(address(7)));
            events.note(Event::Names { node: 3, port: 4 });
        }
        let all = taken(&events)?;
        let expected = [
            Event::Names { node: 3, port: 4 },
            Event::Rescan(address(7)),
            Event::Remove(address(7)),
            Event::Scan,
        ];
        assert_eq!(&all[..], &expected[..]);
        assert!(taken(&events)?.is_empty());
        Ok(())
    }

    #[test]
    fn too_many_make_a_scan() -> Result {
        let events = KBox::pin_init(Events::new(), GFP_KERNEL)?;
        for lun in 0..100 {
            events.note(Event::Remove(address(lun)));
        }
        let all = taken(&events)?;
        assert_eq!(all.len(), PLACES + 1);
        assert_eq!(all.last(), Some(&Event::Scan));
        Ok(())
    }
}
