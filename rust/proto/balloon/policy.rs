// SPDX-License-Identifier: GPL-2.0

//! How much memory a guest gives away, and what it tells of what it has.

/// Pages of a MiB.
const MIB: u64 = 256;

/// Pages below which the host must not bring a guest that has `total` pages: a function in straight pieces, without
/// steps, in which each piece rises half as steeply as the one before. 128 MiB keep 72, 512 keep 168, 2048 keep 360, 8192
/// keep 744 and 32768 keep 1512 MiB.
pub const fn floor(total: u64) -> u64 {
    let (base, shift) = if total < 128 * MIB {
        (8, 1)
    } else if total < 512 * MIB {
        (40, 2)
    } else if total < 2048 * MIB {
        (104, 3)
    } else if total < 8192 * MIB {
        (232, 4)
    } else {
        (488, 5)
    };
    base * MIB + (total >> shift)
}

/// How a guest is off for memory; all in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// What the kernel manages (`totalram_pages()`).
    pub total: u64,
    /// What could be had without swapping (`si_mem_available()`); the kernel may reckon it below zero.
    pub available: i64,
    /// What is promised to programs (`vm_memory_committed()`).
    pub committed: u64,
    /// What is with the host.
    pub ballooned: u64,
    /// What was added.
    pub added: u64,
    /// What of that is in use.
    pub onlined: u64,
}

/// What a guest tells of its memory; in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// What is to be had.
    pub available: u64,
    /// What is promised. The host gives more if this is much of what the guest has, and takes some if it is little.
    pub committed: u64,
}

impl Pressure {
    /// The host reckons with all memory that it has given. So what is with the host, what was added but is not in use,
    /// and what must not be taken away count as promised: else the host would take them for free, and ask for them.
    pub fn of(memory: &MemoryState) -> Self {
        let offline = memory.added.saturating_sub(memory.onlined);
        Self {
            available: u64::try_from(memory.available).unwrap_or(0),
            committed: memory
                .committed
                .saturating_add(memory.ballooned)
                .saturating_add(offline)
                .saturating_add(floor(memory.total)),
        }
    }
}

/// Why the host gets less than it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clipped {
    /// There is not that much.
    NotEnough,
    /// The rest would be less than [`floor`].
    Floor,
}

/// How many pages the host is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// So many; not more than it wants.
    pub pages: u32,
    /// Why not all.
    pub clipped: Option<Clipped>,
}

/// How many of the `wanted` pages the host is to get.
pub fn to_balloon(wanted: u32, memory: &MemoryState) -> Grant {
    let available = u64::try_from(memory.available).unwrap_or(0);
    let floor = floor(memory.total);
    let clipped = match available.checked_sub(wanted.into()) {
        None => Some(Clipped::NotEnough),
        Some(rest) if rest < floor => Some(Clipped::Floor),
        Some(_) => None,
    };
    let spare = u32::try_from(available.saturating_sub(floor)).unwrap_or(u32::MAX);
    Grant {
        // Whether there is enough is asked first, so that a request for nothing is never cut.
        pages: if clipped.is_some() {
            wanted.min(spare)
        } else {
            wanted
        },
        clipped: clipped.filter(|_| wanted != 0),
    }
}

/// When to tell the host: from `pressure_report_delay` seconds after the beginning on, and not twice within a second.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    next_ms: u64,
}

impl Pace {
    /// Milliseconds between two reports.
    pub const EVERY_MS: u64 = 1_000;

    /// Begins. `now_ms` is a clock that does not go back.
    pub fn new(now_ms: u64, delay_seconds: u32) -> Self {
        Self {
            next_ms: now_ms.saturating_add(u64::from(delay_seconds).saturating_mul(1_000)),
        }
    }

