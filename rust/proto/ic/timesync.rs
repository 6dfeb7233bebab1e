// SPDX-License-Identifier: GPL-2.0

//! Time synchronisation. Host times count 100 ns since 1601-01-01 UTC, reference times 100 ns since the guest
//! was started (the partition reference counter).

use super::{IcVersion, MessageType, Service, FRAMEWORK_3_AND_1};
use crate::error::{read_prefix, ProtoError};

/// The service.
pub static SERVICE: Service = Service {
    name: "TimeSync",
    message_type: MessageType::ICMSGTYPE_TIMESYNC,
    framework_versions: FRAMEWORK_3_AND_1,
    message_versions: &[
        IcVersion::new(4, 0),
        IcVersion::new(3, 0),
        IcVersion::new(1, 0),
    ],
};

/// Flag value: only measuring the round trip.
pub const ICTIMESYNCFLAG_PROBE: u8 = 0;
/// Flag: set the clock.
pub const ICTIMESYNCFLAG_SYNC: u8 = 1;
/// Flag: a sample to discipline the clock with.
pub const ICTIMESYNCFLAG_SAMPLE: u8 = 2;
/// 100 ns from 1601 to 1970 (`WLTIMEDELTA`).
pub const WLTIMEDELTA: u64 = 116_444_736_000_000_000;
/// A sample older than this is stale: 600 s, in 100 ns.
pub const STALE_AFTER: u64 = 600 * 10_000_000;
/// The longest that a message is believed to have been under way: 10 s, in 100 ns.
pub const UNDER_WAY_LIMIT: u64 = 10 * 10_000_000;
/// With implicit synchronisation the clock is set when it is at least this far behind: 5 s, in ns.
pub const IMPLICIT_SYNC_NS: i64 = 5_000_000_000;

wire_struct! {
    /// `struct ictimesync_data`, 25 bytes; message versions before 4.
    #[derive(Debug)]
    pub struct TimesyncData {
        /// The host's time.
        pub parenttime: u64,
        /// The guest's time as the host knows it.
        pub childtime: u64,
        /// Measured round trip.
        pub roundtriptime: u64,
        /// `ICTIMESYNCFLAG_*`.
        pub flags: u8,
    }

    /// `struct ictimesync_ref_data`, 22 bytes; from message version 4 on.
    #[derive(Debug)]
    pub struct TimesyncRefData {
        /// The host's time.
        pub parenttime: u64,
        /// The guest's reference time when the host read its time.
        pub vmreferencetime: u64,
        /// `ICTIMESYNCFLAG_*`.
        pub flags: u8,
        /// Leap second indication, as in NTP.
        pub leapflags: u8,
        /// Stratum, as in NTP.
        pub stratum: u8,
        /// Unused.
        pub reserved: [u8; 3],
    }
}

/// The host's time at a reference time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// 100 ns since 1601.
    pub host_time: u64,
    /// 100 ns since start.
    pub ref_time: u64,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timesync {
    /// The sample, brought to the reference time at which it was handled.
    pub sample: Sample,
    /// The host demands that the clock is set.
    pub sync: bool,
}

/// Parses the request in `body`. `message` is the negotiated message version and `now` the reference time.
///
/// # Errors
///
/// `Short` for an incomplete message; `Invalid` for a host time before 1970 or one that overflows.
pub fn parse(body: &[u8], message: IcVersion, now: u64) -> Result<Timesync, ProtoError> {
    let (parenttime, reference, flags) = if message > IcVersion::new(3, 0) {
        let (m, _) = read_prefix::<TimesyncRefData>(body, "ictimesync_ref_data")?;
        (m.parenttime, m.vmreferencetime, m.flags)
    } else {
        let (m, _) = read_prefix::<TimesyncData>(body, "ictimesync_data")?;
        (m.parenttime, now, m.flags)
    };
    // How long the message took, unless the two counters are not the same: the guest's may have been reset, or gone on
    // while the host slept, and then be hours before or behind what the host takes it for. The next message mends what
    // this leaves out of a message that did take longer.
    let underway = now
        .checked_sub(reference)
        .filter(|&ticks| ticks <= UNDER_WAY_LIMIT)
        .unwrap_or(0);
    let host_time = parenttime
        .checked_add(underway)
        .filter(|&t| unix_ns(t).is_some());
    match host_time {
        Some(host_time) => Ok(Timesync {
            sample: Sample {
                host_time,
                ref_time: now,
            },
            sync: flags & ICTIMESYNCFLAG_SYNC != 0,
        }),
        None => Err(ProtoError::Invalid {
            what: "host time",
            value: parenttime,
        }),
    }
}

/// Nanoseconds since 1970 of a host time, `None` if out of range (1970 to 2262).
pub fn unix_ns(host_time: u64) -> Option<i64> {
    let ns = host_time.checked_sub(WLTIMEDELTA)?.checked_mul(100)?;
    i64::try_from(ns).ok()
}

