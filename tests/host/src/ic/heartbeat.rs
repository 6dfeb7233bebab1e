// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: the host counts, the guest answers with the next number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rlis_proto::guid::class::HV_HEART_BEAT_GUID;
use rlis_proto::ic::MessageType;

use super::{Component, Kind, Version};
use crate::violations::Violations;

/// The heartbeat component.
pub const KIND: Kind = Kind {
    name: "heartbeat",
    class: HV_HEART_BEAT_GUID,
    instance: super::instance("fd149e91-82e0-4a7d-afa6-2a4166cbd7c0"),
    on_the_ring: false,
    type_: MessageType::ICMSGTYPE_HEARTBEAT,
    versions: &[Version::new(1, 0), Version::new(3, 0)],
};

/// Time between heartbeats, and how long a reply may take before it counts as missed.
const INTERVAL: Duration = Duration::from_secs(2);

/// Counts of heartbeats.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answered properly.
    pub answered: AtomicU64,
    /// Not answered in time.
    pub missed: AtomicU64,
}

/// Sends heartbeats for the rest of the process.
pub fn start(
    component: Arc<Component>,
    violations: Arc<Violations>,
) -> std::io::Result<Arc<Counts>> {
    let counts = Arc::new(Counts::default());
    let out = counts.clone();
    thread::Builder::new()
        .name("heartbeat".into())
        .spawn(move || {
            let mut sequence = 0u64;
            loop {
                if component.negotiated().is_some() {
                    // struct heartbeat_msg_data: the number and 32 reserved bytes.
                    let mut body = sequence.to_le_bytes().to_vec();
                    body.resize(40, 0);
                    match component.request(&body, INTERVAL * 5) {
                        Ok(reply) => {
                            let number = reply.body.first_chunk().copied().map(u64::from_le_bytes);
                            if number == Some(sequence.wrapping_add(1)) {
                                counts.answered.fetch_add(1, Ordering::Relaxed);
                            } else {
                                violations.record(format!(
                                    "heartbeat: {number:?} in reply to {sequence}"
                                ));
                            }
                        }
                        Err(_) => {
                            counts.missed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    sequence = sequence.wrapping_add(2);
                }
                thread::sleep(INTERVAL);
            }
        })?;
    Ok(out)
}
