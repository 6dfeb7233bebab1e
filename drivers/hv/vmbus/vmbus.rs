// SPDX-License-Identifier: GPL-2.0

//! The bus that connects a guest with the devices that its Hyper-V host offers.
//!
//! The mechanisms are in the crate [`rlis_bus`]; here is what the module decides and in which order it sets
//! things up.

mod offers;
mod placement;

use kernel::prelude::*;
use rlis_bus::{
    connection::Connection,
    cpu::Hotplug,
    driver::BusType,
    mmio::Mmio,
    power::Handlers,
    root::RootDevice,
    synic, //
};
use rlis_proto::vmbus::machine::Verdict;

module! {
    type: Vmbus,
    name: "hv_vmbus",
    authors: ["rlis developers"],
    description: "Microsoft Hyper-V VMBus Driver",
    license: "GPL",
}

/// The module. Fields are dropped from the first to the last.
struct Vmbus {
    /// `None` in a root partition, which has no bus. The module loads there all the same, for those that
    /// depend on it.
    _bus: Option<Bus>,
}

/// What makes up the bus, last first: each part needs those below it.
struct Bus {
    _handlers: Handlers,
    _connection: Connection,
    _hotplug: Hotplug,
    _pages: synic::Pages,
    _bus_type: BusType,
    _mmio: Mmio,
    _root: RootDevice,
}

impl kernel::Module for Vmbus {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match synic::machine().verdict() {
            Verdict::NotHyperV => Err(ENODEV),
            Verdict::NoBus => Ok(Self { _bus: None }),
            Verdict::Unsupported(what) => {
                pr_err!(
                    "{} are not supported, use the kernel's own hv_vmbus\n",
                    what
                );
                Err(EOPNOTSUPP)
            }
            Verdict::Serve => Ok(Self {
                _bus: Some(Bus::start()?),
            }),
        }
    }
}

impl Bus {
    /// Brings the bus up, and waits for the devices that the host offers now.
    fn start() -> Result<Self> {
        rlis_bus::set_policy(&Decisions);
        let root = RootDevice::bind()?;
        let mmio = Mmio::new()?;
        let bus_type = BusType::register()?;
        let pages = synic::Pages::new()?;
        let hotplug = Hotplug::new()?;
        let connection =
            Connection::establish().inspect_err(|_| pr_err!("Unable to connect to host\n"))?;
        let handlers = Handlers::set();
        rlis_bus::cpu::stay_for_timers();
        // Without offers there are no devices, but some may come later.
        let _ = connection.request_offers();
        Ok(Self {
            _handlers: handlers,
            _connection: connection,
            _hotplug: hotplug,
            _pages: pages,
            _bus_type: bus_type,
            _mmio: mmio,
            _root: root,
        })
    }
}

/// The module's decisions.
struct Decisions;

impl rlis_bus::Policy for Decisions {
    fn accept(
        &self,
        offer: &rlis_proto::vmbus::message::OfferChannel,
        version: rlis_proto::vmbus::Version,
        isolated: bool,
    ) -> Result<(), &'static str> {
        offers::accept(offer, version, isolated)
    }

    fn place(&self, candidates: &mut dyn Iterator<Item = rlis_bus::Candidate>) -> Option<u32> {
        placement::place(candidates)
    }
}
