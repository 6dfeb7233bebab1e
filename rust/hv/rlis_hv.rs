// SPDX-License-Identifier: GPL-2.0

//! The kernel layer: safe abstractions that the kernel crate lacks.

use kernel::prelude::*;

#[doc(hidden)]
pub const __LOG_PREFIX: &[u8] = b"rlis_hv\0";

/// Returns the protocol version that the bus negotiated.
pub fn proto_version() -> Result<u32> {
    // SAFETY: reads a static that the bus set before any driver could be loaded.
    let version = unsafe { rlis_sys::vmbus_proto_version };
    if version == 0 { Err(ENODEV) } else { Ok(version) }
}
