// SPDX-License-Identifier: GPL-2.0

//! Work for process context: scanning, and LUNs that appear, disappear and change.

use crate::identity;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};
use rlis_hv::work::{
    Flags,
    Target,
    Task,
    Worker, //
};
use rlis_scsi::HostRef;

/// The most LUNs with a pending event. Beyond that, the whole adapter is scanned.
const PLACES: usize = 64;

/// Time-out of the TEST UNIT READY that a scan sends to each device, in seconds.
const TEST_SECONDS: u32 = 30;

/// Something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// Look for LUNs that have appeared or disappeared.
    Scan,
    /// Re-read the properties of a LUN.
    Rescan(Address),
    /// Remove a LUN that the host reports as missing.
    Remove(Address),
    /// Update the world-wide names of a Fibre Channel adapter.
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

/// Bits of a place beside the address. 0 is a free place.
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

/// The pending events of one adapter.
///
/// Recording an event neither allocates nor takes a lock, so it cannot fail, and is allowed wherever commands complete.
#[pin_data]
pub(crate) struct Events {
    flags: Flags,
    places: [Atomic<u32>; PLACES],
    /// The latest node name and port name.
    names: [Atomic<u64>; 2],
    /// The adapter, from probe to remove.
    #[pin]
    pub(crate) host: Target<HostRef>,
}

impl Events {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            flags: Flags::new(),
            places: [const { Atomic::new(0) }; PLACES],
            names: [const { Atomic::new(0) }; 2],
            host <- Target::new(),
        })
    }

    fn note(&self, event: Event) {
        match event {
            Event::Scan => self.flags.set(SCAN),
            Event::Names { node, port } => {
                let [own_node, own_port] = &self.names;
                own_node.store(node, Relaxed);
                own_port.store(port, Relaxed);
                self.flags.set(NAMES);
            }
            Event::Rescan(address) => self.place(encode(RESCAN, address)),
            Event::Remove(address) => self.place(encode(REMOVE, address)),
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
            self.flags.set(SCAN);
        }
    }

    /// Calls `f` for the LUNs that are to be removed, and forgets them.
    fn take_missing(&self, mut f: impl FnMut(Address)) {
        for place in &self.places {
            let value = place.load(Relaxed);
            if let Some(Event::Remove(address)) = decode(value) {
                // Only the work takes events, one at a time.
                if place.cmpxchg(value, 0, Full).is_ok() {
                    f(address);
                }
            }
        }
    }

    /// Calls `f` for all pending events, and clears them.
    fn take(&self, mut f: impl FnMut(Event)) {
        let flags = self.flags.take();
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

/// Records an event and queues the work. Any context.
pub(crate) fn notify(worker: &Worker<Events>, event: Event) {
    worker.note(event);
    worker.queue();
}

impl Task for Events {
    fn run(this: &Worker<Self>) {
        let Some(host) = this.host.get() else {
            return;
        };
        // First of all, what is gone: to look at it again would take many commands that fail.
        let remove_missing = || this.take_missing(|address| remove(&host, address));
        remove_missing();
        this.take(|event| match event {
            Event::Names { node, port } => host.set_fc_names(node, port),
            Event::Scan => {
                // The host only says that something has changed. TEST UNIT READY fails for devices that are gone.
                host.test_devices(TEST_SECONDS);
                remove_missing();
                identity::check(&host);
                host.scan();
            }
            Event::Rescan(address) => {
                if let Some(device) = find(&host, address) {
                    identity::look_again(&host, &device);
                }
            }
            Event::Remove(address) => remove(&host, address),
        });
    }
}

fn remove(host: &HostRef, address: Address) {
    if let Some(device) = find(host, address) {
        device.remove();
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
    fn what_is_missing_comes_first() -> Result {
        let events = KBox::pin_init(Events::new(), GFP_KERNEL)?;
        events.note(Event::Rescan(address(7)));
        events.note(Event::Remove(address(7)));
        events.note(Event::Scan);
        events.note(Event::Remove(address(3)));
        let (mut count, mut luns) = (0, 0);
        events.take_missing(|missing| {
            count += 1;
            luns += missing.lun;
        });
        assert_eq!((count, luns), (2, 10));
        let rest = [Event::Rescan(address(7)), Event::Scan];
        assert_eq!(&taken(&events)?[..], &rest[..]);
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