    /// Whether the host is to be told now; if so, it is taken as told.
    pub fn due(&mut self, now_ms: u64) -> bool {
        let due = now_ms >= self.next_ms;
        if due {
            self.next_ms = now_ms.saturating_add(Self::EVERY_MS);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;

    #[test]
    fn floor_at_its_corners() {
        for (total, least) in [
            (0, 8),
            (16, 16),
            (32, 24),
            (128, 72),
            (512, 168),
            (2048, 360),
            (8192, 744),
            (32768, 1512),
        ] {
            assert_eq!(floor(total * MIB), least * MIB, "{total} MiB");
        }
        assert!(floor(u64::MAX) < u64::MAX / 16);
    }

    fn memory(total: u64, available: i64) -> MemoryState {
        MemoryState {
            total,
            available,
            ..MemoryState::default()
        }
    }

    #[test]
    fn the_floor_is_kept() {
        // 512 MiB keep 168.
        let total = 512 * MIB;
        let floor = (168 * MIB) as i64;
        let grant = |wanted, available| {
            let grant = to_balloon(wanted, &memory(total, available));
            (grant.pages, grant.clipped)
        };
        assert_eq!(grant(1000, floor + 1000), (1000, None));
        assert_eq!(grant(1001, floor + 1000), (1000, Some(Clipped::Floor)));
        assert_eq!(grant(10, floor), (0, Some(Clipped::Floor)));
        assert_eq!(grant(10, floor - 1), (0, Some(Clipped::Floor)));
        let short = Some(Clipped::NotEnough);
        assert_eq!(grant(u32::MAX, floor + 7), (7, short));
        for none in [0, 9, -1, i64::MIN] {
            assert_eq!(grant(10, none), (0, short));
        }
        assert_eq!(grant(0, floor - 1), (0, None));
        assert_eq!(grant(0, -1), (0, None));
        assert_eq!(grant(u32::MAX, i64::MAX), (u32::MAX, None));
    }

    #[test]
    fn what_counts_as_promised() {
        let state = MemoryState {
            total: 512 * MIB,
            available: -5,
            committed: 100,
            ballooned: 20,
            added: 7,
            onlined: 4,
        };
        let pressure = Pressure::of(&state);
        assert_eq!(pressure.available, 0);
        assert_eq!(pressure.committed, 123 + 168 * MIB);
        let onlined = MemoryState {
            onlined: 9,
            ..state
        };
        assert_eq!(Pressure::of(&onlined).committed, 120 + 168 * MIB);
    }

    #[test]
    fn one_report_a_second() {
        let mut pace = Pace::new(500, 2);
        let due: std::vec::Vec<u64> = (0..6000).step_by(100).filter(|t| pace.due(*t)).collect();
        assert_eq!(due, [2500, 3500, 4500, 5500]);
        assert!(Pace::new(0, 0).due(0));
        assert!(!Pace::new(u64::MAX - 1, u32::MAX).due(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn never_more_than_wanted_nor_below_the_floor(wanted: u32, total in 0u64..1 << 40, available: i64) {
            let grant = to_balloon(wanted, &memory(total, available));
            prop_assert!(grant.pages <= wanted);
            let (left, least) = (i128::from(available) - i128::from(wanted), i128::from(floor(total)));
            prop_assert_eq!(grant.clipped.is_none(), wanted == 0 || left >= least);
            prop_assert!(grant.clipped.is_some() || grant.pages == wanted);
            if grant.pages > 0 {
                prop_assert!(available as u64 - u64::from(grant.pages) >= floor(total));
            }
        }

        #[test]
        fn floor_rises_without_steps(total in 0u64..1 << 30) {
            let rise = floor(total + 1) - floor(total);
            prop_assert!(rise <= 1);
        }

        #[test]
        fn pressure_never_overflows(total: u64, available: i64, committed: u64, ballooned: u64, added: u64, onlined: u64) {
            let state = MemoryState { total, available, committed, ballooned, added, onlined };
            prop_assert!(Pressure::of(&state).committed >= floor(total));
        }
    }
}
