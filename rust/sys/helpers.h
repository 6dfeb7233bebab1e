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

void *rlis_helper_hv_get_drvdata(struct hv_device *dev);
void rlis_helper_hv_set_drvdata(struct hv_device *dev, void *data);
void rlis_helper_set_channel_read_mode(struct vmbus_channel *channel,
				       enum hv_callback_mode mode);
void rlis_helper_hv_begin_read(struct hv_ring_buffer_info *rbi);
u32 rlis_helper_hv_end_read(struct hv_ring_buffer_info *rbi);

void rlis_helper_vmbus_clear_callback(struct vmbus_channel *channel);
void rlis_helper_vmbus_call_callback(struct vmbus_channel *channel);
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
void rlis_helper_timer_set_ms(struct timer_list *timer, unsigned int ms);
void rlis_helper_timer_end(struct timer_list *timer);
RLIS_SAFE void *rlis_helper_get_zeroed_page(void);
void rlis_helper_free_page(void *page);
RLIS_SAFE u64 rlis_helper_virt_to_phys(void *addr);
int rlis_helper_set_memory_decrypted(void *addr, size_t size);
int rlis_helper_set_memory_encrypted(void *addr, size_t size);
RLIS_SAFE void *rlis_helper_kvzalloc_bytes(size_t size);

void rlis_helper_device_lock(struct device *dev);
void rlis_helper_device_unlock(struct device *dev);

void *rlis_helper_alloc_shared(size_t len);
void rlis_helper_free_shared(void *start);
u64 rlis_helper_shared_pfn(const void *address);
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

void rlis_helper_reinit_completion(struct completion *x);
u64 rlis_helper_hv_reference_counter(void);
s64 rlis_helper_ktime_get_real_ns(void);

void rlis_helper_init_work(struct work_struct *work, work_func_t func);
void rlis_helper_init_delayed_work(struct delayed_work *work, work_func_t func);
bool rlis_helper_queue_work(struct workqueue_struct *wq, struct work_struct *work);
bool rlis_helper_mod_delayed_work(struct workqueue_struct *wq,
				  struct delayed_work *work, unsigned long delay);
struct workqueue_struct *rlis_helper_alloc_ordered_workqueue(const char *name);
struct workqueue_struct *rlis_helper_alloc_freezable_workqueue(const char *name);
struct workqueue_struct *rlis_helper_alloc_unbound_workqueue(const char *name);
struct workqueue_struct *rlis_helper_alloc_device_workqueue(const char *name, bool ordered);
struct workqueue_struct *rlis_helper_alloc_per_cpu_workqueue(const char *name);
void rlis_helper_flush_workqueue(struct workqueue_struct *wq);
void rlis_helper_local_bh_disable(void);
void rlis_helper_local_bh_enable(void);
unsigned int rlis_helper_memalloc_noio_save(void);
void rlis_helper_memalloc_noio_restore(unsigned int flags);

struct ptp_clock *rlis_helper_ptp_register(struct ptp_clock_info *info);
void rlis_helper_ptp_unregister(struct ptp_clock *clock);
void rlis_helper_ptp_read_system_prets(struct ptp_system_timestamp *sts);
void rlis_helper_ptp_read_system_postts(struct ptp_system_timestamp *sts);
int rlis_helper_ptp_cross_timestamp(int (*at)(void *clock, u64 reference, s64 *ns), void *clock,
				    struct system_device_crosststamp *xtstamp);

#include "helpers_bus.h"

#endif
