// SPDX-License-Identifier: GPL-2.0

//! A controller: its state.

use crate::{
    batch::{
        Batches,
        Set, //
    },
    channels::Channels,
    control::Control,
    events::{
        notify,
        Event,
        Events, //
    },
    recovery::{
        report,
        Recovery,
        Trouble, //
    },
    settings::Settings, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta,
        Msecs, //
    }, //
};
use rlis_hv::{
    work::Worker,
    RateLimit, //
};
use rlis_proto::storvsc::{
    Link,
    ProtocolVersion,
    StorageKind,
    Wwn, //
};
use rlis_scsi::{
    Command,
    DeviceSetup,
    HostOps,
    InFlight,
    Outcome,
    Queued,
    Scratch,
    Tags,
    TimeoutAction, //
};
use rlis_vmbus::{
    Channel,
    ChannelHandler,
    Device,
    MaxPacket,
    MpbDescriptor,
    OpenChannel,
    OpenParams,
    Reader,
    SubChannelOffer,
    Tell, //
};

mod completion;
mod link;
mod reset;
mod send;

/// How long the host may take to answer one of the driver's own requests, in milliseconds.
pub(crate) const CONTROL_MS: Msecs = 180_000;

/// Time-out of a command, in seconds. After it the mid-layer asks what to do.
const COMMAND_SECONDS: u32 = 180;

/// Packets that are taken from a ring before the tasklet yields.
const BUDGET: u32 = 512;

/// The state of one controller. Nothing here is shared with another one.
#[pin_data]
pub(crate) struct Controller {
    device: ARef<Device>,
    kind: StorageKind,
    pub(crate) settings: Settings,
    /// The commands that the host is working on.
    pub(crate) tags: Tags,
    /// Buffers for the page lists of requests; allocated once the longest transfer is known.
    scratch: SetOnce<Scratch>,
    #[pin]
    pub(crate) channels: Channels,
    batches: Batches,
    #[pin]
    pub(crate) control: Control,
    pub(crate) events: Arc<Worker<Events>>,
    pub(crate) recovery: Arc<Worker<Recovery<Self>>>,
    /// The channel while it is open. Taken by whoever opens or closes it, or needs it to stay open.
    #[pin]
    open: Mutex<Option<OpenChannel<Self>>>,
    /// The state of `open` for contexts that cannot take the lock, a [`Link`].
    link: Atomic<u32>,
    /// The SCSI host number.
    port: Atomic<u32>,
    /// Protocol version, major in the upper byte.
    version: Atomic<u32>,
    /// World-wide names, for Fibre Channel.
    node_name: Atomic<u64>,
    port_name: Atomic<u64>,
    /// Not 0 once the host has rescinded the device: it will answer nothing any more.
    gone: Atomic<u32>,
    /// Not 0 once the device is being removed.
    leaving: Atomic<u32>,
    /// Not 0 if completions may have been lost since the last reset.
    suspect: Atomic<u32>,
    failures: RateLimit,
    late: RateLimit,
    nonsense: RateLimit,
}

impl Controller {
    pub(crate) fn new(
        device: ARef<Device>,
        kind: StorageKind,
        settings: Settings,
        events: Arc<Worker<Events>>,
        recovery: Arc<Worker<Recovery<Self>>>,
    ) -> Result<Arc<Self>> {
        let tags = Tags::new(settings.hw_queues, settings.can_queue)?;
        let batches = Batches::new(settings.hw_queues)?;
        Arc::pin_init(
            try_pin_init!(Self {
                device,
                kind,
                settings,
                tags,
                scratch: SetOnce::new(),
                channels <- Channels::new(settings.spare),
                batches,
                control <- Control::new(),
                events,
                recovery,
                open <- new_mutex!(None),
                link: Atomic::new(Link::Suspended.to_bits()),
                port: Atomic::new(0),
                version: Atomic::new(0),
                node_name: Atomic::new(0),
                port_name: Atomic::new(0),
                gone: Atomic::new(0),
                leaving: Atomic::new(0),
                suspect: Atomic::new(0),
                failures: RateLimit::new(),
                late: RateLimit::new(),
                nonsense: RateLimit::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// For messages.
    fn dev(&self) -> &kernel::device::Device {
        (*self.device).as_ref()
    }

    /// Parameters for opening the device's channels.
    pub(crate) fn open_params(&self) -> OpenParams<'static> {
        OpenParams {
            send_ring: self.settings.ring_size,
            recv_ring: self.settings.ring_size,
            mode: rlis_vmbus::CallbackMode::Batched,
            // A VSTOR packet.
            max_packet: MaxPacket::with_payload(64),
            request_ids: rlis_vmbus::RequestIds::AsGiven,
            // An empty `struct vmstorage_channel_properties`.
            user_data: &[0; 24],
        }
    }

    /// Allocates buffers for requests of up to `max_transfer` bytes. Later calls do nothing: the mid-layer keeps the limit
    /// that it was given first.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn make_room(&self, max_transfer: u32) -> Result {
        if self.scratch.as_ref().is_some() {
            return Ok(());
        }
        let pages = usize::try_from(max_transfer / 4096)? + 1;
        self.scratch
            .populate(Scratch::new(MpbDescriptor::words(pages))?);
        Ok(())
    }

    pub(crate) fn set_version(&self, version: ProtocolVersion) {
        self.version.store(version.0.into(), Relaxed);
    }

    pub(crate) fn set_port(&self, number: u32) {
        self.port.store(number, Relaxed);
    }

    pub(crate) fn set_names(&self, names: Wwn) {
        self.node_name.store(names.node_name, Relaxed);
        self.port_name.store(names.port_name, Relaxed);
    }

    /// Node name and port name.
    pub(crate) fn names(&self) -> (u64, u64) {
        (self.node_name.load(Relaxed), self.port_name.load(Relaxed))
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Acquire) != 0
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed) != 0
    }

