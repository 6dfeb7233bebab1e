// SPDX-License-Identifier: GPL-2.0
/*
 * Exports of what is ring_buffer.c in the C driver; the functions are in rust/hv/bus. genksyms computes the CRCs from
 * these headers, and a CRC depends on which types are complete: hence the long list of includes.
 */

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/hyperv.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>
#include <linux/slab.h>
#include <linux/prefetch.h>
#include <linux/io.h>
#include <linux/export.h>
#include <asm/mshyperv.h>

#include "../../../include/vmbus_private.h"

EXPORT_SYMBOL_GPL(hv_ringbuffer_get_debuginfo);
EXPORT_SYMBOL_GPL(hv_ringbuffer_spinlock_busy);
EXPORT_SYMBOL_GPL(hv_pkt_iter_first);
EXPORT_SYMBOL_GPL(__hv_pkt_iter_next);
EXPORT_SYMBOL_GPL(hv_pkt_iter_close);
