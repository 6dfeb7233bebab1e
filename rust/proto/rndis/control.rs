// SPDX-License-Identifier: GPL-2.0

//! Requests about the card, and answers to them.

use super::header::{header, MessageType, HEADER_SIZE};
use super::oid::Oid;
use super::status::Status;
use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;

/// Bytes of the longest message that a guest says it takes.
pub const MAX_TRANSFER_SIZE: u32 = 0x4000;

wire_struct! {
    /// `struct rndis_initialize_request`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct InitializeRequest {
        /// Repeated in the answer.
        pub req_id: u32,
        /// 1.
        pub major_ver: u32,
        /// 0.
        pub minor_ver: u32,
        /// [`MAX_TRANSFER_SIZE`].
        pub max_xfer_size: u32,
    }

    /// `struct rndis_initialize_complete`, 44 bytes.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct InitializeComplete {
        /// That of the request.
        pub req_id: u32,
        /// [`Status`].
        pub status: u32,
        /// 1.
        pub major_ver: u32,
        /// 0.
        pub minor_ver: u32,
        /// 1: connectionless.
        pub dev_flags: u32,
        /// 0: IEEE 802.3.
        pub medium: u32,
        /// Most frames in one packet of the guest.
        pub max_pkt_per_msg: u32,
        /// Bytes of the longest message that the host takes.
        pub max_xfer_size: u32,
        /// Frames in one packet begin at multiples of two to this power.
        pub pkt_alignment_factor: u32,
        /// Unused.
        pub af_list_offset: u32,
        /// Unused.
        pub af_list_size: u32,
    }

    /// `struct rndis_halt_request`, 4 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HaltRequest {
        /// Nobody repeats it.
        pub req_id: u32,
    }

    /// `struct rndis_query_request`, 20 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct QueryRequest {
        /// Repeated in the answer.
        pub req_id: u32,
        /// [`Oid`].
        pub oid: u32,
        /// Bytes of what says how to answer.
        pub info_buflen: u32,
        /// Where it is.
        pub info_buf_offset: u32,
        /// Zero.
        pub dev_vc_handle: u32,
    }

    /// `struct rndis_query_complete`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct QueryComplete {
        /// That of the request.
        pub req_id: u32,
        /// [`Status`].
        pub status: u32,
        /// Bytes of the value.
        pub info_buflen: u32,
        /// Where it is.
        pub info_buf_offset: u32,
    }

    /// `struct rndis_set_request` without the value, 20 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SetRequest {
        /// Repeated in the answer.
        pub req_id: u32,
        /// [`Oid`].
        pub oid: u32,
        /// Bytes of the value.
        pub info_buflen: u32,
        /// Where it is.
        pub info_buf_offset: u32,
        /// Zero.
        pub dev_vc_handle: u32,
    }

    /// `struct rndis_set_complete`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SetComplete {
        /// That of the request.
        pub req_id: u32,
        /// [`Status`].
        pub status: u32,
    }

    /// `struct rndis_reset_complete`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ResetComplete {
        /// [`Status`].
        pub status: u32,
        /// Not 0: the guest has to set addresses and filter again.
        pub addressing_reset: u32,
    }

    /// `struct rndis_keepalive_request`, 4 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct KeepaliveRequest {
        /// Repeated in the answer.
        pub req_id: u32,
    }

    /// `struct rndis_keepalive_complete`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct KeepaliveComplete {
        /// That of the request.
        pub req_id: u32,
        /// [`Status`].
        pub status: u32,
    }
}

/// The host's answer to a request. A guest compares its id and kind with those of a request that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To INITIALIZE.
    Initialize(InitializeComplete),
    /// To QUERY.
    Query {
        /// That of the request.
        req_id: u32,
        /// Whether there is a value.
        status: Status,
        /// The value.
        value: &'a [u8],
    },
    /// To SET.
    Set {
        /// That of the request.
        req_id: u32,
        /// Whether it is set.
        status: Status,
    },
    /// To RESET, which has no id.
    Reset {
        /// Whether it is done.
        status: Status,
    },
    /// To KEEPALIVE.
    Keepalive {
        /// That of the request.
        req_id: u32,
        /// Whether all is well.
        status: Status,
    },
}

