// SPDX-License-Identifier: GPL-2.0

//! The driver's side of VMBus: safe access to the C API of `<linux/hyperv.h>`.

use kernel::prelude::*;

/// Returns the protocol version that the bus negotiated, major in the upper 16 bits, minor in the lower.
///
/// # Errors
///
/// `ENODEV` if there is no connection.
///
/// C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)
pub fn proto_version() -> Result<u32> {
    // SAFETY: A plain read of an integer that the bus sets before drivers can be registered with it.
    let version = unsafe { rlis_sys::vmbus_proto_version };
    if version == 0 {
        Err(ENODEV)
    } else {
        Ok(version)
    }
}
