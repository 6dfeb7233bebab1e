// SPDX-License-Identifier: GPL-2.0

//! Sizes and field offsets of every wire struct, asserted here and offered to others.
//!
//! [`for_each_wire_struct!`](crate::for_each_wire_struct) hands the whole list to a macro of the caller. A
//! kernel test passes one that compares each line with the C struct of the same name; this module passes one
//! that checks the list against our own structs at compile time, and one that makes [`LAYOUTS`] of it.

/// The layout of one wire struct.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// Name of the C struct it mirrors.
    pub c_name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Field names, as in C, with their offsets in bytes.
    pub fields: &'static [(&'static str, usize)],
}

/// Calls `$callback!` once with `path, c_struct, size { field: offset, ... };` for each wire struct.
///
/// Structs that exist only in .c files or private headers of the C drivers (named in `c_private`) come in a
/// second list, since bindings to public headers cannot see them:
/// `callback! { public { entry; ... } private { entry; ... } }`.
#[macro_export]
macro_rules! for_each_wire_struct {
    ($callback:ident) => {
        $callback! {
            public {
                $crate::vmbus::message::ChannelMessageHeader, vmbus_channel_message_header, 8
                    { msgtype: 0, padding: 4 };
                $crate::vmbus::message::ChannelOffer, vmbus_channel_offer, 176
                    { if_type: 0, if_instance: 16, reserved1: 32, reserved2: 40, chn_flags: 48,
                      mmio_megabytes: 50, u: 52, sub_channel_index: 172, reserved3: 174 };
                $crate::vmbus::message::OfferChannel, vmbus_channel_offer_channel, 196
                    { header: 0, offer: 8, child_relid: 184, monitorid: 188, connection_id: 192 };
                $crate::vmbus::message::RescindOffer, vmbus_channel_rescind_offer, 12
                    { header: 0, child_relid: 8 };
                $crate::vmbus::message::OpenChannel, vmbus_channel_open_channel, 148
                    { header: 0, child_relid: 8, openid: 12, ringbuffer_gpadlhandle: 16, target_vp: 20,
                      downstream_ringbuffer_pageoffset: 24, userdata: 28 };
                $crate::vmbus::message::OpenResult, vmbus_channel_open_result, 20
                    { header: 0, child_relid: 8, openid: 12, status: 16 };
                $crate::vmbus::message::CloseChannel, vmbus_channel_close_channel, 12
                    { header: 0, child_relid: 8 };
                $crate::vmbus::message::GpadlHeader, vmbus_channel_gpadl_header, 20
                    { header: 0, child_relid: 8, gpadl: 12, range_buflen: 16, rangecount: 18 };
                $crate::vmbus::message::GpadlBody, vmbus_channel_gpadl_body, 16
                    { header: 0, msgnumber: 8, gpadl: 12 };
                $crate::vmbus::message::GpaRange, gpa_range, 8
                    { byte_count: 0, byte_offset: 4 };
                $crate::vmbus::message::GpadlCreated, vmbus_channel_gpadl_created, 20
                    { header: 0, child_relid: 8, gpadl: 12, creation_status: 16 };
                $crate::vmbus::message::GpadlTeardown, vmbus_channel_gpadl_teardown, 16
                    { header: 0, child_relid: 8, gpadl: 12 };
                $crate::vmbus::message::GpadlTorndown, vmbus_channel_gpadl_torndown, 12
                    { header: 0, gpadl: 8 };
                $crate::vmbus::message::RelidReleased, vmbus_channel_relid_released, 12
                    { header: 0, child_relid: 8 };
                $crate::vmbus::message::InitiateContact, vmbus_channel_initiate_contact, 40
                    { header: 0, vmbus_version_requested: 8, target_vcpu: 12, monitor_page1: 24,
                      monitor_page2: 32 };
                $crate::vmbus::message::VersionResponse, vmbus_channel_version_response, 16
                    { header: 0, version_supported: 8, connection_state: 9, padding: 10, msg_conn_id: 12 };
                $crate::vmbus::message::ModifyChannel, vmbus_channel_modifychannel, 16
                    { header: 0, child_relid: 8, target_vp: 12 };
                $crate::vmbus::message::ModifyChannelResponse, vmbus_channel_modifychannel_response, 16
                    { header: 0, child_relid: 8, status: 12 };
                $crate::vmbus::message::TlConnectRequest, vmbus_channel_tl_connect_request, 40
                    { header: 0, guest_endpoint_id: 8, host_service_id: 24 };
                $crate::vmbus::synic::MessageHeader, hv_message_header, 16
                    { message_type: 0, payload_size: 4, message_flags: 5, reserved: 6 };
                $crate::vmbus::synic::Message, hv_message, 256
                    { header: 0 };
                $crate::vmbus::synic::EventFlags, hv_synic_event_flags, 256 {};
                $crate::ring::packet::RingBufferHeader, hv_ring_buffer, 4096
                    { write_index: 0, read_index: 4, interrupt_mask: 8, pending_send_sz: 12, reserved1: 16,
                      feature_bits: 64, reserved2: 68 };
                $crate::ring::packet::Descriptor, vmpacket_descriptor, 16
                    { type_: 0, offset8: 2, len8: 4, flags: 6, trans_id: 8 };
                $crate::ring::packet::PageBuffer, hv_page_buffer, 16
                    { len: 0, offset: 4, pfn: 8 };
                $crate::ring::packet::TransferPageRange, vmtransfer_page_range, 8
                    { byte_count: 0, byte_offset: 4 };
                $crate::ring::packet::TransferPagePacket, vmtransfer_page_packet_header, 24
                    { d: 0, xfer_pageset_id: 16, sender_owns_set: 18, reserved: 19, range_cnt: 20 };
                $crate::ring::packet::MultiPageBufferPacket, vmbus_packet_mpb_array, 32
                    { type_: 0, dataoffset8: 2, length8: 4, flags: 6, transactionid: 8, reserved: 16,
                      rangecount: 20, range: 24 };
                $crate::ic::VmbusPipeHeader, vmbuspipe_hdr, 8
                    { flags: 0, msgsize: 4 };
                $crate::ic::IcVersion, ic_version, 4
                    { major: 0, minor: 2 };
                $crate::ic::IcMessageHeader, icmsg_hdr, 20
                    { icverframe: 0, icmsgtype: 4, icvermsg: 6, icmsgsize: 10, status: 12,
                      ictransaction_id: 16, icflags: 17, reserved: 18 };
                $crate::ic::IcNegotiate, icmsg_negotiate, 8
                    { icframe_vercnt: 0, icmsg_vercnt: 2, reserved: 4 };
                $crate::ic::heartbeat::HeartbeatMessage, heartbeat_msg_data, 40
                    { seq_num: 0, reserved: 8 };
                $crate::ic::shutdown::ShutdownMessage, shutdown_msg_data, 2060
                    { reason_code: 0, timeout_seconds: 4, flags: 8, display_message: 12 };
                $crate::ic::timesync::TimesyncData, ictimesync_data, 25
                    { parenttime: 0, childtime: 8, roundtriptime: 16, flags: 24 };
                $crate::ic::timesync::TimesyncRefData, ictimesync_ref_data, 22
                    { parenttime: 0, vmreferencetime: 8, flags: 16, leapflags: 17, stratum: 18, reserved: 19 };
                $crate::ic::kvp::KvpHeader, hv_kvp_hdr, 4
                    { operation: 0, pool: 1, pad: 2 };
                $crate::ic::kvp::KvpExchangeValue, hv_kvp_exchg_msg_value, 2572
                    { value_type: 0, key_size: 4, value_size: 8, key: 12 };
                $crate::ic::kvp::KvpIpValue, hv_kvp_ipaddr_value, 7426
                    { adapter_id: 0, addr_family: 256, dhcp_enabled: 257, ip_addr: 258, sub_net: 2306,
                      gate_way: 4354, dns_addr: 5378 };
                $crate::ic::kvp::KvpIpMessage, hv_kvp_ip_msg, 7428
                    { operation: 0, pool: 1, kvp_ip_val: 2 };
                $crate::ic::kvp::KvpMessage, hv_kvp_msg, 7432
                    { body: 4 };
                $crate::ic::vss::VssMessage, hv_vss_msg, 12 {};
                $crate::ic::fcopy::FcopyHeader, hv_fcopy_hdr, 36
                    { operation: 0, service_id0: 4, service_id1: 20 };
                $crate::ic::fcopy::StartFcopy, hv_start_fcopy, 1088
                    { hdr: 0, file_name: 36, path_name: 556, copy_flags: 1076, file_size: 1080 };
                $crate::ic::fcopy::DoFcopy, hv_do_fcopy, 6196
                    { hdr: 0, pad: 36, offset: 40, size: 48, data: 52 };
            }
            private {
                $crate::storvsc::VmScsiRequest, vmscsi_request, 52
                    { length: 0, srb_status: 2, scsi_status: 3, port_number: 4, path_id: 5, target_id: 6, lun: 7,
                      cdb_length: 8, sense_info_length: 9, data_in: 10, reserved: 11,
                      data_transfer_length: 12, reserve: 36, queue_tag: 38, queue_action: 39,
                      srb_flags: 40, time_out_value: 44, queue_sort_ey: 48 };
                $crate::storvsc::ChannelProperties, vmstorage_channel_properties, 24
                    { reserved: 0, max_channel_cnt: 4, reserved1: 6, flags: 8, max_transfer_bytes: 12,
                      reserved2: 16 };
                $crate::storvsc::FcWwnPacket, hv_fc_wwn_packet, 36
                    { primary_active: 0, reserved1: 1, primary_port_wwn: 4, primary_node_wwn: 12,
                      secondary_port_wwn: 20, secondary_node_wwn: 28 };
                $crate::storvsc::VstorPacket, vstor_packet, 64
                    { operation: 0, flags: 4, status: 8 };
                $crate::nvsp::MessageHeader, nvsp_message_header, 4
                    { msg_type: 0 };
                $crate::nvsp::Init, nvsp_message_init, 8
                    { min_protocol_ver: 0, max_protocol_ver: 4 };
                $crate::nvsp::InitComplete, nvsp_message_init_complete, 12
                    { negotiated_protocol_ver: 0, max_mdl_chain_len: 4, status: 8 };
                $crate::nvsp::NdisVersion, nvsp_1_message_send_ndis_version, 8
                    { ndis_major_ver: 0, ndis_minor_ver: 4 };
                $crate::nvsp::NdisConfig, nvsp_2_send_ndis_config, 16
                    { mtu: 0, reserved: 4, capability: 8 };
                $crate::nvsp::EstablishBuffer, nvsp_1_message_send_receive_buffer, 6
                    { gpadl_handle: 0, id: 4 };
                $crate::nvsp::EstablishBuffer, nvsp_1_message_send_send_buffer, 6
                    { gpadl_handle: 0, id: 4 };
                $crate::nvsp::RevokeBuffer, nvsp_1_message_revoke_receive_buffer, 2
                    { id: 0 };
                $crate::nvsp::RevokeBuffer, nvsp_1_message_revoke_send_buffer, 2
                    { id: 0 };
                $crate::nvsp::ReceiveBufferComplete, nvsp_1_message_send_receive_buffer_complete, 8
                    { status: 0, num_sections: 4 };
                $crate::nvsp::ReceiveBufferSection, nvsp_1_receive_buffer_section, 16
                    { offset: 0, sub_alloc_size: 4, num_sub_allocs: 8, end_offset: 12 };
                $crate::nvsp::SendBufferComplete, nvsp_1_message_send_send_buffer_complete, 8
                    { status: 0, section_size: 4 };
                $crate::nvsp::RndisPacket, nvsp_1_message_send_rndis_packet, 12
                    { channel_type: 0, send_buf_section_index: 4, send_buf_section_size: 8 };
                $crate::nvsp::RndisPacketComplete, nvsp_1_message_send_rndis_packet_complete, 4
                    { status: 0 };
                $crate::nvsp::SubchannelRequest, nvsp_5_subchannel_request, 8
                    { op: 0, num_subchannels: 4 };
                $crate::nvsp::SubchannelComplete, nvsp_5_subchannel_complete, 8
                    { status: 0, num_subchannels: 4 };
                $crate::nvsp::SendIndirectionTable, nvsp_5_send_indirect_table, 8
                    { count: 0, offset: 4 };
                $crate::nvsp::VfAssociation, nvsp_4_send_vf_association, 8
                    { allocated: 0, serial: 4 };
                $crate::nvsp::SwitchDataPath, nvsp_4_sw_datapath, 4
                    { active_datapath: 0 };
                $crate::rndis::PacketHeader, rndis_packet, 36
                    { data_offset: 0, data_len: 4, oob_data_offset: 8, oob_data_len: 12,
                      num_oob_data_elements: 16, per_pkt_info_offset: 20, per_pkt_info_len: 24, vc_handle: 28,
                      reserved: 32 };
                $crate::rndis::PerPacketInfo, rndis_per_packet_info, 12
                    { size: 0, ppi_offset: 8 };
                $crate::rndis::PacketId, rndis_pktinfo_id, 4
                    { ver: 0, flag: 1, pkt_id: 2 };
                $crate::rndis::InitializeRequest, rndis_initialize_request, 16
                    { req_id: 0, major_ver: 4, minor_ver: 8, max_xfer_size: 12 };
                $crate::rndis::InitializeComplete, rndis_initialize_complete, 44
                    { req_id: 0, status: 4, major_ver: 8, minor_ver: 12, dev_flags: 16, medium: 20,
                      max_pkt_per_msg: 24, max_xfer_size: 28, pkt_alignment_factor: 32, af_list_offset: 36,
                      af_list_size: 40 };
                $crate::rndis::HaltRequest, rndis_halt_request, 4
                    { req_id: 0 };
                $crate::rndis::QueryRequest, rndis_query_request, 20
                    { req_id: 0, oid: 4, info_buflen: 8, info_buf_offset: 12, dev_vc_handle: 16 };
                $crate::rndis::QueryComplete, rndis_query_complete, 16
                    { req_id: 0, status: 4, info_buflen: 8, info_buf_offset: 12 };
                $crate::rndis::SetRequest, rndis_set_request, 20
                    { req_id: 0, oid: 4, info_buflen: 8, info_buf_offset: 12, dev_vc_handle: 16 };
                $crate::rndis::SetComplete, rndis_set_complete, 8
                    { req_id: 0, status: 4 };
                $crate::rndis::ResetComplete, rndis_reset_complete, 8
                    { status: 0, addressing_reset: 4 };
                $crate::rndis::KeepaliveRequest, rndis_keepalive_request, 4
                    { req_id: 0 };
                $crate::rndis::KeepaliveComplete, rndis_keepalive_complete, 8
                    { req_id: 0, status: 4 };
                $crate::rndis::IndicateStatus, rndis_indicate_status, 12
                    { status: 0, status_buflen: 4, status_buf_offset: 8 };
                $crate::rndis::ConfigParameter, rndis_config_parameter_info, 20
                    { parameter_name_offset: 0, parameter_name_length: 4, parameter_type: 8,
                      parameter_value_offset: 12, parameter_value_length: 16 };
                $crate::rndis::ObjectHeader, ndis_object_header, 4
                    { revision: 1, size: 2 };
                $crate::rndis::CsumOffload, ndis_csum_offload, 32
                    { ip4_txenc: 0, ip4_txcsum: 4, ip4_rxenc: 8, ip4_rxcsum: 12, ip6_txenc: 16, ip6_txcsum: 20,
                      ip6_rxenc: 24, ip6_rxcsum: 28 };
                $crate::rndis::LsoV1Offload, ndis_lsov1_offload, 16
                    { encap: 0, maxsize: 4, minsegs: 8, opts: 12 };
                $crate::rndis::IpsecV1Offload, ndis_ipsecv1_offload, 28
                    { encap: 0 };
                $crate::rndis::LsoV2Offload, ndis_lsov2_offload, 28
                    { ip4_encap: 0, ip4_maxsz: 4, ip4_minsg: 8, ip6_encap: 12, ip6_maxsz: 16, ip6_minsg: 20,
                      ip6_opts: 24 };
                $crate::rndis::IpsecV2Offload, ndis_ipsecv2_offload, 32
                    { encap: 0 };
                $crate::rndis::RscOffload, ndis_rsc_offload, 2
                    { ip4: 0, ip6: 1 };
                $crate::rndis::EncapOffload, ndis_encap_offload, 8
                    { flags: 0, maxhdr: 4 };
                $crate::rndis::Offload, ndis_offload, 156
                    { header: 0, csum: 4, lsov1: 36, ipsecv1: 52, lsov2: 80, flags: 108, ipsecv2: 112, rsc: 144,
                      encap_gre: 148 };
                $crate::rndis::OffloadParams, ndis_offload_params, 28
                    { header: 0, ip_v4_csum: 4, tcp_ip_v4_csum: 5, udp_ip_v4_csum: 6, tcp_ip_v6_csum: 7,
                      udp_ip_v6_csum: 8, lso_v1: 9, ip_sec_v1: 10, lso_v2_ipv4: 11, lso_v2_ipv6: 12,
                      tcp_connection_ip_v4: 13, tcp_connection_ip_v6: 14, flags: 16, ip_sec_v2: 20,
                      ip_sec_v2_ip_v4: 21 };
                $crate::rndis::RssCapabilities, ndis_recv_scale_cap, 18
                    { hdr: 0, cap_flag: 4, num_int_msg: 8, num_recv_que: 12, num_indirect_tabent: 16 };
                $crate::rndis::RssParameters, ndis_recv_scale_param, 40
                    { hdr: 0, flag: 4, base_cpu_number: 6, hashinfo: 8, indirect_tabsize: 12,
                      indirect_taboffset: 16, hashkey_size: 20, hashkey_offset: 24, processor_masks_offset: 28,
                      num_processor_masks: 32, processor_masks_entry_size: 36 };
                $crate::balloon::Header, dm_header, 8
                    { type_: 0, size: 2, trans_id: 4 };
                $crate::balloon::VersionRequest, dm_version_request, 16
                    { hdr: 0, version: 8 };
                $crate::balloon::VersionResponse, dm_version_response, 16
                    { hdr: 0 };
                $crate::balloon::Capabilities, dm_capabilities, 32
                    { hdr: 0, caps: 8, min_page_cnt: 16, max_page_number: 24 };
                $crate::balloon::CapabilitiesResponse, dm_capabilities_resp_msg, 16
                    { hdr: 0 };
                $crate::balloon::Status, dm_status, 48
                    { hdr: 0, num_avail: 8, num_committed: 16, page_file_size: 24, zero_free: 32,
                      page_file_writes: 40, io_diff: 44 };
                $crate::balloon::Balloon, dm_balloon, 16
                    { hdr: 0, num_pages: 8, reservedz: 12 };
                $crate::balloon::BalloonResponse, dm_balloon_response, 16
                    { hdr: 0, reservedz: 8 };
                $crate::balloon::UnballoonRequest, dm_unballoon_request, 16
                    { hdr: 0, range_count: 12 };
                $crate::balloon::UnballoonResponse, dm_unballoon_response, 8
                    { hdr: 0 };
                $crate::balloon::HotAdd, dm_hot_add, 16
                    { hdr: 0, range: 8 };
                $crate::balloon::HotAddResponse, dm_hot_add_response, 16
                    { hdr: 0, page_count: 8, result: 12 };
                $crate::balloon::InfoMessage, dm_info_msg, 16
                    { hdr: 0, reserved: 8, info_size: 12 };
                $crate::balloon::InfoHeader, dm_info_header, 8
                    { type_: 0, data_size: 4 };
                $crate::vmbus::hypercall::PostMessageInput, hv_input_post_message, 256
                    { connectionid: 0, reserved: 4, message_type: 8, payload_size: 12, payload: 16 };
                $crate::vmbus::monitor::MonitorParameter, hv_monitor_parameter, 8
                    { connectionid: 0, flagnumber: 4, rsvdz: 6 };
                $crate::vmbus::monitor::MonitorPage, hv_monitor_page, 4096
                    { trigger_state: 0, rsvdz1: 4, trigger_group: 8, rsvdz2: 40, next_checktime: 64,
                      latency: 576, rsvdz3: 832, parameter: 1088, rsvdz4: 2112 };
            }
        }
    };
}

macro_rules! check {
    (public { $($public:tt)* } private { $($private:tt)* }) => {
        check! { @list $($public)* $($private)* }
    };
    (@list $( $ty:path, $c:ident, $size:literal { $( $field:ident : $off:literal ),* $(,)? } ; )*) => {
        $(
            const _: () = {
                type Wire = $ty;
                assert!(core::mem::size_of::<Wire>() == $size, concat!("size of ", stringify!($c)));
                $( assert!(core::mem::offset_of!(Wire, $field) == $off,
                           concat!("offset of ", stringify!($c), ".", stringify!($field))); )*
            };
        )*

        /// Every wire struct, public ones of the C headers first.
        pub static LAYOUTS: &[StructLayout] = &[
            $( StructLayout {
                c_name: stringify!($c),
                size: $size,
                fields: &[ $( (stringify!($field), $off) ),* ],
            }, )*
        ];
    };
}

for_each_wire_struct!(check);
