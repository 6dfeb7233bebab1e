/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for the portable tree's crate `bindings`: headers that the kept part of the kernel crate
 * and this project's bindings stand on. The kernel's own list names subsystems that no driver here needs.
 */

/* First: enums in it are forward-declared elsewhere, which bindgen would turn into two types. */
#if __has_include(<linux/hrtimer_types.h>)
#include <linux/hrtimer_types.h>
#else
#include <linux/hrtimer.h>
#endif

#include <linux/acpi.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/errname.h>
#include <linux/ethtool.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/property.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "helpers_portable.h"

/* Macros that bindgen cannot evaluate; the prefix is taken off again after it ran. */
const size_t RUST_CONST_HELPER_ARCH_SLAB_MINALIGN = ARCH_SLAB_MINALIGN;
const size_t RUST_CONST_HELPER_ARCH_KMALLOC_MINALIGN = ARCH_KMALLOC_MINALIGN;
const size_t RUST_CONST_HELPER_PAGE_SIZE = PAGE_SIZE;
const gfp_t RUST_CONST_HELPER_GFP_ATOMIC = GFP_ATOMIC;
const gfp_t RUST_CONST_HELPER_GFP_KERNEL = GFP_KERNEL;
const gfp_t RUST_CONST_HELPER_GFP_KERNEL_ACCOUNT = GFP_KERNEL_ACCOUNT;
const gfp_t RUST_CONST_HELPER_GFP_NOWAIT = GFP_NOWAIT;
const gfp_t RUST_CONST_HELPER___GFP_ZERO = __GFP_ZERO;
const gfp_t RUST_CONST_HELPER___GFP_HIGHMEM = ___GFP_HIGHMEM;
const gfp_t RUST_CONST_HELPER___GFP_NOWARN = ___GFP_NOWARN;

/* In enums without names in older kernels. */
#ifndef RLIS_HAVE_WQ_MISC_CONSTS
const int RUST_CONST_HELPER_wq_misc_consts_WORK_CPU_UNBOUND = WORK_CPU_UNBOUND;
#endif
#ifndef RLIS_HAVE_WQ_FLAGS
const unsigned int RUST_CONST_HELPER_wq_flags_WQ_UNBOUND = WQ_UNBOUND;
const unsigned int RUST_CONST_HELPER_wq_flags_WQ_FREEZABLE = WQ_FREEZABLE;
const unsigned int RUST_CONST_HELPER_wq_flags_WQ_MEM_RECLAIM = WQ_MEM_RECLAIM;
const unsigned int RUST_CONST_HELPER_wq_flags___WQ_LEGACY = __WQ_LEGACY;
const unsigned int RUST_CONST_HELPER_wq_flags___WQ_ORDERED = __WQ_ORDERED;
#endif

/* Error numbers that the kernel crate names and older kernels lack. Same values everywhere. */
#ifndef EFSBADCRC
#define EFSBADCRC EBADMSG
#endif
#ifndef EFSCORRUPTED
#define EFSCORRUPTED EUCLEAN
#endif
#ifndef EFTYPE
#define EFTYPE 134
#endif
