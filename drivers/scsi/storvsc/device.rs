// SPDX-License-Identifier: GPL-2.0

//! Probe, remove, suspend and resume.

use crate::{
    controller::Controller,
    events::{
        notify,
        Event,
        Events, //
    },
    recovery::{
        self,
        Recovery, //
    },
    settings::Settings,
    DEVICES, //
};
use kernel::{
    module::this_module,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_hv::work::{
    OwnedQueue,
    Worker, //
};
use rlis_proto::storvsc::{
    StorageKind,
    StorageProperties, //
};
use rlis_scsi::{
    Host,
    HostParams, //
};
use rlis_vmbus::{
    Bound,
    Device,
    Driver,
    ProbeType,
    TableRef, //
};

/// How long to wait for outstanding commands before hibernation, in milliseconds.
const SUSPEND_MS: u32 = 180_000;

/// `BLIST_REPORTLUN2`: REPORT LUNS works although devices claim an old SCSI level.
const BLIST_REPORTLUN2: u64 = 1 << 17;

/// `BLIST_TRY_VPD_PAGES`: VPD pages work although devices claim SPC-2.
const BLIST_TRY_VPD_PAGES: u64 = 1 << 28;

/// The address space of a kind of device: LUNs per target, targets per channel, channels.
fn addresses(kind: StorageKind) -> (u64, u32, u32) {
    match kind {
        StorageKind::Scsi => (255, 2, 8),
        StorageKind::FibreChannel => (255, 128, 8),
        StorageKind::Ide => (64, 1, 1),
    }
}

/// The driver's state of a bound device.
#[pin_data(PinnedDrop)]
pub(crate) struct Storage {
    controller: Arc<Controller>,
    host: Option<Host<Controller>>,
}

#[pinned_drop]
impl PinnedDrop for Storage {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let (events, recovery) = (&this.controller.events, &this.controller.recovery);
        this.controller.leave();
        events.host.change(None);
        // Removes the SCSI host, which sends the last commands and waits for all.
        drop(this.host.take());
        // No more work is queued. Wait for a run in progress, which must not drop the last reference.
        events.disable();
        recovery.disable();
        recovery.target.change(None);
        this.controller.disconnect();
    }
}

impl Storage {
    fn new(dev: &Device<Bound>, kind: StorageKind) -> Result<Pin<KBox<Self>>> {
        let settings = Settings::of(kind);
        // Freezable, because this work waits for commands, and devices are quiesced while the system is suspended.
        let queue = Arc::new(OwnedQueue::freezable(c"storvsc_events")?, GFP_KERNEL)?;
        let events = Arc::pin_init(Worker::new(queue, Events::new()), GFP_KERNEL)?;
        let queue = Arc::new(OwnedQueue::ordered(c"storvsc_recovery")?, GFP_KERNEL)?;
        let recovery = Arc::pin_init(Worker::new(queue, Recovery::new()), GFP_KERNEL)?;
        let controller = Controller::new(dev.into(), kind, settings, events, recovery)?;
        // From here on, errors are undone by dropping this.
        let shared = controller.clone();
        let mut storage = KBox::pin_init(
            pin_init!(Self {
                controller: shared,
                host: None,
            }),
            GFP_KERNEL,
        )?;
        let properties = controller.connect(dev)?;
        controller.make_room(properties.limits.max_transfer_bytes)?;
        controller.set_version(properties.version);
        if let Some(names) = properties.wwn {
            controller.set_names(names);
        }
        let mut host = Self::add_host(dev, kind, &controller, &properties)?;
        controller.recovery.target.change(Some(controller.clone()));
        controller.events.host.change(Some(host.reference()));
        let added = Self::find_devices(dev, kind, &mut host, &controller);
        *storage.as_mut().project().host = Some(host);
        added?;
        Ok(storage)
    }

