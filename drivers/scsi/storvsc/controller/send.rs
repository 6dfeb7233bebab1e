// SPDX-License-Identifier: GPL-2.0

//! Sending commands.

use super::Controller;
use crate::{
    batch::Set,
    channels::Way,
    recovery::{
        report,
        watch,
        Trouble, //
    }, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};
use rlis_hv::{
    cpu,
    load_once, //
};
use rlis_proto::storvsc::{
    Cdb,
    DataDirection,
    SrbAddress,
    SrbPacket,
    Unsent, //
};
use rlis_scsi::{
    Command,
    Direction,
    Outcome,
    Pages,
    Queued, //
};
use rlis_vmbus::{
    Channel,
    Contiguous,
    MpbDescriptor,
    PacketType,
    Tell, //
};

/// Where the data of a command lie.
enum Data<'a> {
    /// There are none.
    None,
    /// In one page.
    Page(Contiguous),
    /// In several.
    Pages(MpbDescriptor<'a>),
}

/// Describes the data of a command, in the form of the packet.
#[inline(never)]
fn list<'a>(buffer: &'a mut [u64], pages: Pages<'_>) -> Result<MpbDescriptor<'a>> {
    MpbDescriptor::from_pages(buffer, pages.len(), pages.offset(), pages)
}

impl Controller {
    /// Completes a command that cannot be sent.
    fn fail(command: Command, host: rlis_scsi::HostByte) -> Queued {
        command.complete(Outcome::failed(host));
        Queued::accepted()
    }

    /// What the host is sent of a command, but for its data; or why it is not sent.
    #[inline(always)]
    fn packet(&self, command: &Command) -> core::result::Result<SrbPacket, rlis_scsi::HostByte> {
        let (path_id, target_id, lun) = command.address().ok_or(rlis_scsi::HostByte::BAD_TARGET)?;
        let direction = match command.direction() {
            Direction::None => DataDirection::None,
            Direction::Out => DataDirection::Write,
            Direction::In => DataDirection::Read,
            Direction::Other => return Err(rlis_scsi::HostByte::ERROR),
        };
        let [port_number, ..] = load_once(&self.port).to_le_bytes();
        let address = SrbAddress {
            port_number,
            path_id,
            target_id,
            lun,
        };
        let (cdb_len, cdb) = command.cdb_and_more();
        let cdb = Cdb::new(cdb, cdb_len).map_err(|_| rlis_scsi::HostByte::ERROR)?;
        let (len, tagged) = (command.len(), command.tagged_supported());
        Ok(SrbPacket::new(address, cdb, direction, len, tagged))
    }

    /// Sends a command of a batch. Returns which channel was told of all that it holds, with [`Tell::Now`].
    // Only `queue` calls it.
    #[inline(always)]
    pub(super) fn send(&self, mut command: Command, queue: u32, tell: Tell) -> (Queued, Set) {
        let none = Set::NONE;
        let packet = match self.packet(&command) {
            Ok(packet) => packet,
            Err(why) => return (Self::fail(command, why), none),
        };
        let cpu = cpu::current();
        let guard = rcu::read_lock();
        let Some(way) = self.channels.pick(cpu, &guard) else {
            return (self.give_back(command), none);
        };
        let page = match command.map() {
            Err(_) => return (command.busy(), none),
            Ok(None) => None,
            Ok(Some(pages)) => match pages.single() {
                Some((pfn, offset)) => Some(Contiguous {
                    pfn,
                    offset,
                    len: pages.len(),
                }),
                None => {
                    // The list does not lie in the command: once sent, that may be completed and reused before it is written.
                    let scratch = self.scratch.as_ref();
                    let Some(mut buffer) = scratch.and_then(|scratch| scratch.borrow(cpu)) else {
                        return (command.busy(), none);
                    };
                    let list = list(&mut buffer, pages);
                    return self.send_list(command, queue, tell, &packet, list, way, &guard);
                }
            },
        };
        // From here on the command is in flight, before the host can see it.
        let id = match self.tags.launch(command) {
            Ok(id) => id,
            Err(command) => return (Self::fail(command, rlis_scsi::HostByte::ERROR), none),
        };
        let Some(page) = page else {
            return self.send_rest(&Data::None, &packet, id, queue, tell, way, &guard);
        };
        let channel = way.channel();
        match channel.write_page(page, packet.words(), id, way.spare(), tell) {
            Ok(()) => self.sent(channel.channel(), queue, tell),
            Err(error) if error == EBUSY => {
                let way = way.elsewhere(cpu, self.settings.lowater, &guard);
                self.send_rest(&Data::Page(page), &packet, id, queue, tell, way, &guard)
            }
            Err(error) => (self.not_sent(error, id), none),
        }
    }

