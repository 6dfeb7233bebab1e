// SPDX-License-Identifier: GPL-2.0

//! A device from probe to remove, suspend and resume.

use crate::{
    controller::{
        Controller,
        CONTROL_MS, //
    },
    events::Events,
    settings::Settings,
    DEVICES, //
};
use kernel::{
    module::this_module,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
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
    Init,
    InitStep,
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
    OpenChannel,
    ProbeType,
    TableRef, //
};

/// How long commands may take to come back before hibernation, in milliseconds.
const SUSPEND_MS: u32 = 180_000;

/// `BLIST_REPORTLUN2`: REPORT LUNS works whatever the SCSI level. Hosts show a DVD drive at LUN 0 with an unknown type.
const BLIST_REPORTLUN2: u64 = 1 << 17;

/// `BLIST_TRY_VPD_PAGES`: ask for VPD pages whatever the SCSI level. Hosts claim SPC-2, but have later features.
const BLIST_TRY_VPD_PAGES: u64 = 1 << 28;

/// Addresses that a kind of device has: LUNs of a target, targets of a channel, channels.
fn addresses(kind: StorageKind) -> (u64, u32, u32) {
    match kind {
        StorageKind::Scsi => (255, 2, 8),
        StorageKind::FibreChannel => (255, 128, 8),
        StorageKind::Ide => (64, 1, 1),
    }
}

/// What belongs to a device that the driver has taken charge of.
#[pin_data(PinnedDrop)]
pub(crate) struct Storage {
    kind: StorageKind,
    controller: Arc<Controller>,
    host: Option<Host<Controller>>,
    /// The open channel; closed during hibernation.
    #[pin]
    open: Mutex<Option<OpenChannel<Controller>>>,
}

#[pinned_drop]
impl PinnedDrop for Storage {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let events = &this.controller.events;
        this.controller.leave();
        events.retarget(|target| target.host = None);
        // Sends the last commands, and waits for those under way.
        drop(this.host.take());
        // Now there is nothing left to do. A run under way ends first: it must not hold the last references.
        events.disable();
        events.retarget(|target| target.controller = None);
        this.controller.channels.clear();
        drop(this.open.lock().take());
    }
}

/// Opens the channel of a device and agrees with the host on how to use it. Sleeps.
fn connect(
    dev: &Device<Bound>,
    kind: StorageKind,
    controller: &Arc<Controller>,
) -> Result<(OpenChannel<Controller>, StorageProperties)> {
    let open = OpenChannel::open(dev, &controller.open_params(), controller.clone())?;
    let properties = controller.channels.add(open.channel()).and_then(|()| {
        // The last step asks for sub-channels, which may be offered at once.
        open.accept_sub_channels();
        agree(dev, kind, controller, &open)
    });
    match properties {
        Ok(properties) => Ok((open, properties)),
        Err(error) => {
            // Before the channel is closed.
            controller.channels.clear();
            Err(error)
        }
    }
}

fn agree(
    dev: &Device<Bound>,
    kind: StorageKind,
    controller: &Arc<Controller>,
    open: &OpenChannel<Controller>,
) -> Result<StorageProperties> {
    let (mut init, mut step) = Init::new(kind, controller.settings.max_sub_channels);
    loop {
        match step {
            InitStep::Send(packet) => {
                let answer = controller
                    .control
                    .exchange(open.channel(), &packet, CONTROL_MS);
                step = match answer {
                    Ok(answer) => init.answer(&answer),
                    Err(error) if error == ETIMEDOUT => init.timed_out(),
                    Err(error) => return Err(error),
                };
            }
            InitStep::Done(mut properties) => {
                properties.limits = properties
                    .limits
                    .with_page_list(controller.settings.page_list());
                break Ok(properties);
            }
            InitStep::Failed(why) => {
                dev_err!(
                    AsRef::<kernel::device::Device>::as_ref(dev),
                    "the host does not come to terms: {why:?}\n"
                );
                break Err(EINVAL);
            }
        }
    }
}

impl Storage {
    fn new(dev: &Device<Bound>, kind: StorageKind) -> Result<Pin<KBox<Self>>> {
        let settings = Settings::of(kind);
        let queue = Arc::new(OwnedQueue::ordered(c"storvsc_events")?, GFP_KERNEL)?;
        let events = Arc::pin_init(Worker::new(queue, Events::new()), GFP_KERNEL)?;
        let controller = Controller::new(dev.into(), kind, settings, events)?;
        let (open, properties) = connect(dev, kind, &controller)?;
        // From here on, dropping this undoes everything.
        let shared = controller.clone();
        let mut storage = KBox::pin_init(
            pin_init!(Self {
                kind,
                controller: shared,
                host: None,
                open <- new_mutex!(Some(open)),
            }),
            GFP_KERNEL,
        )?;
        controller.make_room(properties.limits.max_transfer_bytes)?;
        controller.set_version(properties.version);
        if let Some(names) = properties.wwn {
            controller.set_names(names);
        }
        let mut host = Self::add_host(dev, kind, &controller, &properties)?;
        let reference = host.reference();
        controller.events.retarget(|target| {
            target.host = Some(reference.clone());
            target.controller = Some(controller.clone());
        });
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
            // The one disk of the channel; its number on the cable is in the name of the device.
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
        // The block layer is frozen; what it has sent must come back before the channel is closed.
        let mut waited = 0;
        while self.controller.tags.in_flight() != 0 {
            if waited >= SUSPEND_MS {
                return Err(EBUSY);
            }
            fsleep(Delta::from_millis(10));
            waited += 10;
        }
        self.controller.events.disable();
        self.controller.channels.clear();
        drop(self.open.lock().take());
        Ok(())
    }

    fn resume(&self, dev: &Device<Bound>) -> Result {
        let mut open = self.open.lock();
        if open.is_some() {
            return Ok(());
        }
        let (channel, properties) = connect(dev, self.kind, &self.controller)?;
        *open = Some(channel);
        drop(open);
        self.controller.set_version(properties.version);
        self.controller.events.enable();
        if let Some(names) = properties.wwn {
            self.controller.set_names(names);
            crate::events::notify(&self.controller.events, crate::events::Event::Names);
        }
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
        // A class that was added in sysfs is taken for a SCSI controller, as the C driver does.
        Storage::new(dev, info.copied().unwrap_or(StorageKind::Scsi))
    }

    fn suspend(_dev: &Device<Bound>, data: Pin<&Storage>) -> Result {
        data.suspend()
    }

    fn resume(dev: &Device<Bound>, data: Pin<&Storage>) -> Result {
        data.resume(dev)
    }
}
