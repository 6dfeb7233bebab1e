// SPDX-License-Identifier: GPL-2.0
/*
 * Defines the tracepoints of the bus, and makes functions of them that Rust can call.
 */

#define CREATE_TRACE_POINTS
#include "trace_vmbus.h"

#include "helpers_bus.h"

/* Of a channel, of a message of the host, of a message to the host. */
#define CHANNEL(name)									\
void rlis_helper_trace_##name(const struct vmbus_channel *channel)			\
{											\
	trace_##name(channel);								\
}
#define RECEIVED(name, type)								\
void rlis_helper_trace_##name(const void *msg)						\
{											\
	trace_##name((const struct vmbus_channel_##type *)msg);				\
}
#define SENT(name, type)								\
void rlis_helper_trace_##name(const void *msg, int ret)					\
{											\
	trace_##name((const struct vmbus_channel_##type *)msg, ret);			\
}

CHANNEL(vmbus_chan_sched)
CHANNEL(vmbus_setevent)
CHANNEL(vmbus_on_event)
RECEIVED(vmbus_on_msg_dpc, message_header)
RECEIVED(vmbus_on_message, message_header)
RECEIVED(vmbus_onoffer, offer_channel)
RECEIVED(vmbus_onoffer_rescind, rescind_offer)
RECEIVED(vmbus_onopen_result, open_result)
RECEIVED(vmbus_ongpadl_created, gpadl_created)
RECEIVED(vmbus_onmodifychannel_response, modifychannel_response)
RECEIVED(vmbus_ongpadl_torndown, gpadl_torndown)
RECEIVED(vmbus_onversion_response, version_response)
SENT(vmbus_open, open_channel)
SENT(vmbus_close_internal, close_channel)
SENT(vmbus_establish_gpadl_header, gpadl_header)
SENT(vmbus_establish_gpadl_body, gpadl_body)
SENT(vmbus_teardown_gpadl, gpadl_teardown)
SENT(vmbus_negotiate_version, initiate_contact)
SENT(vmbus_release_relid, relid_released)
SENT(vmbus_send_tl_connect_request, tl_connect_request)
SENT(vmbus_send_modifychannel, modifychannel)

void rlis_helper_trace_vmbus_request_offers(const void *msg, int ret)
{
	trace_vmbus_request_offers(ret);
}
