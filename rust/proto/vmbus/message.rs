// SPDX-License-Identifier: GPL-2.0

//! Channel messages (include/linux/hyperv.h, `struct vmbus_channel_*`), all at most 240 bytes.

use super::version::Version;
use super::{MAX_USER_DEFINED_BYTES, VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER};
use crate::guid::Guid;

open_enum! {
    /// `enum vmbus_channel_message_type`.
    pub struct MessageType(u32) {
        /// Never valid.
        CHANNELMSG_INVALID = 0,
        /// Host: a channel is offered.
        CHANNELMSG_OFFERCHANNEL = 1,
        /// Host: an offer is withdrawn.
        CHANNELMSG_RESCIND_CHANNELOFFER = 2,
        /// Guest: send all offers.
        CHANNELMSG_REQUESTOFFERS = 3,
        /// Host: all present offers were sent.
        CHANNELMSG_ALLOFFERS_DELIVERED = 4,
        /// Guest: open a channel.
        CHANNELMSG_OPENCHANNEL = 5,
        /// Host: result of an open.
        CHANNELMSG_OPENCHANNEL_RESULT = 6,
        /// Guest: close a channel. Not answered.
        CHANNELMSG_CLOSECHANNEL = 7,
        /// Guest: first part of a GPADL.
        CHANNELMSG_GPADL_HEADER = 8,
        /// Guest: further page numbers of a GPADL.
        CHANNELMSG_GPADL_BODY = 9,
        /// Host: result of establishing a GPADL.
        CHANNELMSG_GPADL_CREATED = 10,
        /// Guest: tear a GPADL down.
        CHANNELMSG_GPADL_TEARDOWN = 11,
        /// Host: a GPADL is gone.
        CHANNELMSG_GPADL_TORNDOWN = 12,
        /// Guest: the relid of a rescinded offer is free again.
        CHANNELMSG_RELID_RELEASED = 13,
        /// Guest: proposes a protocol version.
        CHANNELMSG_INITIATE_CONTACT = 14,
        /// Host: accepts or refuses the version.
        CHANNELMSG_VERSION_RESPONSE = 15,
        /// Guest: ends the connection.
        CHANNELMSG_UNLOAD = 16,
        /// Host: the connection is ended.
        CHANNELMSG_UNLOAD_RESPONSE = 17,
        /// Reserved-channel open; not used by Linux.
        CHANNELMSG_18 = 18,
        /// Reserved-channel close; not used by Linux.
        CHANNELMSG_19 = 19,
        /// Reserved-channel close response; not used by Linux.
        CHANNELMSG_20 = 20,
        /// Guest: connect a Hyper-V socket.
        CHANNELMSG_TL_CONNECT_REQUEST = 21,
        /// Guest: move the channel's interrupt to another virtual processor.
        CHANNELMSG_MODIFYCHANNEL = 22,
        /// Host: result of a socket connect. Ignored by Linux.
        CHANNELMSG_TL_CONNECT_RESULT = 23,
        /// Host: MODIFYCHANNEL is in effect (5.3).
        CHANNELMSG_MODIFYCHANNEL_RESPONSE = 24,
    }
}

/// A message of fixed size with its type; what follows is `WIRE_NAME`'s definition in include/linux/hyperv.h.
pub trait ChannelMessage:
    zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy
{
    /// The value of `header.msgtype`.
    const TYPE: MessageType;
    /// The C name, for logs.
    const NAME: &'static str;
}

macro_rules! channel_messages {
    ($( $name:ident = $ty:ident, $c:literal; )*) => {
        $( impl ChannelMessage for $name {
            const TYPE: MessageType = MessageType::$ty;
            const NAME: &'static str = $c;
        } )*
    };
}

