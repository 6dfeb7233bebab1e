// SPDX-License-Identifier: GPL-2.0
/*
 * Exports of what is vmbus_drv.c in the C driver; the functions are in rust/hv/bus. genksyms computes the CRCs from
 * these headers, and a CRC depends on which types are complete: hence the long list of includes.
 */

#include <linux/init.h>
#include <linux/module.h>
#include <linux/device.h>
#include <linux/platform_device.h>
#include <linux/interrupt.h>
#include <linux/sysctl.h>
#include <linux/slab.h>
#include <linux/acpi.h>
#include <linux/completion.h>
#include <linux/hyperv.h>
#include <linux/kernel_stat.h>
#include <linux/of_address.h>
#include <linux/clockchips.h>
#include <linux/cpu.h>
#include <linux/sched/isolation.h>
#include <linux/sched/task_stack.h>
#include <linux/smpboot.h>

#include <linux/delay.h>
#include <linux/panic_notifier.h>
#include <linux/ptrace.h>
#ifdef RLIS_HAVE_SYSFB_PRIMARY_DISPLAY
#include <linux/sysfb.h>
#else
#include <linux/random.h>
#include <linux/screen_info.h>
#endif
#include <linux/efi.h>
#include <linux/kernel.h>
#include <linux/syscore_ops.h>
#include <linux/dma-map-ops.h>
#include <linux/pci.h>
#include <linux/export.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>

#include "../../../include/vmbus_private.h"

#ifdef RLIS_HAVE_EXPORT_vmbus_is_confidential
EXPORT_SYMBOL_GPL(vmbus_is_confidential);
#endif
#ifdef RLIS_HAVE_EXPORT_vmbus_set_skip_unload
EXPORT_SYMBOL_GPL(vmbus_set_skip_unload);
#endif
#ifdef RLIS_HAVE_EXPORT_hv_get_vmbus_root_device
EXPORT_SYMBOL_GPL(hv_get_vmbus_root_device);
#endif
#ifdef RLIS_HAVE_EXPORT_hv_vmbus_exists
EXPORT_SYMBOL_GPL(hv_vmbus_exists);
#endif
#ifdef RLIS_HAVE_EXPORT_vmbus_isr
EXPORT_SYMBOL_FOR_MODULES(vmbus_isr, "mshv_vtl");
#endif
EXPORT_SYMBOL_GPL(__vmbus_driver_register);
EXPORT_SYMBOL_GPL(vmbus_driver_unregister);
#ifdef RLIS_HAVE_EXPORT_hv_create_ring_sysfs
EXPORT_SYMBOL_GPL(hv_create_ring_sysfs);
EXPORT_SYMBOL_GPL(hv_remove_ring_sysfs);
#endif
EXPORT_SYMBOL_GPL(vmbus_device_unregister);
EXPORT_SYMBOL_GPL(vmbus_allocate_mmio);
EXPORT_SYMBOL_GPL(vmbus_free_mmio);
