// SPDX-License-Identifier: GPL-2.0
/*
 * Exports of what is channel.c in the C driver; the functions are in rust/hv/bus. genksyms computes the CRCs from
 * these headers, and a CRC depends on which types are complete: hence the long list of includes.
 */

#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/module.h>
#include <linux/hyperv.h>
#include <linux/uio.h>
#include <linux/interrupt.h>
#include <linux/set_memory.h>
#ifdef RLIS_HAVE_EXPORT_vmbus_alloc_buffer
#include <linux/log2.h>
#include <linux/vmalloc.h>
#endif
#include <linux/export.h>
#include <asm/page.h>
#include <asm/mshyperv.h>

#include "../../../include/vmbus_private.h"

EXPORT_SYMBOL_GPL(vmbus_setevent);
EXPORT_SYMBOL_GPL(vmbus_free_ring);
EXPORT_SYMBOL_GPL(vmbus_alloc_ring);
EXPORT_SYMBOL_GPL(vmbus_send_tl_connect_request);
EXPORT_SYMBOL_GPL(vmbus_send_modifychannel);
EXPORT_SYMBOL_GPL(vmbus_establish_gpadl);
#ifdef RLIS_HAVE_EXPORT_vmbus_establish_gpadl_caller_decrypted
EXPORT_SYMBOL_GPL(vmbus_establish_gpadl_caller_decrypted);
#endif
#ifdef RLIS_HAVE_EXPORT_vmbus_free_buffer
EXPORT_SYMBOL_GPL(vmbus_free_buffer);
#endif
#ifdef RLIS_HAVE_EXPORT_vmbus_alloc_buffer
EXPORT_SYMBOL_GPL(vmbus_alloc_buffer);
#endif
EXPORT_SYMBOL_GPL(vmbus_connect_ring);
EXPORT_SYMBOL_GPL(vmbus_open);
EXPORT_SYMBOL_GPL(vmbus_teardown_gpadl);
EXPORT_SYMBOL_GPL(vmbus_disconnect_ring);
EXPORT_SYMBOL_GPL(vmbus_close);
EXPORT_SYMBOL(vmbus_sendpacket_getid);
EXPORT_SYMBOL(vmbus_sendpacket);
EXPORT_SYMBOL_GPL(vmbus_sendpacket_mpb_desc);
EXPORT_SYMBOL(vmbus_recvpacket);
EXPORT_SYMBOL_GPL(vmbus_recvpacket_raw);
EXPORT_SYMBOL_GPL(vmbus_next_request_id);
EXPORT_SYMBOL_GPL(__vmbus_request_addr_match);
EXPORT_SYMBOL_GPL(vmbus_request_addr_match);
EXPORT_SYMBOL_GPL(vmbus_request_addr);
