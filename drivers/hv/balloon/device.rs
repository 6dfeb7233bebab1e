// SPDX-License-Identifier: GPL-2.0

//! The device from probe to remove, suspend and resume.

use crate::service::Service;
use kernel::prelude::*;
use rlis_vmbus::{
    class,
    Bound,
    Device,
    Driver,
    ProbeType,
    TableRef, //
};

rlis_vmbus::vmbus_device_table! {
    /// The class of the device.
    static DEVICES: [(); 1] = [(class::HV_DM_GUID, ())];
}

/// The driver of dynamic memory.
pub(crate) struct BalloonDriver;

impl Driver for BalloonDriver {
    type IdInfo = ();
    type Data = KBox<Service>;

    const NAME: &'static CStr = c"hv_balloon";
    // It waits for the host.
    const PROBE_TYPE: ProbeType = ProbeType::PreferAsynchronous;

    fn device_table() -> TableRef<()> {
        DEVICES.get()
    }

    fn probe(dev: &Device<Bound>, _info: Option<&'static ()>) -> Result<KBox<Service>> {
        Ok(KBox::new(Service::new(dev)?, GFP_KERNEL)?)
    }

    fn suspend(_dev: &Device<Bound>, service: &Service) -> Result {
        service.suspend();
        Ok(())
    }

    fn resume(dev: &Device<Bound>, service: &Service) -> Result {
        service.resume(dev)
    }
}
