// SPDX-License-Identifier: GPL-2.0
/*
 * Exports of what is connection.c in the C driver; the functions are in rust/hv/bus. genksyms computes the CRCs from
 * these headers, and a CRC depends on which types are complete: hence the long list of includes.
 */

#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/hyperv.h>
#include <linux/export.h>
#include <linux/io.h>
#include <linux/set_memory.h>
#include <asm/mshyperv.h>

#include "../../../include/vmbus_private.h"

struct vmbus_connection vmbus_connection = {
	.conn_state = DISCONNECTED,
	.unload_event = COMPLETION_INITIALIZER(vmbus_connection.unload_event),
	.next_gpadl_handle = ATOMIC_INIT(0xE1E10),
	.chn_msg_list = LIST_HEAD_INIT(vmbus_connection.chn_msg_list),
	.channelmsg_lock = __SPIN_LOCK_UNLOCKED(vmbus_connection.channelmsg_lock),
	.chn_list = LIST_HEAD_INIT(vmbus_connection.chn_list),
	.channel_mutex = __MUTEX_INITIALIZER(vmbus_connection.channel_mutex),
	.ready_for_suspend_event = COMPLETION_INITIALIZER(vmbus_connection.ready_for_suspend_event),
#ifdef RLIS_HAVE_HVHDK
	.all_offers_delivered_event = COMPLETION_INITIALIZER(vmbus_connection.all_offers_delivered_event),
#else
	.ready_for_resume_event = COMPLETION_INITIALIZER(vmbus_connection.ready_for_resume_event),
#endif
};

struct completion rlis_all_offers_delivered = COMPLETION_INITIALIZER(rlis_all_offers_delivered);
DEFINE_MUTEX(rlis_retarget_mutex);
EXPORT_SYMBOL_GPL(vmbus_connection);

__u32 vmbus_proto_version;
EXPORT_SYMBOL_GPL(vmbus_proto_version);

EXPORT_SYMBOL_GPL(vmbus_set_event);