wire_struct! {
    /// `struct vmbus_channel_message_header`, 8 bytes. REQUESTOFFERS, ALLOFFERS_DELIVERED, UNLOAD and
    /// UNLOAD_RESPONSE are nothing but this.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ChannelMessageHeader {
        /// What the message is.
        pub msgtype: MessageType,
        /// Zero when sent, ignored when received.
        pub padding: u32,
    }

    /// `struct vmbus_channel_offer`, 176 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ChannelOffer {
        /// Device class.
        pub if_type: Guid,
        /// Device instance, unique on this host for a primary channel and shared with its sub-channels.
        pub if_instance: Guid,
        /// Unused.
        pub reserved1: u64,
        /// Unused.
        pub reserved2: u64,
        /// `VMBUS_CHANNEL_*` flags.
        pub chn_flags: u16,
        /// MMIO space the device wants, MiB.
        pub mmio_megabytes: u16,
        /// Free-form data of the class; for pipes the first four bytes are the pipe mode.
        pub u: [u8; MAX_USER_DEFINED_BYTES],
        /// 0 for a primary channel.
        pub sub_channel_index: u16,
        /// Unused.
        pub reserved3: u16,
    }

    /// `struct vmbus_channel_offer_channel`, 196 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct OfferChannel {
        /// Type OFFERCHANNEL.
        pub header: ChannelMessageHeader,
        /// The offer.
        pub offer: ChannelOffer,
        /// Handle of the channel in all further messages; also its event-flag number.
        pub child_relid: u32,
        /// Bit number in the monitor pages: group `/ 32`, bit `% 32`.
        pub monitorid: u8,
        /// Bit 0: `monitorid` is in use. Rest reserved.
        pub monitor_allocated: u8,
        /// Bit 0: the host needs no bit in the interrupt page when signalled. Rest reserved.
        pub is_dedicated_interrupt: u16,
        /// Connection id for HvSignalEvent.
        pub connection_id: u32,
    }

    /// `struct vmbus_channel_rescind_offer`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RescindOffer {
        /// Type RESCIND_CHANNELOFFER.
        pub header: ChannelMessageHeader,
        /// The channel whose offer is withdrawn.
        pub child_relid: u32,
    }

    /// `struct vmbus_channel_open_channel`, 148 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct OpenChannel {
        /// Type OPENCHANNEL.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
        /// Distinguishes open requests; echoed in the result.
        pub openid: u32,
        /// GPADL of both rings.
        pub ringbuffer_gpadlhandle: u32,
        /// Virtual processor that gets the channel's interrupts.
        pub target_vp: u32,
        /// Where the host-to-guest ring starts in the GPADL, in 4 KiB pages.
        pub downstream_ringbuffer_pageoffset: u32,
        /// Free-form data for the device.
        pub userdata: [u8; MAX_USER_DEFINED_BYTES],
    }

    /// `struct vmbus_channel_open_result`, 20 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct OpenResult {
        /// Type OPENCHANNEL_RESULT.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
        /// As in the request.
        pub openid: u32,
        /// 0 on success, else an NTSTATUS.
        pub status: u32,
    }

    /// `struct vmbus_channel_close_channel`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct CloseChannel {
        /// Type CLOSECHANNEL.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
    }

    /// `struct gpa_range` without its page numbers, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpaRange {
        /// Bytes in the range.
        pub byte_count: u32,
        /// Offset of the first byte in the first page.
        pub byte_offset: u32,
    }

    /// `struct vmbus_channel_gpadl_header` without its ranges, 20 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpadlHeader {
        /// Type GPADL_HEADER.
        pub header: ChannelMessageHeader,
        /// The channel the GPADL belongs to.
        pub child_relid: u32,
        /// The handle the guest chose.
        pub gpadl: u32,
        /// Bytes of all ranges together, each a [`GpaRange`] and its page numbers.
        pub range_buflen: u16,
        /// Number of ranges.
        pub rangecount: u16,
    }

    /// `struct vmbus_channel_gpadl_body` without its page numbers, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpadlBody {
        /// Type GPADL_BODY.
        pub header: ChannelMessageHeader,
        /// Always 0 from Linux; hosts go by arrival order.
        pub msgnumber: u32,
        /// The handle of the header.
        pub gpadl: u32,
    }

    /// `struct vmbus_channel_gpadl_created`, 20 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpadlCreated {
        /// Type GPADL_CREATED.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
        /// The handle.
        pub gpadl: u32,
        /// 0 on success, else an NTSTATUS.
        pub creation_status: u32,
    }

    /// `struct vmbus_channel_gpadl_teardown`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpadlTeardown {
        /// Type GPADL_TEARDOWN.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
        /// The handle.
        pub gpadl: u32,
    }

    /// `struct vmbus_channel_gpadl_torndown`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpadlTorndown {
        /// Type GPADL_TORNDOWN.
        pub header: ChannelMessageHeader,
        /// The handle.
        pub gpadl: u32,
    }

    /// `struct vmbus_channel_relid_released`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RelidReleased {
        /// Type RELID_RELEASED.
        pub header: ChannelMessageHeader,
        /// The relid.
        pub child_relid: u32,
    }

    /// `struct vmbus_channel_initiate_contact`, 40 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct InitiateContact {
        /// Type INITIATE_CONTACT.
        pub header: ChannelMessageHeader,
        /// The version proposed.
        pub vmbus_version_requested: Version,
        /// Virtual processor that gets the host's messages.
        pub target_vcpu: u32,
        /// Before 5.0 the physical address of the interrupt page; from 5.0 on a [`TargetInfo`].
        pub interrupt_page: u64,
        /// Physical address of the host-to-guest monitor page.
        pub monitor_page1: u64,
        /// Physical address of the guest-to-host monitor page.
        pub monitor_page2: u64,
    }

    /// `struct vmbus_channel_version_response`, 16 bytes. A 6.0 host may append four bytes of feature flags.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VersionResponse {
        /// Type VERSION_RESPONSE.
        pub header: ChannelMessageHeader,
        /// Not 0 if the proposed version is accepted.
        pub version_supported: u8,
        /// 0 if the connection was made; see [`ConnectionState`].
        pub connection_state: u8,
        /// Unused.
        pub padding: u16,
        /// From 5.0 on the connection id for all further messages.
        pub msg_conn_id: u32,
    }

    /// `struct vmbus_channel_modifychannel`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ModifyChannel {
        /// Type MODIFYCHANNEL.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
        /// Virtual processor that shall get its interrupts.
        pub target_vp: u32,
    }

    /// `struct vmbus_channel_modifychannel_response`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ModifyChannelResponse {
        /// Type MODIFYCHANNEL_RESPONSE.
        pub header: ChannelMessageHeader,
        /// The channel.
        pub child_relid: u32,
        /// 0 on success, else an NTSTATUS.
        pub status: u32,
    }

    /// `struct vmbus_channel_tl_connect_request`, 40 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct TlConnectRequest {
        /// Type TL_CONNECT_REQUEST.
        pub header: ChannelMessageHeader,
        /// The guest's end of the socket.
        pub guest_endpoint_id: Guid,
        /// The service asked for.
        pub host_service_id: Guid,
    }
}

