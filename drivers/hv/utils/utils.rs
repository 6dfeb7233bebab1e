// SPDX-License-Identifier: GPL-2.0

//! Integration services.
//!
//! There are six, each a device on the bus with its own channel. The driver itself answers the requests of [`heartbeat`],
//! [`shutdown`] and [`timesync`]. Those of [`kvp`], [`vss`] and [`fcopy`] are answered by daemons, through the character
//! devices described in `Documentation/char-devices.md`. Framing, negotiation and all decisions are in `rlis_proto::ic`.

use kernel::prelude::*;
use rlis_hv::{
    module_param,
    param::Mode, //
};
use rlis_vmbus::{
    class,
    Bound,
    Device,
    DeviceTable,
    Driver,
    ProbeType,
    Registration,
    TableRef, //
};

mod daemon;
mod fcopy;
mod heartbeat;
mod kvp;
mod shutdown;
mod simple;
mod timesync;
mod vss;

use daemon::DaemonService;
use simple::SimpleService;

module! {
    type: Utils,
    name: "hv_utils",
    authors: ["rlis developers"],
    description: "Hyper-V integration services",
    license: "GPL",
}

module_param! {
    /// Whether a time sample sets the clock if that is five seconds or more behind, as if the host had asked for it. Some
    /// hosts do not ask when a virtual machine is resumed.
    static TIMESYNC_IMPLICIT: bool = false, "timesync_implicit", Mode::Writable,
        "If set treat SAMPLE as SYNC when clock is behind";
}

module_param! {
    /// Whether to serve file copy. Kernels from 6.10 on leave it to uio_hv_generic and a daemon on top of it.
    static FCOPY: bool = true, "fcopy", Mode::ReadOnly,
        "Serve file copy from the host through /dev/vmbus/hv_fcopy (default: yes)";
}

module_param! {
    /// Seconds after which file systems are thawed if the host has not thawed them; 0 for never. Hosts thaw after seconds, or
    /// a few minutes at most.
    static VSS_FREEZE_LIMIT: u32 = 900, "vss_freeze_limit", Mode::Writable,
        "Seconds after which frozen file systems are thawed without the host, 0 for never (default: 900)";
}

/// Which service a device is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shutdown,
    Timesync,
    Heartbeat,
    Kvp,
    Vss,
    Fcopy,
}

rlis_vmbus::vmbus_device_table! {
    /// The device classes of the services.
    static DEVICES: [Kind; 6] = [
        (class::HV_SHUTDOWN_GUID, Kind::Shutdown),
        (class::HV_TS_GUID, Kind::Timesync),
        (class::HV_HEART_BEAT_GUID, Kind::Heartbeat),
        (class::HV_KVP_GUID, Kind::Kvp),
        (class::HV_VSS_GUID, Kind::Vss),
        (class::HV_FCOPY_GUID, Kind::Fcopy),
    ];
}

/// The same without file copy, so that its device is silently left to other drivers.
static WITHOUT_FCOPY: DeviceTable<Kind, 5> = DeviceTable::new([
    (class::HV_SHUTDOWN_GUID, Kind::Shutdown),
    (class::HV_TS_GUID, Kind::Timesync),
    (class::HV_HEART_BEAT_GUID, Kind::Heartbeat),
    (class::HV_KVP_GUID, Kind::Kvp),
    (class::HV_VSS_GUID, Kind::Vss),
]);

/// A running service. Dropping it ends the service.
enum Service {
    Shutdown(SimpleService<shutdown::Shutdown>),
    Timesync(timesync::Service),
    Heartbeat(SimpleService<heartbeat::Heartbeat>),
    Kvp(DaemonService<kvp::Kvp>),
    Vss(DaemonService<vss::Vss>),
    Fcopy(DaemonService<fcopy::Fcopy>),
}

/// The driver of all services.
struct UtilDriver;

impl Driver for UtilDriver {
    type IdInfo = Kind;
    type Data = KBox<Service>;

    const NAME: &'static CStr = c"hv_utils";
    const PROBE_TYPE: ProbeType = ProbeType::PreferAsynchronous;

    fn device_table() -> TableRef<Kind> {
        if FCOPY.get() {
            DEVICES.get()
        } else {
            WITHOUT_FCOPY.get()
        }
    }

    fn probe(dev: &Device<Bound>, info: Option<&'static Kind>) -> Result<KBox<Service>> {
        let service = match info.ok_or(ENODEV)? {
            Kind::Shutdown => Service::Shutdown(SimpleService::new(dev)?),
            Kind::Timesync => Service::Timesync(timesync::Service::new(dev)?),
            Kind::Heartbeat => Service::Heartbeat(SimpleService::new(dev)?),
            Kind::Kvp => Service::Kvp(DaemonService::new(dev)?),
            Kind::Vss => Service::Vss(DaemonService::new(dev)?),
            Kind::Fcopy => Service::Fcopy(DaemonService::new(dev)?),
        };
        Ok(KBox::new(service, GFP_KERNEL)?)
    }

    fn suspend(_dev: &Device<Bound>, service: &Service) -> Result {
        match service {
            Service::Shutdown(service) => service.suspend(),
            Service::Timesync(service) => service.suspend(),
            Service::Heartbeat(service) => service.suspend(),
            Service::Kvp(service) => service.suspend(),
            Service::Vss(service) => service.suspend(),
            Service::Fcopy(service) => service.suspend(),
        }
        Ok(())
    }

    fn resume(dev: &Device<Bound>, service: &Service) -> Result {
        match service {
            Service::Shutdown(service) => service.resume(dev),
            Service::Timesync(service) => service.resume(dev),
            Service::Heartbeat(service) => service.resume(dev),
            Service::Kvp(service) => service.resume(dev),
            Service::Vss(service) => service.resume(dev),
            Service::Fcopy(service) => service.resume(dev),
        }
    }
}

/// The module.
#[pin_data]
struct Utils {
    #[pin]
    _driver: Registration<UtilDriver>,
}

impl kernel::InPlaceModule for Utils {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pr_info!("Registering HyperV Utility Driver\n");
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}
