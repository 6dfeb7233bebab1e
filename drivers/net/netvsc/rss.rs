// SPDX-License-Identifier: GPL-2.0

//! Receive-side scaling: which channel the host puts a flow on.

use kernel::prelude::*;
use rlis_net::{
    hash_key,
    HASH_KEY_SIZE, //
};
use rlis_proto::rndis::{
    encode_rss,
    MAX_RSS_TABLE,
    RSS_DISABLE, //
};

/// Bytes of parameters with the longest table.
const PARAMETERS: usize = 40 + 4 * MAX_RSS_TABLE + HASH_KEY_SIZE;

/// The table and the key of the hash.
pub(crate) struct Table {
    key: [u8; HASH_KEY_SIZE],
    /// What the user has set; of `None` the channels come in turn.
    entries: Option<KVec<u16>>,
    len: u16,
}

impl Table {
    /// The key of this machine, and no table yet.
    pub(crate) fn new() -> Self {
        Self {
            key: hash_key(),
            entries: None,
            len: 0,
        }
    }

    /// The host takes a table of so many entries. One of the user's with another length is forgotten.
    pub(crate) fn set_len(&mut self, len: u16) {
        self.len = len;
        if self
            .entries
            .as_ref()
            .is_some_and(|e| e.len() != usize::from(len))
        {
            self.entries = None;
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u16 {
        self.len
    }

    /// The entries for so many channels. What the user has set for more of them goes to the others.
    fn entries(&self, channels: u16) -> impl Iterator<Item = u16> + '_ {
        let set = self.entries.as_deref();
        let channels = channels.max(1);
        (0..self.len).map(move |at| {
            let entry = set.and_then(|set| set.get(usize::from(at)).copied());
            entry.unwrap_or(at) % channels
        })
    }

    /// Fills in what is set, for so many channels.
    pub(crate) fn read(&self, channels: u16, table: Option<&mut [u32]>, key: Option<&mut [u8]>) {
        for (to, from) in table.into_iter().flatten().zip(self.entries(channels)) {
            *to = from.into();
        }
        for (to, from) in key.into_iter().flatten().zip(self.key) {
            *to = from;
        }
    }

    /// The same with another table or key, or both.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for a table of another length or with an entry that is no channel.
    pub(crate) fn with(
        &self,
        table: Option<&[u32]>,
        key: Option<&[u8; HASH_KEY_SIZE]>,
    ) -> Result<Self> {
        let mut entries = None;
        if let Some(table) = table {
            if table.len() != usize::from(self.len) {
                return Err(EINVAL);
            }
            let mut all = KVec::with_capacity(table.len(), GFP_KERNEL)?;
            for entry in table {
                all.push(u16::try_from(*entry).map_err(|_| EINVAL)?, GFP_KERNEL)?;
            }
            entries = Some(all);
        } else if let Some(set) = &self.entries {
            let mut all = KVec::with_capacity(set.len(), GFP_KERNEL)?;
            all.extend_from_slice(set, GFP_KERNEL)?;
            entries = Some(all);
        }
        Ok(Self {
            key: *key.unwrap_or(&self.key),
            entries,
            len: self.len,
        })
    }

    /// The channels come in turn from now on.
    pub(crate) fn reset(&mut self) {
        self.entries = None;
    }

    /// What the host is told, for so many channels: that flows are spread, or are not.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn encode(&self, channels: u16, on: bool) -> Result<KVec<u8>> {
        let mut entries = KVec::with_capacity(self.len.into(), GFP_KERNEL)?;
        for entry in self.entries(channels) {
            entries.push(entry, GFP_KERNEL)?;
        }
        let mut value = KVec::from_elem(0, PARAMETERS, GFP_KERNEL)?;
        let flag = if on { 0 } else { RSS_DISABLE };
        let len = encode_rss(&mut value, flag, &entries, &self.key).map_err(|_| EINVAL)?;
        value.truncate(len);
        Ok(value)
    }
}

#[kunit_tests(hv_netvsc_rss)]
mod tests {
    use super::*;

    fn read(table: &Table, channels: u16) -> [u32; 8] {
        let mut entries = [0; 8];
        table.read(channels, Some(&mut entries), None);
        entries
    }

    #[test]
    fn tables() -> Result {
        let mut table = Table::new();
        assert_eq!(read(&table, 2), [0; 8]);
        table.set_len(8);
        assert_eq!(read(&table, 3), [0, 1, 2, 0, 1, 2, 0, 1]);
        let key = [7; HASH_KEY_SIZE];
        let other = table.with(Some(&[3, 3, 3, 3, 0, 0, 0, 0]), Some(&key))?;
        assert_eq!(read(&other, 4), [3, 3, 3, 3, 0, 0, 0, 0]);
        assert_eq!(read(&other, 2), [1, 1, 1, 1, 0, 0, 0, 0]);
        let mut got = [0; HASH_KEY_SIZE];
        other.read(4, None, Some(&mut got));
        assert_eq!(got, key);
        let mut same = other.with(None, None)?;
        assert_eq!(read(&same, 4), read(&other, 4));
        assert!(table.with(Some(&[0; 7]), None).is_err());
        assert!(table.with(Some(&[65_536; 8]), None).is_err());
        assert_eq!(other.encode(4, true)?.len(), 40 + 32 + 40);
        same.set_len(4);
        assert_eq!(same.entries(4).last(), Some(3));
        Ok(())
    }
}
