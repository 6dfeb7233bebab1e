/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads. Only declarations that the kernel crate's own bindings lack are taken from here
 * (see bindgen_parameters); the rest is there so that these headers compile.
 */

/* First: an enum in it is forward-declared elsewhere, which bindgen would turn into two types. */
#if __has_include(<linux/hrtimer_types.h>)
#include <linux/hrtimer_types.h>
#else
#include <linux/hrtimer.h>
#endif

#include <linux/acpi.h>
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/reciprocal_div.h>
#include <linux/set_memory.h>
#include <linux/screen_info.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/smpboot.h>
#include <linux/sysfb.h>
#include <linux/sysfs.h>
#include <linux/syscore_ops.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_dbg.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_devinfo.h>
#include <scsi/scsi_eh.h>
#include <scsi/scsi_host.h>
#include <scsi/scsi_tcq.h>
#include <scsi/scsi_transport.h>
#include <scsi/scsi_transport_fc.h>

#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>
#if __has_include(<hyperv/hvhdk.h>)
#include <hyperv/hvhdk.h>
#else
/* Where the hypervisor's interface was declared before. */
#include <asm/hyperv-tlfs.h>
#endif

#include "../../include/vmbus_private.h"
#include "trace_mem.h"
#include "trace_vmbus.h"
