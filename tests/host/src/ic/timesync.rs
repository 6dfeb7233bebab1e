// SPDX-License-Identifier: GPL-2.0

//! Time synchronisation: the host's clock in units of 100 ns since 1601, and the reference counter that goes
//! with it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{ensure, Context, Result};
use rlis_proto::guid::class::HV_TS_GUID;
use rlis_proto::ic::MessageType;

use super::{Component, Kind, Version};

/// The time synchronisation component.
pub const KIND: Kind = Kind {
    name: "timesync",
    class: HV_TS_GUID,
    instance: super::instance("2dd1ce17-079e-403c-b352-a1921ee207ee"),
    on_the_ring: false,
    type_: MessageType::ICMSGTYPE_TIMESYNC,
    versions: &[Version::new(1, 0), Version::new(3, 0), Version::new(4, 0)],
};

/// ICTIMESYNCFLAG_SYNC: set the clock.
const FLAG_SYNC: u8 = 1;
/// ICTIMESYNCFLAG_SAMPLE: take note.
const FLAG_SAMPLE: u8 = 2;
/// 100 ns units between 1601 and 1970.
const EPOCH_DELTA: i64 = 116_444_736_000_000_000;
/// Time between samples.
const INTERVAL: Duration = Duration::from_secs(5);
const REPLY: Duration = Duration::from_secs(30);

/// Tells the guest's reference counter (HV_X64_MSR_TIME_REF_COUNT, units of 100 ns).
pub type ReferenceCounter = Box<dyn Fn() -> Result<u64> + Send + Sync>;

/// The time service.
pub struct TimeSync {
    component: Arc<Component>,
    reference: ReferenceCounter,
    /// What is added to this machine's clock before it is told to the guest, in seconds.
    offset: AtomicI64,
    /// No samples are sent unasked.
    silent: AtomicBool,
    /// Messages that the guest answered.
    pub answered: AtomicU64,
}

impl TimeSync {
    /// Starts the service: a SYNC after each negotiation, samples after that.
    pub fn start(
        component: Arc<Component>,
        reference: ReferenceCounter,
    ) -> std::io::Result<Arc<Self>> {
        let this = Arc::new(Self {
            component,
            reference,
            offset: AtomicI64::new(0),
            silent: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        });
        let worker = this.clone();
        thread::Builder::new()
            .name("timesync".into())
            .spawn(move || {
                let mut last = 0;
                loop {
                    if let Some((_, generation)) = worker.component.negotiated() {
                        let flags = if generation == last {
                            FLAG_SAMPLE
                        } else {
                            FLAG_SYNC
                        };
                        last = generation;
                        if !worker.silent.load(Ordering::SeqCst) {
                            if let Err(error) = worker.tell(flags) {
                                eprintln!("rlis-host: timesync: {error:#}");
                            }
                        }
                        thread::sleep(INTERVAL);
                    } else {
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            })?;
        Ok(this)
    }

    /// Changes what the guest is told: this machine's clock plus `seconds`. Then sends a SYNC, or a sample.
    pub fn set_offset(&self, seconds: i64, sync: bool) -> Result<()> {
        self.offset.store(seconds, Ordering::SeqCst);
        self.tell(if sync { FLAG_SYNC } else { FLAG_SAMPLE })
    }

    /// Ends the samples that are sent unasked, or lets them begin again.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// What the guest is told, in seconds since 1970: this machine's clock and the offset.
    pub fn clock(&self) -> Result<f64> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .context("this machine's clock")?;
        // Seconds of a few decades: exact in 53 bits.
        Ok(now.as_secs_f64() + self.offset.load(Ordering::SeqCst) as f64)
    }

    fn tell(&self, flags: u8) -> Result<()> {
        let (version, _) = self
            .component
            .negotiated()
            .context("the guest has no driver for timesync")?;
        let reference = (self.reference)()?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .context("this machine's clock")?;
        let time = i64::try_from(now.as_nanos() / 100)?
            .checked_add(EPOCH_DELTA)
            .zip(self.offset.load(Ordering::SeqCst).checked_mul(10_000_000))
            .and_then(|(time, offset)| time.checked_add(offset))
            .context("the time offset is out of range")?;
        let time = u64::try_from(time).context("the time offset lies before 1601")?;
        let reply = self
            .component
            .request(&body(version, time, reference, flags), REPLY)?;
        ensure!(
            reply.status == 0,
            "the guest answered with status {:#x}",
            reply.status
        );
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// struct ictimesync_ref_data from version 4 on, struct ictimesync_data before.
fn body(version: Version, time: u64, reference: u64, flags: u8) -> Vec<u8> {
    let mut body = time.to_le_bytes().to_vec();
    if version >= Version::new(4, 0) {
        body.extend(reference.to_le_bytes());
        body.push(flags);
        // Leap indicator, stratum, reserved.
        body.extend([0, 1, 0, 0, 0]);
    } else {
        // The guest's time and the round trip are for the guest's own use.
        body.extend([0; 16]);
        body.push(flags);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_sizes_of_the_c_structs() {
        let old = body(Version::new(3, 0), 1, 2, FLAG_SYNC);
        assert_eq!((old.len(), old[24]), (25, FLAG_SYNC));
        let new = body(Version::new(4, 0), 1, 2, FLAG_SAMPLE);
        assert_eq!((new.len(), new[16], new[8]), (22, FLAG_SAMPLE, 2));
    }
}
