// SPDX-License-Identifier: GPL-2.0

//! File copy from the host into the guest (include/uapi/linux/hyperv.h; the daemon's side of the character
//! device as tools/hv/hv_fcopy_daemon.c has it up to Linux 6.9).

use super::kvp::utf::{utf16le_to_utf8, UtfError};
use super::transaction::{Profile, Registration, HV_UTIL_TIMEOUT};
use super::{IcVersion, MessageType, Service, Status, FRAMEWORK_3};
use crate::error::{put_bytes, read_prefix, ProtoError};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, IntoBytes};

/// The service.
pub static SERVICE: Service = Service {
    name: "FCOPY",
    message_type: MessageType::ICMSGTYPE_FCOPY,
    framework_versions: FRAMEWORK_3,
    message_versions: &[IcVersion::new(1, 1)],
};

/// Registration of old daemons, which expect no answer (`FCOPY_VERSION_0`).
pub const FCOPY_VERSION_0: u32 = 0;
/// Registration; answered with this value in four bytes (`FCOPY_VERSION_1`).
pub const FCOPY_VERSION_1: u32 = 1;
/// UTF-16 units of a file name and of a path, terminator included (`W_MAX_PATH`).
pub const W_MAX_PATH: usize = 260;
/// Most bytes of the file in one message (`DATA_FRAGMENT`).
pub const DATA_FRAGMENT: usize = 6 * 1024;
/// Copy flag: overwrite an existing file.
pub const OVER_WRITE: u32 = 1;
/// Copy flag: create the directories of the path.
pub const CREATE_PATH: u32 = 2;

open_enum! {
    /// `enum hv_fcopy_op`.
    pub struct FcopyOp(u32) {
        /// Create the file.
        START_FILE_COPY = 0,
        /// Write a fragment.
        WRITE_TO_FILE = 1,
        /// Close the file.
        COMPLETE_FCOPY = 2,
        /// Remove the file.
        CANCEL_FCOPY = 3,
    }
}

wire_struct! {
    /// `struct hv_fcopy_hdr`, 36 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct FcopyHeader {
        /// [`FcopyOp`].
        pub operation: u32,
        /// Unused.
        pub service_id0: [u8; 16],
        /// Unused.
        pub service_id1: [u8; 16],
    }

    /// `struct hv_start_fcopy`, 1088 bytes. Names are UTF-16LE from the host and UTF-8 for the daemon.
    pub struct StartFcopy {
        /// Its header.
        pub hdr: FcopyHeader,
        /// Name of the file.
        pub file_name: [u8; 2 * W_MAX_PATH],
        /// Directory.
        pub path_name: [u8; 2 * W_MAX_PATH],
        /// [`OVER_WRITE`], [`CREATE_PATH`].
        pub copy_flags: u32,
        /// Bytes.
        pub file_size: u64,
    }

    /// `struct hv_do_fcopy`, 6196 bytes.
    pub struct DoFcopy {
        /// Its header.
        pub hdr: FcopyHeader,
        /// Unused.
        pub pad: u32,
        /// Where in the file.
        pub offset: u64,
        /// Bytes of `data` in use.
        pub size: u32,
        /// The bytes.
        pub data: [u8; DATA_FRAGMENT],
    }
}

/// Largest message for the daemon, bytes.
pub const FCOPY_MAX_MESSAGE: usize = size_of::<DoFcopy>();

fn handshake(code: u32) -> Option<Registration> {
    match code {
        FCOPY_VERSION_0 => Some(Registration {
            legacy: true,
            answered: false,
        }),
        FCOPY_VERSION_1 => Some(Registration {
            legacy: false,
            answered: true,
        }),
        _ => None,
    }
}

fn timeout(_: u32) -> u32 {
    HV_UTIL_TIMEOUT
}

/// For [`super::transaction::Transaction`].
pub static PROFILE: Profile = Profile {
    handshake,
    timeout,
    waits_for_daemon: false,
    freeze_thaw: None,
};

/// A request that is refused, with the status for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Status);

impl From<UtfError> for Refused {
    fn from(_: UtfError) -> Self {
        Self(Status::HV_INVALIDARG)
    }
}

/// Validates the request in `body` and writes the daemon's message into `out` (at least
/// [`FCOPY_MAX_MESSAGE`] bytes); returns the operation and the message's length.
///
/// # Errors
///
/// [`Refused`] with `HV_INVALIDARG` for a message that is incomplete, has names that are no UTF-16, do not fit
/// or are empty, or whose size exceeds the fragment; `HV_ERROR_NOT_SUPPORTED` for an unknown operation;
/// `HV_E_FAIL` if `out` is too small.
pub fn to_daemon(body: &[u8], out: &mut [u8]) -> Result<(FcopyOp, usize), Refused> {
    let invalid = Refused(Status::HV_INVALIDARG);
    let (header, _) = read_prefix::<FcopyHeader>(body, "hv_fcopy_hdr").map_err(|_| invalid)?;
    let op = FcopyOp(header.operation);
    let len = match op {
        FcopyOp::START_FILE_COPY => size_of::<StartFcopy>(),
        FcopyOp::WRITE_TO_FILE => size_of::<DoFcopy>(),
        FcopyOp::COMPLETE_FCOPY | FcopyOp::CANCEL_FCOPY => size_of::<FcopyHeader>(),
        _ => return Err(Refused(Status::HV_ERROR_NOT_SUPPORTED)),
    };
    let out = out.get_mut(..len).ok_or(Refused(Status::HV_E_FAIL))?;
    out.fill(0);
    match op {
        FcopyOp::START_FILE_COPY => {
            let (request, _) = StartFcopy::ref_from_prefix(body).map_err(|_| invalid)?;
            let (message, _) = StartFcopy::mut_from_prefix(out).map_err(|_| invalid)?;
            message.hdr.operation = op.0;
            if utf16le_to_utf8(&request.file_name, &mut message.file_name)? == 0 {
                return Err(invalid);
            }
            utf16le_to_utf8(&request.path_name, &mut message.path_name)?;
            message.copy_flags = request.copy_flags;
            message.file_size = request.file_size;
        }
        FcopyOp::WRITE_TO_FILE => {
            // The last fragment of a file may come in a shorter packet.
            let fixed = offset_of!(DoFcopy, data);
            let size_at = offset_of!(DoFcopy, size);
            let (size, _) = read_prefix::<u32>(body.get(size_at..).unwrap_or_default(), "size")
                .map_err(|_| invalid)?;
            let end = usize::try_from(size)
                .ok()
                .filter(|&n| n <= DATA_FRAGMENT)
                .and_then(|n| n.checked_add(fixed))
                .ok_or(invalid)?;
            let used = body.get(..end).ok_or(invalid)?;
            put_bytes(out, used, "hv_do_fcopy").map_err(|_| Refused(Status::HV_E_FAIL))?;
        }
        _ => {
            put_bytes(out, header.as_bytes(), "hv_fcopy_hdr")
                .map_err(|_| Refused(Status::HV_E_FAIL))?;
        }
    }
    Ok((op, len))
}