channel_messages! {
    OfferChannel = CHANNELMSG_OFFERCHANNEL, "OFFERCHANNEL";
    RescindOffer = CHANNELMSG_RESCIND_CHANNELOFFER, "RESCIND_CHANNELOFFER";
    OpenChannel = CHANNELMSG_OPENCHANNEL, "OPENCHANNEL";
    OpenResult = CHANNELMSG_OPENCHANNEL_RESULT, "OPENCHANNEL_RESULT";
    CloseChannel = CHANNELMSG_CLOSECHANNEL, "CLOSECHANNEL";
    GpadlHeader = CHANNELMSG_GPADL_HEADER, "GPADL_HEADER";
    GpadlBody = CHANNELMSG_GPADL_BODY, "GPADL_BODY";
    GpadlCreated = CHANNELMSG_GPADL_CREATED, "GPADL_CREATED";
    GpadlTeardown = CHANNELMSG_GPADL_TEARDOWN, "GPADL_TEARDOWN";
    GpadlTorndown = CHANNELMSG_GPADL_TORNDOWN, "GPADL_TORNDOWN";
    RelidReleased = CHANNELMSG_RELID_RELEASED, "RELID_RELEASED";
    InitiateContact = CHANNELMSG_INITIATE_CONTACT, "INITIATE_CONTACT";
    VersionResponse = CHANNELMSG_VERSION_RESPONSE, "VERSION_RESPONSE";
    ModifyChannel = CHANNELMSG_MODIFYCHANNEL, "MODIFYCHANNEL";
    ModifyChannelResponse = CHANNELMSG_MODIFYCHANNEL_RESPONSE, "MODIFYCHANNEL_RESPONSE";
    TlConnectRequest = CHANNELMSG_TL_CONNECT_REQUEST, "TL_CONNECT_REQUEST";
}