    /// The rest of [`Self::send`] for a command with data in several pages.
    #[allow(clippy::too_many_arguments)]
    #[inline(never)]
    fn send_list<'a>(
        &self,
        command: Command,
        queue: u32,
        tell: Tell,
        packet: &SrbPacket,
        list: Result<MpbDescriptor<'_>>,
        way: Way<'a>,
        guard: &'a rcu::Guard,
    ) -> (Queued, Set) {
        let error = rlis_scsi::HostByte::ERROR;
        let Ok(list) = list else {
            // One with gaps, or longer than the limit: the mid-layer was told not to send these.
            return (Self::fail(command, error), Set::NONE);
        };
        match self.tags.launch(command) {
            Ok(id) => self.send_rest(&Data::Pages(list), packet, id, queue, tell, way, guard),
            Err(command) => (Self::fail(command, error), Set::NONE),
        }
    }

    /// The rest of [`Self::send`] for any command that is in flight.
    #[allow(clippy::too_many_arguments)]
    #[inline(never)]
    fn send_rest<'a>(
        &self,
        data: &Data<'_>,
        packet: &SrbPacket,
        id: u64,
        queue: u32,
        tell: Tell,
        mut way: Way<'a>,
        guard: &'a rcu::Guard,
    ) -> (Queued, Set) {
        loop {
            let (channel, spare) = (way.channel(), way.spare());
            let bytes = packet.as_bytes();
            let sent = match data {
                Data::None => channel.write(PacketType::DATA_INBAND, bytes, id, true, spare, tell),
                Data::Page(page) => channel.write_page(*page, packet.words(), id, spare, tell),
                Data::Pages(list) => channel.write_mpb(list, bytes, id, spare, tell),
            };
            match sent {
                Ok(()) => return self.sent(channel.channel(), queue, tell),
                // Only once, for then nothing needs to stay free.
                Err(error) if error == EBUSY => {
                    way = way.elsewhere(cpu::current(), self.settings.lowater, guard);
                }
                Err(error) => return (self.not_sent(error, id), Set::NONE),
            }
        }
    }

    /// A command was sent through a channel.
    #[inline(always)]
    fn sent(&self, channel: &Channel, queue: u32, tell: Tell) -> (Queued, Set) {
        let told = match tell {
            Tell::Now => Set::told(channel),
            Tell::Later => {
                self.left_untold(queue, channel);
                Set::NONE
            }
        };
        (Queued::accepted(), told)
    }

    /// A command of a hardware queue was written to a channel, and the host was not told of it.
    #[inline]
    fn left_untold(&self, queue: u32, channel: &Channel) {
        let channel = Set::of(channel);
        if self.batches.note(queue, channel) {
            watch(&self.recovery);
        } else {
            self.channels.tell(channel);
        }
    }

    /// No other command of a hardware queue follows at once: tells the host of those it was not told of, but for those in `told`.
    #[inline]
    pub(super) fn end_batch(&self, queue: u32, told: Set) {
        let left = self.batches.take(queue).without(told);
        if !left.is_empty() {
            self.channels.tell(left);
        }
    }

    /// Decides what happens to a command that was not sent.
    #[cold]
    fn not_sent(&self, error: Error, id: u64) -> Queued {
        // `host_is_gone` may have completed it already.
        let Some(command) = self.tags.claim(id) else {
            return Queued::accepted();
        };
        if error == EAGAIN {
            return command.busy();
        }
        if error == ENODEV {
            // If only this channel is gone, the next attempt goes through another one.
            report(&self.recovery, Trouble::Withdrawn);
            return self.give_back(command);
        }
        self.failures.run(|_| {
            dev_err!(
                self.dev(),
                "cmd {:#x} could not be sent: {error:?}\n",
                command.opcode()
            );
        });
        Self::fail(command, rlis_scsi::HostByte::ERROR)
    }

    /// Returns a command that cannot be sent because the channel is closed.
    #[cold]
    fn give_back(&self, command: Command) -> Queued {
        match self.unsent() {
            Unsent::Later => command.busy(),
            Unsent::NoConnect => Self::fail(command, rlis_scsi::HostByte::NO_CONNECT),
        }
    }
}