    fn add_host(
        dev: &Device<Bound>,
        kind: StorageKind,
        controller: &Arc<Controller>,
        properties: &StorageProperties,
    ) -> Result<Host<Controller>> {
        let (max_lun, max_id, channels) = addresses(kind);
        let params = HostParams {
            name: c"storvsc_host_t",
            proc_name: c"storvsc_host",
            can_queue: i32::try_from(controller.settings.can_queue)?,
            nr_hw_queues: controller.settings.hw_queues,
            cmd_per_lun: 2048,
            sg_tablesize: u16::try_from(properties.limits.sg_tablesize).unwrap_or(u16::MAX),
            max_sectors: properties.limits.max_sectors,
            max_cmd_len: 16,
            max_lun,
            max_id,
            max_channel: channels - 1,
            virt_boundary_mask: 4095,
            device_flags: BLIST_REPORTLUN2 | BLIST_TRY_VPD_PAGES,
        };
        let transport = match kind {
            StorageKind::FibreChannel => rlis_scsi::fc::current(),
            _ => None,
        };
        Host::new(
            dev.as_ref(),
            &params,
            transport,
            this_module::<crate::LocalModule>(),
            controller.clone(),
            |number| controller.set_port(number),
        )
    }

    fn find_devices(
        dev: &Device<Bound>,
        kind: StorageKind,
        host: &mut Host<Controller>,
        controller: &Controller,
    ) -> Result {
        let reference = host.reference();
        if kind == StorageKind::Ide {
            // One disk per channel; its target number on the IDE cable is part of the instance id.
            let [_, _, _, _, low, high, ..] = dev.instance_id().b;
            return reference.add_device(0, u16::from_le_bytes([low, high]).into(), 0);
        }
        reference.scan();
        if kind == StorageKind::FibreChannel {
            let (node, port) = controller.names();
            reference.set_fc_names(node, port);
            host.add_remote_port()?;
        }
        Ok(())
    }

    fn suspend(&self) -> Result {
        // Devices are quiesced; commands already sent must complete before the channel is closed.
        let mut waited = 0;
        while self.controller.tags.in_flight() != 0 {
            if waited >= SUSPEND_MS {
                return Err(EBUSY);
            }
            fsleep(Delta::from_millis(10));
            waited += 10;
        }
        self.controller.recovery.disable();
        self.controller.events.disable();
        self.controller.disconnect();
        Ok(())
    }

    fn resume(&self, dev: &Device<Bound>) -> Result {
        let controller = &self.controller;
        if controller.is_connected() {
            return Ok(());
        }
        let connected = controller.connect(dev);
        recovery::enable(&controller.recovery);
        controller.events.enable();
        let properties = connected.inspect_err(|error| controller.lost(*error))?;
        controller.set_version(properties.version);
        if let Some(names) = properties.wwn {
            controller.set_names(names);
            controller.show_names();
        }
        // Notifications were missed meanwhile, so LUNs may have come and gone.
        notify(&controller.events, Event::Scan);
        Ok(())
    }
}

/// The driver.
pub(crate) struct StorvscDriver;

impl Driver for StorvscDriver {
    type IdInfo = StorageKind;
    type Data = Pin<KBox<Storage>>;

    const NAME: &'static CStr = c"hv_storvsc";
    const PROBE_TYPE: ProbeType = ProbeType::PreferAsynchronous;

    fn device_table() -> TableRef<StorageKind> {
        DEVICES.get()
    }

    fn probe(dev: &Device<Bound>, info: Option<&'static StorageKind>) -> Result<Self::Data> {
        // An id that was added through sysfs counts as a SCSI controller, as with the C driver.
        Storage::new(dev, info.copied().unwrap_or(StorageKind::Scsi))
    }

    fn suspend(_dev: &Device<Bound>, data: Pin<&Storage>) -> Result {
        data.suspend()
    }

    fn resume(dev: &Device<Bound>, data: Pin<&Storage>) -> Result {
        data.resume(dev)
    }
}