open_enum! {
    /// `connection_state` of VERSION_RESPONSE.
    pub struct ConnectionState(u8) {
        /// The connection is made.
        SUCCESSFUL = 0,
        /// The host lacks resources; the version itself would do.
        FAILED_LOW_RESOURCES = 1,
        /// The host failed for another reason.
        FAILED_UNKNOWN_FAILURE = 2,
    }
}

impl ChannelMessageHeader {
    /// The header of a message of type `msgtype`.
    pub const fn new(msgtype: MessageType) -> Self {
        Self {
            msgtype,
            padding: 0,
        }
    }

    /// The header of message `M`.
    pub const fn of<M: ChannelMessage>() -> Self {
        Self::new(M::TYPE)
    }
}

impl ChannelOffer {
    /// Whether this is a sub-channel.
    pub const fn is_sub_channel(&self) -> bool {
        self.sub_channel_index != 0
    }

    /// Whether this is a Hyper-V socket and not a device.
    pub const fn is_hvsock(&self) -> bool {
        self.chn_flags & VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER != 0
    }

    /// The pipe mode, which pipes keep in front of their user data.
    pub const fn pipe_mode(&self) -> u32 {
        u32::from_le_bytes([self.u[0], self.u[1], self.u[2], self.u[3]])
    }
}

impl OfferChannel {
    /// Whether the monitor pages may be used to signal this channel.
    pub const fn has_monitor(&self) -> bool {
        self.monitor_allocated & 1 != 0
    }

    /// Whether no bit has to be set in the interrupt page when signalling.
    pub const fn has_dedicated_interrupt(&self) -> bool {
        self.is_dedicated_interrupt & 1 != 0
    }

    /// Trigger group in the monitor pages, 0 to 7; only 0 to 3 exist, so check before use.
    pub const fn monitor_group(&self) -> u8 {
        self.monitorid / 32
    }

    /// Bit in the trigger group.
    pub const fn monitor_bit(&self) -> u8 {
        self.monitorid % 32
    }
}

/// What `interrupt_page` of [`InitiateContact`] holds from 5.0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetInfo {
    /// SINT for the host's messages.
    pub msg_sint: u8,
    /// Virtual trust level that receives them.
    pub msg_vtl: u8,
    /// Feature flags, from 6.0 on.
    pub feature_flags: u32,
}

impl TargetInfo {
    /// The value for the message.
    pub const fn to_u64(self) -> u64 {
        let f = self.feature_flags.to_le_bytes();
        u64::from_le_bytes([self.msg_sint, self.msg_vtl, 0, 0, f[0], f[1], f[2], f[3]])
    }

    /// The parts of the value in a message.
    pub const fn from_u64(value: u64) -> Self {
        let b = value.to_le_bytes();
        Self {
            msg_sint: b[0],
            msg_vtl: b[1],
            feature_flags: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        }
    }
}
