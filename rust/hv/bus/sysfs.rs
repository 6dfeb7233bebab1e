// SPDX-License-Identifier: GPL-2.0

//! Files in sysfs: those of devices ([`device`]), of channels ([`channel`]), of the bus and its drivers ([`bus`]). Names and
//! formats are those of the C driver (Documentation/ABI/stable/sysfs-bus-vmbus).

pub(crate) mod bus;
pub(crate) mod channel;
pub(crate) mod device;

use crate::connection::MonitorPage;
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use rlis_proto::vmbus::monitor::{
    monitor_connection_offset,
    monitor_latency_offset,
    monitor_trigger, //
};

impl MonitorPage {
    /// The word at `offset` of the page.
    fn get(self, offset: Option<usize>) -> Result<u32> {
        let word = offset.and_then(|offset| self.word(offset)).ok_or(EINVAL)?;
        Ok(word.load(Ordering::Relaxed))
    }

    fn pending(self, id: u8) -> Result<u32> {
        self.get(monitor_trigger(id).map(|(offset, _)| offset))
    }

    fn latency(self, id: u8) -> Result<u32> {
        let offset = monitor_latency_offset(id);
        let shift = if offset.is_some_and(|o| o % 4 != 0) {
            16
        } else {
            0
        };
        Ok((self.get(offset)? >> shift) & 0xffff)
    }

    fn connection_id(self, id: u8) -> Result<u32> {
        // 24 bits; the rest of the field is reserved.
        Ok(self.get(monitor_connection_offset(id))? & 0x00ff_ffff)
    }
}