/// `len` bytes from `offset` on in a body whose fixed part has `fixed` bytes. No bytes may be anywhere.
fn part<'a>(
    body: &'a [u8],
    fixed: usize,
    offset: u32,
    len: u32,
    what: &'static str,
) -> Result<&'a [u8], ProtoError> {
    if len == 0 {
        return Ok(&[]);
    }
    let (start, size) = (offset as usize, len as usize);
    start
        .checked_add(size)
        .filter(|_| start >= fixed)
        .and_then(|end| body.get(start..end))
        .ok_or(ProtoError::Invalid {
            what,
            value: (u64::from(offset) << 32) | u64::from(len),
        })
}

/// Type and body of a message that has been copied out.
fn split(message: &[u8]) -> Result<(MessageType, &[u8]), ProtoError> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let head = header(message, len)?;
    // The length was seen to lie in the bytes.
    let body = message
        .get(HEADER_SIZE as usize..head.len as usize)
        .unwrap_or_default();
    Ok((head.kind, body))
}

/// Reads an answer from a private copy of a message of the host.
///
/// # Errors
///
/// If the message is no answer, is too short for one, or says that its value lies outside of it.
pub fn answer(message: &[u8]) -> Result<Answer<'_>, ProtoError> {
    let (kind, body) = split(message)?;
    Ok(match kind {
        MessageType::RNDIS_MSG_INIT_C => {
            Answer::Initialize(read_prefix(body, "answer to INITIALIZE")?.0)
        }
        MessageType::RNDIS_MSG_QUERY_C => {
            let (fixed, _) = read_prefix::<QueryComplete>(body, "answer to QUERY")?;
            let value = part(
                body,
                size_of::<QueryComplete>(),
                fixed.info_buf_offset,
                fixed.info_buflen,
                "value in an answer to QUERY",
            )?;
            Answer::Query {
                req_id: fixed.req_id,
                status: Status(fixed.status),
                value,
            }
        }
        MessageType::RNDIS_MSG_SET_C => {
            let (fixed, _) = read_prefix::<SetComplete>(body, "answer to SET")?;
            Answer::Set {
                req_id: fixed.req_id,
                status: Status(fixed.status),
            }
        }
        MessageType::RNDIS_MSG_RESET_C => {
            let (fixed, _) = read_prefix::<ResetComplete>(body, "answer to RESET")?;
            Answer::Reset {
                status: Status(fixed.status),
            }
        }
        MessageType::RNDIS_MSG_KEEPALIVE_C => {
            let (fixed, _) = read_prefix::<KeepaliveComplete>(body, "answer to KEEPALIVE")?;
            Answer::Keepalive {
                req_id: fixed.req_id,
                status: Status(fixed.status),
            }
        }
        _ => {
            return Err(ProtoError::Unexpected {
                what: "RNDIS answer",
            })
        }
    })
}

impl Answer<'_> {
    /// The id of the request that this answers; `None` of a RESET.
    pub fn req_id(&self) -> Option<u32> {
        Some(match self {
            Self::Initialize(complete) => complete.req_id,
            Self::Query { req_id, .. }
            | Self::Set { req_id, .. }
            | Self::Keepalive { req_id, .. } => *req_id,
            Self::Reset { .. } => return None,
        })
    }

    /// The type of the request that this answers.
    pub fn request(&self) -> MessageType {
        match self {
            Self::Initialize(_) => MessageType::RNDIS_MSG_INIT,
            Self::Query { .. } => MessageType::RNDIS_MSG_QUERY,
            Self::Set { .. } => MessageType::RNDIS_MSG_SET,
            Self::Reset { .. } => MessageType::RNDIS_MSG_RESET,
            Self::Keepalive { .. } => MessageType::RNDIS_MSG_KEEPALIVE,
        }
    }
}

