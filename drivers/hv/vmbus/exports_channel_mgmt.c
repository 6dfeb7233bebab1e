// SPDX-License-Identifier: GPL-2.0
/*
 * Exports of what is channel_mgmt.c in the C driver; the functions are in rust/hv/bus. genksyms computes the CRCs from
 * these headers, and a CRC depends on which types are complete: hence the long list of includes.
 */

#include <linux/kernel.h>
#include <linux/interrupt.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/cpu.h>
#include <linux/hyperv.h>
#include <linux/export.h>
#include <asm/mshyperv.h>
#include <linux/sched/isolation.h>

#include "../../../include/vmbus_private.h"

EXPORT_SYMBOL_GPL(vmbus_devs);

EXPORT_SYMBOL_GPL(vmbus_prep_negotiate_resp);
#ifdef RLIS_HAVE_EXPORT_vmbus_initiate_unload
EXPORT_SYMBOL_GPL(vmbus_initiate_unload);
#endif
EXPORT_SYMBOL_GPL(vmbus_hvsock_device_unregister);
EXPORT_SYMBOL_GPL(vmbus_set_sc_create_callback);
EXPORT_SYMBOL_GPL(vmbus_set_chn_rescind_callback);
