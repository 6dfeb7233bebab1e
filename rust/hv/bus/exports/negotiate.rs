// SPDX-License-Identifier: GPL-2.0

//! Version negotiation of the integration components, which the bus does for their drivers.

use super::Given;
use kernel::{
    ffi::c_int,
    prelude::*, //
};
use rlis_proto::ic::{
    self,
    IcVersion, //
};
use rlis_sys as bindings;

/// A version as C code has it: major in the upper and minor in the lower 16 bits.
fn pack(version: IcVersion) -> c_int {
    (c_int::from(version.major) << 16) | c_int::from(version.minor)
}

/// See [`pack`].
fn unpack(version: c_int) -> IcVersion {
    let [b0, b1, b2, b3] = version.to_le_bytes();
    IcVersion::new(u16::from_le_bytes([b2, b3]), u16::from_le_bytes([b0, b1]))
}

/// Answers the negotiation message in `buf`, whose header `_header` is, in place. Status and flags are the
/// driver's to set. Without a common version the answer, and what is returned, is 0.0.
#[no_mangle]
extern "C" fn vmbus_prep_negotiate_resp(
    _header: *mut bindings::icmsg_hdr,
    mut buf: Given<u8>,
    buf_len: u32,
    fw_version: Given<c_int>,
    fw_count: c_int,
    srv_version: Given<c_int>,
    srv_count: c_int,
    nego_fw_version: Option<&mut c_int>,
    nego_srv_version: Option<&mut c_int>,
) -> bool {
    let count = |n: c_int| usize::try_from(n).unwrap_or(0);
    let agreed = ic::answer_negotiate(
        buf.slice_mut(buf_len as usize),
        fw_version
            .slice(count(fw_count))
            .iter()
            .copied()
            .map(unpack),
        srv_version
            .slice(count(srv_count))
            .iter()
            .copied()
            .map(unpack),
    );
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(e) => {
            crate::ratelimit::warn(|| {
                pr_err!("Invalid icmsg negotiate: {}\n", core::format_args!("{e}"))
            });
            return false;
        }
    };
    for (to, version) in [
        (nego_fw_version, agreed.map(|a| a.framework)),
        (nego_srv_version, agreed.map(|a| a.message)),
    ] {
        if let Some(to) = to {
            *to = version.map_or(0, pack);
        }
    }
    agreed.is_some()
}