/// Parses what a daemon wrote: four bytes, its version while it registers and a status afterwards.
///
/// # Errors
///
/// `Invalid` if it does not have four bytes (EINVAL).
pub fn from_daemon(bytes: &[u8]) -> Result<u32, ProtoError> {
    match <[u8; 4]>::try_from(bytes) {
        Ok(b) => Ok(u32::from_le_bytes(b)),
        Err(_) => Err(ProtoError::Invalid {
            what: "length of file copy answer",
            value: bytes.len() as u64,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::FromZeros;
    extern crate std;
    use std::vec;

    fn put_utf16(dst: &mut [u8], text: &str) {
        for (d, u) in dst.chunks_exact_mut(2).zip(text.encode_utf16()) {
            d.copy_from_slice(&u.to_le_bytes());
        }
    }

    #[test]
    fn sizes_of_the_daemon() {
        assert_eq!(
            (
                size_of::<FcopyHeader>(),
                size_of::<StartFcopy>(),
                size_of::<DoFcopy>()
            ),
            (36, 1088, 6196)
        );
    }

    #[test]
    fn start_converts_names() {
        let mut r = StartFcopy::new_zeroed();
        put_utf16(&mut r.file_name, "größe.txt");
        put_utf16(&mut r.path_name, "/tmp/日本");
        r.copy_flags = OVER_WRITE;
        r.file_size = 1 << 40;
        let mut out = vec![0xff; FCOPY_MAX_MESSAGE];
        assert_eq!(
            to_daemon(r.as_bytes(), &mut out),
            Ok((FcopyOp::START_FILE_COPY, 1088))
        );
        let m = StartFcopy::ref_from_prefix(&out).unwrap().0;
        assert!(m.file_name.starts_with("größe.txt\0".as_bytes()));
        assert!(m.path_name.starts_with("/tmp/日本\0".as_bytes()));
        assert_eq!(({ m.copy_flags }, { m.file_size }), (1, 1 << 40));
        // A name of 259 characters of three bytes does not fit into 519 bytes.
        put_utf16(&mut r.file_name, &"日".repeat(259));
        assert_eq!(
            to_daemon(r.as_bytes(), &mut out),
            Err(Refused(Status::HV_INVALIDARG))
        );
        r.file_name.fill(0);
        assert_eq!(
            to_daemon(r.as_bytes(), &mut out),
            Err(Refused(Status::HV_INVALIDARG))
        );
        assert!(to_daemon(&r.as_bytes()[..1087], &mut out).is_err());
    }

    #[test]
    fn write_is_bounded_by_its_size() {
        let mut r = DoFcopy::new_zeroed();
        r.hdr.operation = 1;
        r.offset = 6144;
        r.size = 3;
        r.data[..4].copy_from_slice(b"abcd");
        let mut out = vec![0xff; FCOPY_MAX_MESSAGE];
        assert_eq!(
            to_daemon(&r.as_bytes()[..56], &mut out),
            Ok((FcopyOp::WRITE_TO_FILE, 6196))
        );
        assert_eq!(out[52..57], *b"abc\0\0");
        assert!(to_daemon(&r.as_bytes()[..54], &mut out).is_err());
        r.size = 6145;
        assert_eq!(
            to_daemon(r.as_bytes(), &mut out),
            Err(Refused(Status::HV_INVALIDARG))
        );
        r.size = u32::MAX;
        assert!(to_daemon(r.as_bytes(), &mut out).is_err());
        r.hdr.operation = 4;
        assert_eq!(
            to_daemon(r.as_bytes(), &mut out),
            Err(Refused(Status::HV_ERROR_NOT_SUPPORTED))
        );
        r.hdr.operation = 3;
        assert_eq!(
            to_daemon(r.as_bytes(), &mut out),
            Ok((FcopyOp::CANCEL_FCOPY, 36))
        );
    }

    #[test]
    fn daemon_answers() {
        assert_eq!(
            from_daemon(&0x8007_0070u32.to_le_bytes()),
            Ok(Status::HV_ERROR_DISK_FULL.0)
        );
        assert!(from_daemon(&[0; 3]).is_err() && from_daemon(&[0; 5]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(op in 0u32..6, tail in proptest::collection::vec(any::<u8>(), 0..2000), room in 0usize..7000) {
            let mut b = op.to_le_bytes().to_vec();
            b.extend(&tail);
            let _ = to_daemon(&b, &mut vec![0; room]);
        }
    }
}
