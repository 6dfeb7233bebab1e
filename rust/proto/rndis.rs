// SPDX-License-Identifier: GPL-2.0

//! Remote NDIS, as network cards of Hyper-V speak it (include/linux/rndis.h, drivers/net/hyperv/hyperv_net.h): frames
//! with what belongs to them, requests about the card, and news of it.
//!
//! A message is a type, its length and a body. Offsets in a body count from the body's start, [`HEADER_SIZE`] bytes
//! into the message. Messages to the guest lie in the receive buffer, which the host can write at any time: the
//! parsers of frames take them by way of [`Words`] and read each word once.

mod control;
mod encode;
mod header;
mod offload;
mod oid;
mod packet;
mod ppi;
mod rsc;
mod rss;
mod status;
mod writer;

pub use control::{
    answer, request, Answer, HaltRequest, InitializeComplete, InitializeRequest, KeepaliveComplete,
    KeepaliveRequest, QueryComplete, QueryRequest, Request, ResetComplete, SetComplete, SetRequest,
    MAX_TRANSFER_SIZE,
};
pub use encode::{
    halt, initialize, initialize_complete, keepalive_complete, query, query_complete,
    reset_complete, set, set_complete,
};
pub use header::{header, Header, MessageType, PutWords, Words, HEADER_SIZE, RNDIS_MSG_COMPLETION};
pub use offload::{
    offload_query, offload_query_size, Capabilities, CsumOffload, EncapOffload, IpsecV1Offload,
    IpsecV2Offload, LsoV1Offload, LsoV2Offload, ObjectHeader, Offload, OffloadParams, RscOffload,
    Switch, TxRx, ENCAP_8023, RXCSUM_ALL_TCP4, RXCSUM_ALL_TCP6, RXCSUM_IP4, RXCSUM_UDP4,
    RXCSUM_UDP6, TXCSUM_ALL_TCP4, TXCSUM_ALL_TCP6, TXCSUM_IP4, TXCSUM_UDP4, TXCSUM_UDP6,
    VERSION_4_OFFLOAD_SIZE,
};
pub use oid::{
    friendly_name, link_speed, mac_from_parameter, mac_parameter, ConfigParameter, Oid,
    FILTER_ALL_MULTICAST, FILTER_BROADCAST, FILTER_DIRECTED, FILTER_MULTICAST, FILTER_PROMISCUOUS,
    MAC_PARAMETER_SIZE, MAX_FRIENDLY_NAME, MEDIA_CONNECTED, MEDIA_DISCONNECTED,
};
pub use packet::{
    encode_packet, packet, put_front, Packet, PacketHeader, MAX_HEADER_SIZE, PACKET_HEADER_SIZE,
};
pub use ppi::{
    LargeSend, PacketId, PerPacketInfo, Ppis, RxChecksum, TxChecksum, Vlan, MAX_PPI_SIZE,
    PKTINFO_FIRST, PKTINFO_LAST, PKTINFO_SUBALLOC,
};
pub use rsc::{Piece, Rsc, RscError, NVSP_RSC_MAX};
pub use rss::{
    encode_rss, hash_function, toeplitz, Rss, RssCapabilities, RssError, RssParameters, HASH_IPV4,
    HASH_IPV6, HASH_KEY_SIZE, HASH_TCP_IPV4, HASH_TCP_IPV6, HASH_TOEPLITZ, MAX_RSS_TABLE,
    RSS_DISABLE,
};
pub use status::{indicate, indication, IndicateStatus, Indication, Status};
