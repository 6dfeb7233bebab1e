// SPDX-License-Identifier: GPL-2.0

//! What the host says of a virtual function and of the data path, from a poll to the worker. The last news of each kind
//! counts: nothing is queued.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    }, //
};
use rlis_proto::nvsp::{
    DataPath,
    Pairing, //
};

/// Set in [`News::association`] if there is a function; its serial number is the lower half.
const ALLOCATED: u64 = 1 << 32;

/// Added to [`News::association`] with each news, so that a function that went and came back is noticed.
const AGAIN: u64 = 1 << 33;

/// News that the worker has not taken yet.
pub(crate) struct News {
    association: Atomic<u64>,
    /// What of it was taken.
    taken: Atomic<u64>,
    /// 1 + the path that the host has moved frames to, or 0.
    moved: Atomic<u32>,
    /// The number of the request that the host has completed last.
    switched: Atomic<u32>,
}

impl News {
    /// There is none.
    pub(crate) const fn new() -> Self {
        Self {
            association: Atomic::new(0),
            taken: Atomic::new(0),
            moved: Atomic::new(0),
            switched: Atomic::new(0),
        }
    }

    /// There is a function with this serial number, or none any more.
    pub(crate) fn associated(&self, serial: Option<u32>) {
        let count = self.association.load(Acquire) & !(AGAIN - 1);
        let serial = serial.map_or(0, |serial| ALLOCATED | u64::from(serial));
        self.association
            .store(count.wrapping_add(AGAIN) | serial, Release);
    }

    /// The host has moved the data path.
    pub(crate) fn moved(&self, path: DataPath) {
        self.moved.store(path.0.wrapping_add(1), Release);
    }

    /// The host has completed the request with this number, which is not 0.
    pub(crate) fn switched(&self, number: u32) {
        self.switched.store(number, Release);
    }

    /// Tells `pairing` what is new. Returns whether there was something, and the path if the host has switched it as it was
    /// asked. One task at a time.
    pub(crate) fn tell(&self, pairing: &mut Pairing) -> (bool, Option<DataPath>) {
        let moved = self.moved.xchg(0, Full);
        if let Some(path) = moved.checked_sub(1) {
            pairing.moved(DataPath(path));
        }
        // After that: where both are new, the function is a reason to ask the host again.
        let association = self.association.load(Acquire);
        let is_new = self.taken.load(Acquire) != association;
        if is_new {
            self.taken.store(association, Release);
            // The lower half.
            #[allow(clippy::cast_possible_truncation)]
            let serial = (association & ALLOCATED != 0).then_some(association as u32);
            pairing.associated(serial);
        }
        let number = self.switched.xchg(0, Full);
        let path = (number != 0).then(|| pairing.answered(number)).flatten();
        (moved != 0 || is_new || number != 0, path)
    }
}

#[kunit_tests(hv_netvsc_news)]
mod tests {
    use super::*;

    #[test]
    fn the_last_news_counts() {
        let news = News::new();
        let mut pairing = Pairing::default();
        assert_eq!(news.tell(&mut pairing), (false, None));
        news.associated(Some(0));
        news.associated(None);
        news.associated(Some(7));
        assert_eq!(news.tell(&mut pairing), (true, None));
        assert_eq!(pairing.association(), Some(7));
        assert_eq!(news.tell(&mut pairing), (false, None));
        news.associated(Some(7));
        assert_eq!(news.tell(&mut pairing), (true, None));
        news.associated(None);
        assert_eq!(news.tell(&mut pairing), (true, None));
        assert_eq!(pairing.association(), None);
    }

    #[test]
    fn answers_and_moves() {
        let news = News::new();
        let mut pairing = Pairing::default();
        pairing.connected();
        news.associated(Some(2));
        news.tell(&mut pairing);
        pairing.function(Some(true));
        let number = pairing.next_request().map_or(0, |request| request.number);
        news.switched(number);
        let vf = DataPath::NVSP_DATAPATH_VF;
        assert_eq!(news.tell(&mut pairing), (true, Some(vf)));
        assert!(pairing.forwards());
        news.moved(DataPath::NVSP_DATAPATH_SYNTHETIC);
        assert_eq!(news.tell(&mut pairing), (true, None));
        assert!(!pairing.forwards());
    }
}