impl InitializeComplete {
    /// What the host says of packets with several frames: how many, and the multiple of which each begins at. A host
    /// that says nothing that can be gets one frame a packet.
    pub fn batch(&self) -> (u32, u32) {
        let shift = self.pkt_alignment_factor;
        // Nobody aligns to more than a page.
        if shift > 12 {
            return (1, 1);
        }
        (self.max_pkt_per_msg.max(1), 1 << shift)
    }
}

/// A request, as the other side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The guest begins.
    Initialize(InitializeRequest),
    /// It ends.
    Halt,
    /// It asks.
    Query {
        /// To be repeated.
        req_id: u32,
        /// What it asks for.
        oid: Oid,
        /// How it wants the answer.
        given: &'a [u8],
    },
    /// It sets.
    Set {
        /// To be repeated.
        req_id: u32,
        /// What it sets.
        oid: Oid,
        /// To what.
        value: &'a [u8],
    },
    /// The card is to be reset.
    Reset,
    /// Somebody asks for a sign of life. Either side may.
    Keepalive {
        /// To be repeated.
        req_id: u32,
    },
}

/// Reads a request from a private copy of a message.
///
/// # Errors
///
/// If the message is no request, is too short for one, or says that something lies outside of it.
pub fn request(message: &[u8]) -> Result<Request<'_>, ProtoError> {
    let (kind, body) = split(message)?;
    let what = "value in an RNDIS request";
    Ok(match kind {
        MessageType::RNDIS_MSG_INIT => Request::Initialize(read_prefix(body, "INITIALIZE")?.0),
        MessageType::RNDIS_MSG_HALT => Request::Halt,
        MessageType::RNDIS_MSG_QUERY => {
            let (fixed, _) = read_prefix::<QueryRequest>(body, "QUERY")?;
            let (offset, len) = (fixed.info_buf_offset, fixed.info_buflen);
            Request::Query {
                req_id: fixed.req_id,
                oid: Oid(fixed.oid),
                given: part(body, size_of::<QueryRequest>(), offset, len, what)?,
            }
        }
        MessageType::RNDIS_MSG_SET => {
            let (fixed, _) = read_prefix::<SetRequest>(body, "SET")?;
            let (offset, len) = (fixed.info_buf_offset, fixed.info_buflen);
            Request::Set {
                req_id: fixed.req_id,
                oid: Oid(fixed.oid),
                value: part(body, size_of::<SetRequest>(), offset, len, what)?,
            }
        }
        MessageType::RNDIS_MSG_RESET => Request::Reset,
        MessageType::RNDIS_MSG_KEEPALIVE => Request::Keepalive {
            req_id: read_prefix::<KeepaliveRequest>(body, "KEEPALIVE")?.0.req_id,
        },
        _ => {
            return Err(ProtoError::Unexpected {
                what: "RNDIS request",
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn requests_come_out_as_they_went_in() {
        let mut out = [0; 200];
        let len = encode::initialize(&mut out, 7).unwrap();
        let Ok(Request::Initialize(init)) = request(&out[..len]) else {
            panic!()
        };
        let (id, major, minor) = (init.req_id, init.major_ver, init.minor_ver);
        assert_eq!((len, id, major, minor), (24, 7, 1, 0));
        let oid = Oid::RNDIS_OID_GEN_CURRENT_PACKET_FILTER;
        let len = encode::set(&mut out, 8, oid, &[9, 0, 0, 0]).unwrap();
        let set = Request::Set {
            req_id: 8,
            oid,
            value: &[9, 0, 0, 0],
        };
        assert_eq!(request(&out[..len]), Ok(set));
        assert!(request(&out[..len - 1]).is_err());
        let len = encode::query(&mut out, 9, oid, &[]).unwrap();
        let query = Request::Query {
            req_id: 9,
            oid,
            given: &[],
        };
        assert_eq!((request(&out[..len]), len), (Ok(query), 28));
        let len = encode::halt(&mut out, 9).unwrap();
        assert_eq!(request(&out[..len]), Ok(Request::Halt));
        assert!(encode::query(&mut out[..27], 9, oid, &[]).is_err());
    }

    #[test]
    fn answers_come_out_as_they_went_in() {
        let mut out = [0; 200];
        let len = encode::query_complete(&mut out, 3, Status(0), &[1; 6]).unwrap();
        let got = answer(&out[..len]).unwrap();
        let fine = Answer::Query {
            req_id: 3,
            status: Status::RNDIS_STATUS_SUCCESS,
            value: &[1; 6],
        };
        assert_eq!(got, fine);
        assert_eq!((got.req_id(), got.request()), (Some(3), MessageType(4)));
        // More bytes behind the message do not matter, fewer do.
        assert_eq!(answer(&out), Ok(fine));
        assert!(answer(&out[..len - 1]).is_err());
        let len = encode::set_complete(&mut out, 4, Status(0xc000_00bb)).unwrap();
        let got = answer(&out[..len]).unwrap();
        assert_eq!(got.req_id(), Some(4));
        let len = encode::reset_complete(&mut out, Status(0)).unwrap();
        assert_eq!(answer(&out[..len]).unwrap().req_id(), None);
        let complete = InitializeComplete {
            req_id: 5,
            max_pkt_per_msg: 8,
            pkt_alignment_factor: 3,
            ..Default::default()
        };
        let len = encode::initialize_complete(&mut out, &complete).unwrap();
        assert_eq!(len, 52);
        assert_eq!(answer(&out[..len]), Ok(Answer::Initialize(complete)));
        assert!(answer(&out[..51]).is_err());
        assert_eq!(complete.batch(), (8, 8));
    }

    #[test]
    fn a_sign_of_life_is_asked_for_and_given() {
        let asked = [8u32, 12, 7];
        let asked = asked.as_bytes();
        assert_eq!(request(asked), Ok(Request::Keepalive { req_id: 7 }));
        for len in 0..asked.len() {
            assert!(request(&asked[..len]).is_err(), "{len}");
        }
        let short = [8u32, 8, 7];
        assert!(request(short.as_bytes()).is_err());
        let mut out = [0xff; 16];
        let status = Status::RNDIS_STATUS_SUCCESS;
        assert_eq!(encode::keepalive_complete(&mut out, 7, status), Ok(16));
        assert_eq!(out, [0x8000_0008u32, 16, 7, 0].as_bytes());
        assert_eq!(answer(&out), Ok(Answer::Keepalive { req_id: 7, status }));
        assert!(encode::keepalive_complete(&mut out[..15], 7, status).is_err());
    }

    #[test]
    fn the_host_s_word_on_batches_is_bounded() {
        let batch = |max_pkt_per_msg, pkt_alignment_factor| {
            InitializeComplete {
                max_pkt_per_msg,
                pkt_alignment_factor,
                ..Default::default()
            }
            .batch()
        };
        assert_eq!(batch(0, 0), (1, 1));
        assert_eq!(batch(8, 12), (8, 4096));
        assert_eq!(batch(8, 13), (1, 1));
        assert_eq!(batch(8, 40), (1, 1));
        assert_eq!(batch(8, u32::MAX), (1, 1));
    }

    #[test]
    fn values_outside_of_the_message() {
        let message = |offset: u32, len: u32| -> Vec<u8> {
            let words = [0x8000_0004, 32, 1, 0, len, offset, 7, 7];
            words.as_bytes().to_vec()
        };
        assert!(answer(&message(16, 8)).is_ok());
        assert!(answer(&message(20, 4)).is_ok());
        assert!(answer(&message(0, 0)).is_ok());
        assert!(answer(&message(u32::MAX, 0)).is_ok());
        for (offset, len) in [
            (15, 8),
            (0, 4),
            (17, 8),
            (16, 9),
            (24, 1),
            (u32::MAX, 1),
            (16, u32::MAX),
        ] {
            assert!(answer(&message(offset, len)).is_err(), "{offset} {len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0u32..9, done: bool) {
            let len = bytes.len() as u32;
            let mut bytes = bytes;
            let front = [kind | (u32::from(done) << 31), len];
            for (to, from) in bytes.iter_mut().zip(front.as_bytes()) {
                *to = *from;
            }
            let _ = request(&bytes);
            if let Ok(got) = answer(&bytes) {
                prop_assert_eq!(got.request().answer().0, front[0]);
            }
        }
    }
}
