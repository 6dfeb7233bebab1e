/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_H
#define RLIS_SYS_HELPERS_H

/* A function that Rust may call without further ado: any arguments will do. What sleeps says so, or its name does. */
#define RLIS_SAFE

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/workqueue.h>

#include "helpers_mem.h"
#include "helpers_scsi.h"

void rlis_helper_hv_begin_read(struct hv_ring_buffer_info *rbi);
u32 rlis_helper_hv_end_read(struct hv_ring_buffer_info *rbi);

void rlis_helper_tasklet_schedule(struct tasklet_struct *t);
u32 rlis_helper_inbound_write_index(const struct vmbus_channel *channel);
u32 rlis_helper_hv_get_bytes_to_read(const struct hv_ring_buffer_info *rbi);
u32 rlis_helper_hv_get_bytes_to_write(const struct hv_ring_buffer_info *rbi);
u32 rlis_helper_hv_get_avail_to_write_percent(const struct hv_ring_buffer_info *rbi);
void rlis_helper_set_channel_pending_send_size(struct vmbus_channel *channel,
					       u32 size);
/* Locks, tasklets and memory. */
unsigned long rlis_helper_spin_lock_irqsave(spinlock_t *lock);
void rlis_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
bool rlis_helper_spin_is_locked(spinlock_t *lock);
void rlis_helper_tasklet_disable(struct tasklet_struct *t);
void rlis_helper_tasklet_enable(struct tasklet_struct *t);
RLIS_SAFE void *rlis_helper_vzalloc_bytes(unsigned long size);
void *rlis_helper_page_address(struct page *page);
RLIS_SAFE void *rlis_helper_zeroed_page(void);
RLIS_SAFE u64 rlis_helper_virt_to_phys(void *addr);
RLIS_SAFE void *rlis_helper_kvzalloc_bytes(size_t size);
RLIS_SAFE void __percpu *rlis_helper_alloc_percpu_bytes(size_t size, size_t align);

void rlis_helper_device_lock(struct device *dev);
void rlis_helper_device_unlock(struct device *dev);

void rlis_helper_copy_shared(void *to, const void *from, size_t len);

/*
 * From so many bytes on string instructions of words win on every processor. memcpy() uses them only where they are fast
 * for few bytes, too, and is a loop elsewhere.
 */
#define RLIS_LONG_COPY 512

/* Copies bytes that the host may change meanwhile. */
static __always_inline void copy_shared(void *to, const void *from, size_t len)
{
	unsigned long lead, words;

	if (IS_ENABLED(CONFIG_KASAN) || len < RLIS_LONG_COPY) {
		memcpy(to, from, len);
		return;
	}
	/* The ends as words, what is between at aligned addresses. */
	memcpy(to + len - 8, from + len - 8, 8);
	memcpy(to, from, 8);
	lead = -(unsigned long)to & 7;
	to += lead;
	from += lead;
	words = (len - lead) / 8;
	asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

u64 rlis_helper_hv_reference_counter(void);

void rlis_helper_init_work(struct work_struct *work, work_func_t func);
void rlis_helper_init_delayed_work(struct delayed_work *work, work_func_t func);
struct workqueue_struct *rlis_helper_new_workqueue(const char *name, unsigned int flags, int max_active);
void rlis_helper_local_bh_disable(void);
void rlis_helper_local_bh_enable(void);
unsigned int rlis_helper_memalloc_noio_save(void);
void rlis_helper_memalloc_noio_restore(unsigned int flags);

struct ptp_clock *rlis_helper_ptp_register(struct ptp_clock_info *info);
void rlis_helper_ptp_unregister(struct ptp_clock *clock);
void rlis_helper_ptp_read_system_prets(struct ptp_system_timestamp *sts);
void rlis_helper_ptp_read_system_postts(struct ptp_system_timestamp *sts);
bool rlis_helper_hv_read_tsc_page(u64 *tsc, u64 *reference);

/* CPUs. What comes after the last one of a mask is a number that no CPU has. */
RLIS_SAFE unsigned int rlis_helper_current_cpu(void);
unsigned int rlis_helper_cpumask_next(int cpu, const struct cpumask *mask);
RLIS_SAFE int rlis_helper_cpu_to_node(unsigned int cpu);
void *rlis_helper_raw_cpu_ptr(void __percpu *base);

#include "helpers_bus.h"

#endif
