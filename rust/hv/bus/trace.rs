// SPDX-License-Identifier: GPL-2.0

//! The tracepoints `hyperv:vmbus_*`, here those about messages. What is in them: rust/sys/trace_vmbus.h.

use kernel::prelude::*;
use rlis_hv::tracepoints;
use rlis_proto::vmbus::message::*;
use zerocopy::FromBytes;

tracepoints! {
    on_msg_dpc(message: &ChannelMessageHeader);
    on_message(message: &ChannelMessageHeader);
    onoffer(message: &OfferChannel);
    onoffer_rescind(message: &RescindOffer);
    onopen_result(message: &OpenResult);
    ongpadl_created(message: &GpadlCreated);
    onmodifychannel_response(message: &ModifyChannelResponse);
    ongpadl_torndown(message: &GpadlTorndown);
    onversion_response(message: &VersionResponse);
    request_offers(message: &ChannelMessageHeader, result: Result);
    open(message: &OpenChannel, result: Result);
    close_internal(message: &CloseChannel, result: Result);
    establish_gpadl_header(message: &GpadlHeader, result: Result);
    establish_gpadl_body(message: &GpadlBody, result: Result);
    teardown_gpadl(message: &GpadlTeardown, result: Result);
    negotiate_version(message: &InitiateContact, result: Result);
    release_relid(message: &RelidReleased, result: Result);
    send_tl_connect_request(message: &TlConnectRequest, result: Result);
    send_modifychannel(message: &ModifyChannel, result: Result);
}

/// A message was taken from its slot.
pub(crate) fn taken(payload: &[u8]) {
    if let Ok((header, _)) = ChannelMessageHeader::ref_from_prefix(payload) {
        on_msg_dpc(header);
    }
}

/// An offer is about to be handled.
pub fn offer(message: &OfferChannel) {
    on_message(&message.header);
    onoffer(message);
}

/// A rescind is about to be handled.
pub fn rescind(message: &RescindOffer) {
    on_message(&message.header);
    onoffer_rescind(message);
}

/// An answer is about to be handled.
pub fn answer(message: &rlis_proto::vmbus::Message<'_>) {
    use rlis_proto::vmbus::Message as M;
    match message {
        M::OpenResult(m) => onopen_result(m),
        M::GpadlCreated(m) => ongpadl_created(m),
        M::GpadlTorndown(m) => ongpadl_torndown(m),
        M::ModifyChannelResponse(m) => onmodifychannel_response(m),
        M::VersionResponse(m, _) => onversion_response(m),
        _ => {}
    }
}

/// A message was sent, or could not be.
pub fn sent(message: &[u8], result: Result) {
    fn call<M>(bytes: &[u8], result: Result, tracepoint: impl Fn(&M, Result))
    where
        M: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    {
        if let Ok((message, _)) = M::ref_from_prefix(bytes) {
            tracepoint(message, result);
        }
    }
    let Ok((header, _)) = ChannelMessageHeader::ref_from_prefix(message) else {
        return;
    };
    match header.msgtype {
        MessageType::CHANNELMSG_REQUESTOFFERS => request_offers(header, result),
        MessageType::CHANNELMSG_OPENCHANNEL => call(message, result, open),
        MessageType::CHANNELMSG_CLOSECHANNEL => call(message, result, close_internal),
        MessageType::CHANNELMSG_GPADL_HEADER => call(message, result, establish_gpadl_header),
        MessageType::CHANNELMSG_GPADL_BODY => call(message, result, establish_gpadl_body),
        MessageType::CHANNELMSG_GPADL_TEARDOWN => call(message, result, teardown_gpadl),
        MessageType::CHANNELMSG_INITIATE_CONTACT => call(message, result, negotiate_version),
        MessageType::CHANNELMSG_RELID_RELEASED => call(message, result, release_relid),
        MessageType::CHANNELMSG_TL_CONNECT_REQUEST => {
            call(message, result, send_tl_connect_request)
        }
        MessageType::CHANNELMSG_MODIFYCHANNEL => call(message, result, send_modifychannel),
        _ => {}
    }
}
