// SPDX-License-Identifier: GPL-2.0

//! A SCSI host adapter whose device speaks some protocol over a VMBus channel.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_scsi::{
    Command,
    DeviceSetup,
    Host,
    HostByte,
    HostOps,
    HostParams,
    InFlight,
    Outcome,
    Queued,
    Tags,
    TimeoutAction, //
};
use rlis_vmbus::{
    Channel,
    PacketType, //
};

// --8<--
/// The adapter: where commands are while the device works on them, and the way to it.
pub struct Adapter {
    tags: Tags,
    channel: Arc<Channel>,
}

impl Adapter {
    /// The device has completed a request. An id that it makes up, or completes twice, finds no command.
    pub fn completed(&self, id: u64, status: u8) {
        if let Some(command) = self.tags.claim(id) {
            let transferred = command.len();
            command.complete(Outcome {
                status,
                host: HostByte::OK,
                transferred,
            });
        }
    }
}

impl HostOps for Adapter {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    // A command is an owned value: completed, given back, or in the tags. One that is dropped is completed with an error.
    fn queue(&self, command: Command) -> Queued {
        let mut cdb = [0; 32];
        for (to, from) in cdb.iter_mut().zip(command.cdb()) {
            *to = *from;
        }
        // From here on the device may complete it at any time.
        let id = match self.tags.launch(command) {
            Ok(id) => id,
            Err(command) => return command.busy(),
        };
        let sent = self.channel.send(PacketType::DATA_INBAND, &cdb, id, true);
        if sent.is_err() {
            if let Some(command) = self.tags.claim(id) {
                return command.busy();
            }
        }
        Queued::accepted()
    }
    // -->8--

    fn reset(&self, _command: InFlight<'_>) -> Result {
        Err(EOPNOTSUPP)
    }

    fn timed_out(&self, _command: InFlight<'_>) -> TimeoutAction {
        TimeoutAction::Wait
    }

    fn configure(&self, device: &mut DeviceSetup<'_>) {
        device.set_timeout(30);
    }
}

/// Adds an adapter below `parent`, until the host is dropped.
///
/// # Errors
///
/// Those of [`Host::new`].
pub fn add(
    parent: &kernel::device::Device,
    module: &'static ThisModule,
    channel: Arc<Channel>,
) -> Result<Host<Adapter>> {
    let params = HostParams {
        name: c"rlis sample",
        proc_name: c"rlis_sample",
        can_queue: 64,
        nr_hw_queues: 1,
        cmd_per_lun: 64,
        sg_tablesize: 1,
        max_sectors: 8,
        max_cmd_len: 16,
        max_lun: 1,
        max_id: 1,
        max_channel: 0,
        virt_boundary_mask: 4095,
        device_flags: 0,
    };
    let tags = Tags::new(1, 64)?;
    let adapter = Arc::new(Adapter { tags, channel }, GFP_KERNEL)?;
    Host::new(parent, &params, None, module, adapter, |_number| ())
}
