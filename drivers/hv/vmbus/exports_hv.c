// SPDX-License-Identifier: GPL-2.0
/*
 * Exports of what is hv.c in the C driver; the functions are in rust/hv/bus. genksyms computes the CRCs from
 * these headers, and a CRC depends on which types are complete: hence the long list of includes.
 */

#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/hyperv.h>
#include <linux/random.h>
#include <linux/clockchips.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/export.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>
#include <linux/set_memory.h>

#include "../../../include/vmbus_private.h"

/* As long as the module, so that Rust may have references to them. */
static DEFINE_PER_CPU(struct hv_per_cpu_context, cpu_contexts);

struct hv_context hv_context = {
	.cpu_context = &cpu_contexts,
};
#ifdef RLIS_HAVE_EXPORT_hv_context
EXPORT_SYMBOL_FOR_MODULES(hv_context, "mshv_vtl");
#endif

#ifdef RLIS_HAVE_EXPORT_hv_post_message
EXPORT_SYMBOL_FOR_MODULES(hv_post_message, "mshv_vtl");
#endif