/// The sample is older than 600 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl Sample {
    /// The host's time at reference time `now`, in nanoseconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Stale`] if the sample is too old, or from the future, or its time out of range.
    pub fn host_ns_at(&self, now: u64) -> Result<i64, Stale> {
        let age = now.checked_sub(self.ref_time).ok_or(Stale)?;
        if age > STALE_AFTER {
            return Err(Stale);
        }
        self.host_time
            .checked_add(age)
            .and_then(unix_ns)
            .ok_or(Stale)
    }

    /// Whether a clock that shows `guest_ns` is so far behind that implicit synchronisation sets it.
    pub fn is_clock_behind(&self, guest_ns: i64) -> bool {
        unix_ns(self.host_time)
            .is_some_and(|host| host.saturating_sub(guest_ns) >= IMPLICIT_SYNC_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    const V4: IcVersion = IcVersion::new(4, 0);
    const V3: IcVersion = IcVersion::new(3, 0);

    fn v4(parenttime: u64, vmreferencetime: u64, flags: u8) -> TimesyncRefData {
        TimesyncRefData {
            parenttime,
            vmreferencetime,
            flags,
            leapflags: 0,
            stratum: 0,
            reserved: [0; 3],
        }
    }

    #[test]
    fn the_time_under_way_is_added() {
        let t = parse(v4(WLTIMEDELTA + 1000, 400, 1).as_bytes(), V4, 500).unwrap();
        assert!(t.sync);
        assert_eq!(
            t.sample,
            Sample {
                host_time: WLTIMEDELTA + 1100,
                ref_time: 500
            }
        );
        assert_eq!(t.sample.host_ns_at(510), Ok(111_000));
        assert_eq!(t.sample.host_ns_at(499), Err(Stale));
        assert_eq!(
            t.sample.host_ns_at(500 + STALE_AFTER),
            Ok((1100 + STALE_AFTER as i64) * 100)
        );
        assert_eq!(t.sample.host_ns_at(501 + STALE_AFTER), Err(Stale));
        // From the future: as if it took no time.
        let t = parse(v4(WLTIMEDELTA + 1000, 600, 2).as_bytes(), V4, 500).unwrap();
        assert_eq!((t.sync, t.sample.host_time), (false, WLTIMEDELTA + 1000));
    }

    #[test]
    fn counters_that_are_apart_do_not_move_the_time() {
        const H: u64 = WLTIMEDELTA + 1_000_000_000;
        let hours = 2 * 3600 * 10_000_000;
        for (reference, now, added) in [
            // The guest's counter is ahead of what the host takes it for, by two hours, then by 10 s and a tick.
            (5_000, 5_000 + hours, 0),
            (5_000, 5_001 + UNDER_WAY_LIMIT, 0),
            (5_000, 5_000 + UNDER_WAY_LIMIT, UNDER_WAY_LIMIT),
            // Behind it.
            (5_000 + hours, 5_000, 0),
        ] {
            let t = parse(v4(H, reference, 1).as_bytes(), V4, now).unwrap();
            assert_eq!((t.sample.host_time, t.sample.ref_time), (H + added, now));
        }
    }

    #[test]
    fn old_messages_have_another_form() {
        let m = TimesyncData {
            parenttime: WLTIMEDELTA,
            childtime: 7,
            roundtriptime: 8,
            flags: 1,
        };
        let t = parse(m.as_bytes(), V3, 500).unwrap();
        assert_eq!(
            t,
            Timesync {
                sample: Sample {
                    host_time: WLTIMEDELTA,
                    ref_time: 500
                },
                sync: true
            }
        );
        assert!(parse(&m.as_bytes()[..24], V3, 0).is_err());
        assert!(parse(&[0xff; 22], V4, 0).is_err());
        assert!(parse(&[0; 22], V4, 0).is_err());
        assert!(parse(&[1; 21], V4, 0).is_err());
    }

    #[test]
    fn five_seconds_behind() {
        let s = Sample {
            host_time: WLTIMEDELTA + 100_000_000,
            ref_time: 0,
        };
        assert!(s.is_clock_behind(5_000_000_000));
        assert!(!s.is_clock_behind(5_000_000_001));
        assert!(!s.is_clock_behind(i64::MAX));
        assert!(s.is_clock_behind(i64::MIN));
    }

    proptest! {
        /// Whatever the counters say, what the guest takes for the host's time is what the host said, or little later.
        #[test]
        fn the_time_is_never_far_from_what_the_host_said(
            parenttime in WLTIMEDELTA..2 * WLTIMEDELTA,
            reference in 0u64..1 << 40,
            now in 0u64..1 << 40,
            sync: bool,
        ) {
            let body = v4(parenttime, reference, u8::from(sync));
            if let Ok(t) = parse(body.as_bytes(), V4, now) {
                let added = t.sample.host_time - parenttime;
                prop_assert!(added <= 100_000_000);
                prop_assert!(added == 0 || added == now - reference);
                prop_assert_eq!((t.sample.ref_time, t.sync), (now, sync));
            }
        }

        #[test]
        fn any_message_never_panics(body in proptest::collection::vec(any::<u8>(), 0..40), major in 0u16..5, now: u64, later: u64) {
            if let Ok(t) = parse(&body, IcVersion::new(major, 0), now) {
                let _ = t.sample.host_ns_at(later);
                let _ = t.sample.is_clock_behind(0);
            }
        }
    }
}
