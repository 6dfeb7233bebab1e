// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of kernel headers, as functions that Rust can call.
 * Named rlis_helper_X for the inline X; rlis_sys.rs gives them back the name X.
 */

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <asm/mshyperv.h>

#include "helpers.h"

void *rlis_helper_hv_get_drvdata(struct hv_device *dev)
{
	return hv_get_drvdata(dev);
}

void rlis_helper_hv_set_drvdata(struct hv_device *dev, void *data)
{
	hv_set_drvdata(dev, data);
}

void rlis_helper_set_channel_read_mode(struct vmbus_channel *channel,
				       enum hv_callback_mode mode)
{
	set_channel_read_mode(channel, mode);
}

void rlis_helper_hv_begin_read(struct hv_ring_buffer_info *rbi)
{
	hv_begin_read(rbi);
}

u32 rlis_helper_hv_end_read(struct hv_ring_buffer_info *rbi)
{
	return hv_end_read(rbi);
}

/*
 * Ends the calls of a channel's callback where the bus does not: a sub-channel that failed to open. The same
 * steps as in the bus's vmbus_reset_channel_cb(), which modules cannot call.
 */
void rlis_helper_vmbus_clear_callback(struct vmbus_channel *channel)
{
	unsigned long flags;

	tasklet_disable(&channel->callback_event);
	spin_lock_irqsave(&channel->sched_lock, flags);
	channel->onchannel_callback = NULL;
	spin_unlock_irqrestore(&channel->sched_lock, flags);
	tasklet_enable(&channel->callback_event);
}

/* What the bus does for a signal of the host, but for the masking: the callback is called here or in the tasklet. */
void rlis_helper_vmbus_call_callback(struct vmbus_channel *channel)
{
	unsigned long flags;

	if (channel->callback_mode != HV_CALL_ISR) {
		tasklet_schedule(&channel->callback_event);
		return;
	}
	spin_lock_irqsave(&channel->sched_lock, flags);
	if (channel->onchannel_callback)
		channel->onchannel_callback(channel->channel_callback_context);
	spin_unlock_irqrestore(&channel->sched_lock, flags);
}

/* The channel has rings. */
u32 rlis_helper_inbound_write_index(const struct vmbus_channel *channel)
{
	return READ_ONCE(channel->inbound.ring_buffer->write_index);
}

void rlis_helper_tasklet_schedule(struct tasklet_struct *t)
{
	tasklet_schedule(t);
}

u32 rlis_helper_hv_get_bytes_to_read(const struct hv_ring_buffer_info *rbi)
{
	return hv_get_bytes_to_read(rbi);
}

u32 rlis_helper_hv_get_bytes_to_write(const struct hv_ring_buffer_info *rbi)
{
	return hv_get_bytes_to_write(rbi);
}

u32 rlis_helper_hv_get_avail_to_write_percent(const struct hv_ring_buffer_info *rbi)
{
	return hv_get_avail_to_write_percent(rbi);
}

void rlis_helper_set_channel_pending_send_size(struct vmbus_channel *channel,
					       u32 size)
{
	set_channel_pending_send_size(channel, size);
}

void rlis_helper_device_lock(struct device *dev)
{
	device_lock(dev);
}

void rlis_helper_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

void rlis_helper_reinit_completion(struct completion *x)
{
	reinit_completion(x);
}

u64 rlis_helper_hv_reference_counter(void)
{
	return hv_read_reference_counter();
}

s64 rlis_helper_ktime_get_real_ns(void)
{
	return ktime_get_real_ns();
}

void rlis_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void rlis_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

bool rlis_helper_queue_work(struct workqueue_struct *wq, struct work_struct *work)
{
	return queue_work(wq, work);
}

bool rlis_helper_mod_delayed_work(struct workqueue_struct *wq,
				  struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(wq, work, delay);
}

struct workqueue_struct *rlis_helper_alloc_ordered_workqueue(const char *name)
{
	return alloc_ordered_workqueue("%s", WQ_MEM_RECLAIM, name);
}

struct workqueue_struct *rlis_helper_alloc_freezable_workqueue(const char *name)
{
	return alloc_ordered_workqueue("%s", WQ_MEM_RECLAIM | WQ_FREEZABLE, name);
}

struct workqueue_struct *rlis_helper_alloc_unbound_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, name);
}

void rlis_helper_flush_workqueue(struct workqueue_struct *wq)
{
	flush_workqueue(wq);
}

void rlis_helper_local_bh_disable(void)
{
	local_bh_disable();
}

void rlis_helper_local_bh_enable(void)
{
	local_bh_enable();
}

unsigned int rlis_helper_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}

void rlis_helper_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

void *rlis_helper_alloc_shared(size_t len)
{
	return vzalloc(len);
}

void rlis_helper_free_shared(void *start)
{
	vfree(start);
}

u64 rlis_helper_shared_pfn(const void *address)
{
	return vmalloc_to_pfn(address);
}

void rlis_helper_copy_shared(void *to, const void *from, size_t len)
{
	copy_shared(to, from, len);
}

unsigned long rlis_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void rlis_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

bool rlis_helper_spin_is_locked(spinlock_t *lock)
{
	return spin_is_locked(lock);
}

void rlis_helper_tasklet_disable(struct tasklet_struct *t)
{
	tasklet_disable(t);
}

void rlis_helper_tasklet_enable(struct tasklet_struct *t)
{
	tasklet_enable(t);
}

void *rlis_helper_kvzalloc_bytes(size_t size)
{
	return kvzalloc(size, GFP_KERNEL);
}

/*
 * The queues that add and remove devices need a rescuer: what is written back to a controller that the host has taken
 * away ends only when it is removed, and a removal waits for the addition. Drivers wait there for work of all kinds, as they
 * do on the C bus's queues; __WQ_LEGACY, which create_workqueue() sets, says that this is known.
 */
#define DEVICE_QUEUE (__WQ_LEGACY | WQ_MEM_RECLAIM)

struct workqueue_struct *rlis_helper_alloc_device_workqueue(const char *name, bool ordered)
{
	if (ordered)
		return alloc_ordered_workqueue("%s", DEVICE_QUEUE, name);
	return alloc_workqueue("%s", DEVICE_QUEUE | WQ_UNBOUND, 0, name);
}

struct workqueue_struct *rlis_helper_alloc_per_cpu_workqueue(const char *name)
{
#ifdef RLIS_HAVE_WQ_PERCPU
	return alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_PERCPU, 1, name);
#else
	return alloc_workqueue("%s", WQ_MEM_RECLAIM, 1, name);
#endif
}

void rlis_helper_timer_set_ms(struct timer_list *timer, unsigned int ms)
{
	mod_timer(timer, jiffies + msecs_to_jiffies(ms));
}

void rlis_helper_timer_end(struct timer_list *timer)
{
	timer_delete_sync(timer);
}

void *rlis_helper_get_zeroed_page(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL);
}

void rlis_helper_free_page(void *page)
{
	free_page((unsigned long)page);
}

u64 rlis_helper_virt_to_phys(void *addr)
{
	return virt_to_phys(addr);
}

int rlis_helper_set_memory_decrypted(void *addr, size_t size)
{
	return set_memory_decrypted((unsigned long)addr, PFN_UP(size));
}

int rlis_helper_set_memory_encrypted(void *addr, size_t size)
{
	return set_memory_encrypted((unsigned long)addr, PFN_UP(size));
}