    /// Updates the adapter's names in sysfs. Any context.
    pub(crate) fn show_names(&self) {
        let (node, port) = self.names();
        notify(&self.events, Event::Names { node, port });
    }

    /// Notes that the device is being removed: from now on, a command that times out causes a reset.
    pub(crate) fn leave(&self) {
        self.leaving.xchg(1, Full);
        self.look_for_rescind();
    }

    /// Ends what waits for a device whose channel was lost, if the host has withdrawn it: of a closed channel nobody tells
    /// that. Any context.
    fn look_for_rescind(&self) {
        if self.is_lost() && self.device.is_rescinded() {
            self.host_is_gone();
        }
    }

    /// The host has rescinded the device: ends everything that waits for it.
    fn host_is_gone(&self) {
        // From here on sending fails, and the sender completes the command. Those sent before are in `tags`.
        self.gone.xchg(1, Full);
        self.control.give_up();
        self.tags.claim_each(|command| {
            command.complete(Outcome::failed(rlis_scsi::HostByte::NO_CONNECT))
        });
    }
}

impl HostOps for Controller {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn queue(&self, command: Command) -> Queued {
        // Once it is sent, the command may be completed and be another one.
        let (queue, _) = command.queue_and_tag();
        let is_last = command.is_last();
        let tell = if is_last { Tell::Now } else { Tell::Later };
        let (queued, told) = self.send(command, queue, tell);
        if is_last {
            self.end_batch(queue, told);
        }
        queued
    }

    fn commit(&self, queue: u32) {
        self.end_batch(queue, Set::NONE);
    }

    fn reset(&self, command: InFlight<'_>) -> Result {
        let result = self.reset_bus();
        // The error handler's own commands are reused as soon as this returns. While the host may still access this one's
        // memory, all that is left is to wait, if need be until the host rescinds the device.
        while result.is_err() && self.tags.holds(&command) {
            fsleep(Delta::from_millis(1_000));
            self.look_for_rescind();
        }
        result
    }

    fn timed_out(&self, command: InFlight<'_>) -> TimeoutAction {
        // The host may not know of the command; or the completion may be in the ring, and only the signal lost. If the ring
        // cannot be read, only a reset helps.
        if self.channels.look_again() {
            self.suspect.xchg(1, Full);
        }
        self.tags.mark_overdue(&command);
        self.look_for_rescind();
        // The host completes every command eventually, unless it is gone.
        if self.is_gone() {
            if let Some(command) = self.tags.claim_in_flight(&command) {
                command.complete(Outcome::failed(rlis_scsi::HostByte::NO_CONNECT));
                return TimeoutAction::Completed;
            }
        } else if self.is_leaving() || self.suspect.load(Relaxed) != 0 {
            report(&self.recovery, Trouble::Late);
        } else {
            self.late.run(|_| {
                dev_warn!(
                    self.dev(),
                    "a command has been with the host for longer than its time-out; still waiting\n"
                );
            });
        }
        TimeoutAction::Wait
    }

    fn configure(&self, device: &mut DeviceSetup<'_>) {
        device.set_timeout(COMMAND_SECONDS);
        device.set_no_report_opcodes();
        let virtual_disk = device.vendor_starts_with(b"Msft");
        let version = self.version.load(Relaxed);
        if virtual_disk && version == u32::from(ProtocolVersion::V6_0.0) {
            device.set_spc3();
        }
        device.set_no_write_same(!virtual_disk || version < u32::from(ProtocolVersion::V6_2.0));
    }
}

impl ChannelHandler for Controller {
    const SUB_CHANNELS: bool = true;
    const RESCIND: bool = true;
    const TARGET_CPU: bool = true;
    const BATCHES: bool = true;

    fn on_event(&self, _channel: &Arc<Channel>, mut reader: Reader<'_>) {
        for _ in 0..BUDGET {
            match reader.next_packet() {
                Some(packet) => self.receive(&packet),
                None => return,
            }
        }
    }

    fn on_sub_channel(&self, offer: SubChannelOffer<'_>) {
        let index = offer.index();
        let opened = offer
            .open(&self.open_params())
            .and_then(|channel| self.channels.add(&channel));
        if let Err(error) = opened {
            dev_err!(self.dev(), "sub-channel {index} is not used: {error:?}\n");
        }
    }

    fn on_rescind(&self, _channel: &Arc<Channel>) {
        self.host_is_gone();
    }

    fn on_target_cpu(&self, channel: &Arc<Channel>, _old: u32, new: u32) {
        if let Err(error) = self.channels.moved(channel, new) {
            dev_err!(
                self.dev(),
                "channel {} is not moved to CPU {new}: {error:?}\n",
                channel.relid()
            );
        }
    }
}
