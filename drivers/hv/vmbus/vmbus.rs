// SPDX-License-Identifier: GPL-2.0

//! The bus that connects a guest with the devices that its Hyper-V host offers.
//!
//! The mechanisms are in the crate [`rlis_bus`], which calls [`Bus`] here. In the order in which a channel comes, lives and
//! goes:
//!
//! - `connection`: version negotiation, the first offers, and the end
//! - `control`: messages of the host: who they are for; offers and rescinds in their order
//! - `offers`, `placement`, `queue`: which offers become channels, on which CPU, in which order
//! - `addition`: a channel becomes a device, a sub-channel its driver's
//! - `open`, `gpadl`: a driver opens a channel and closes it, and lends memory to the host
//! - `retarget`, `cpus`: interrupts that move to another CPU, and CPUs that go
//! - `removal`: how channels and devices go
//! - `power`: hibernation and panic
//!
//! What state a channel can be in, and what may happen to it then, is in `rlis_proto::vmbus::life`.

mod addition;
mod connection;
mod control;
mod cpus;
mod gpadl;
mod offers;
mod open;
mod placement;
mod power;
mod queue;
mod removal;
mod retarget;

use crate::connection::Connection;
use kernel::prelude::*;
use rlis_bus::{
    bus_type::BusType,
    channel::{
        Callback,
        Channel,
        Owned, //
    },
    gpadl::{
        Gpadl,
        Kind, //
    },
    hotplug::{
        self,
        Hotplug, //
    },
    interrupt::Handler,
    machine,
    mmio::Mmio,
    power::Handlers,
    root::RootDevice,
    synic::Pages,
    BusOps,
    CHANNEL_TIMEOUT_MS, //
};
use rlis_proto::vmbus::{
    machine::Verdict,
    Message, //
};

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
    _bus: Option<Parts>,
}

/// What makes up the bus, last first: each part needs those below it.
struct Parts {
    _handlers: Handlers,
    _connection: Connection,
    _hotplug: Hotplug,
    _handler: Handler,
    _pages: Pages,
    _bus_type: BusType,
    _mmio: Mmio,
    _root: RootDevice,
}

impl kernel::Module for Vmbus {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match machine::machine().verdict() {
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
                _bus: Some(Parts::start()?),
            }),
        }
    }
}

impl Parts {
    /// Brings the bus up, and waits for the devices that the host offers now.
    fn start() -> Result<Self> {
        rlis_bus::set_ops(&Bus);
        let root = RootDevice::bind()?;
        let mmio = Mmio::new()?;
        let bus_type = BusType::register()?;
        let pages = Pages::new()?;
        let handler = Handler::set()?;
        let hotplug = Hotplug::new()?;
        let connection =
            Connection::establish().inspect_err(|_| pr_err!("Unable to connect to host\n"))?;
        let handlers = Handlers::set();
        hotplug::stay_for_timers();
        // Without offers there are no devices, but some may come later.
        let _ = connection::request_offers();
        Ok(Self {
            _handlers: handlers,
            _connection: connection,
            _hotplug: hotplug,
            _handler: handler,
            _pages: pages,
            _bus_type: bus_type,
            _mmio: mmio,
            _root: root,
        })
    }
}

/// What the bus does when something happens.
struct Bus;

rlis_bus::exports!(Bus);

impl BusOps for Bus {
    fn message(&self, message: Message<'_>) -> bool {
        control::message(message)
    }

    fn control(&self) {
        control::work();
    }

    fn add(&self, channel: &Channel) {
        addition::add(channel);
    }

    fn remove_withdrawn(&self, channel: &Channel) {
        removal::remove_withdrawn(channel);
    }

    fn driver_gone(&self, channel: &Owned<'_>) {
        open::forget_driver(channel);
    }

    fn device_released(&self, channel: &Owned<'_>) {
        removal::device_released(channel);
    }

    fn unregister_device(&self, channel: &Channel) {
        removal::unregister_after_additions(channel);
    }

    fn unregister_socket(&self, channel: &Channel) {
        removal::unregister_socket(channel);
    }

    fn connect(&self, channel: &Owned<'_>, userdata: &[u8], callback: Callback) -> Result {
        open::connect(channel, userdata, callback)
    }

    fn disconnect(&self, channel: &Owned<'_>) -> Result {
        open::disconnect(channel)
    }

    fn free_ring(&self, channel: &Owned<'_>) {
        open::free_ring(channel);
    }

    fn establish_gpadl(&self, channel: &Channel, kind: Kind, gpadl: Gpadl<'_>) -> Result {
        gpadl::establish(channel, kind, gpadl)
    }

    fn teardown_gpadl(&self, channel: &Channel, gpadl: Gpadl<'_>) -> Result {
        gpadl::teardown(channel, gpadl, CHANNEL_TIMEOUT_MS)
    }

    fn modify_channel(&self, channel: &Channel, target_vp: u32) -> Result {
        retarget::modify(channel, target_vp)
    }

    fn set_cpu(&self, channel: &Channel, cpu: u32) -> Result {
        retarget::set_cpu(channel, cpu)
    }

    fn cpu_leaves(&self, cpu: u32) -> Result {
        cpus::leave(cpu)
    }

    fn unload(&self, crash: bool) {
        connection::unload(crash);
    }

    fn set_skip_unload(&self, skip: bool) {
        power::set_skip_unload(skip);
    }

    fn panic(&self) {
        power::panic();
    }

    fn suspend(&self) -> Result {
        power::suspend()
    }

    fn resume(&self) -> Result {
        power::resume()
    }
}
