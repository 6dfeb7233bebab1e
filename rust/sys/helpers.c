// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of kernel headers, as functions that Rust can call.
 * Named rlis_helper_X for the inline X; rlis_sys.rs gives them back the name X.
 */

#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <asm/mshyperv.h>

#include "helpers.h"

void rlis_helper_hv_begin_read(struct hv_ring_buffer_info *rbi)
{
	hv_begin_read(rbi);
}

u32 rlis_helper_hv_end_read(struct hv_ring_buffer_info *rbi)
{
	return hv_end_read(rbi);
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

u64 rlis_helper_hv_reference_counter(void)
{
	return hv_read_reference_counter();
}

void rlis_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void rlis_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

struct workqueue_struct *rlis_helper_new_workqueue(const char *name, unsigned int flags, int max_active)
{
	return alloc_workqueue("%s", flags, max_active, name);
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

/* Zeroed. */
void __percpu *rlis_helper_alloc_percpu_bytes(size_t size, size_t align)
{
	return __alloc_percpu(size, align);
}

void *rlis_helper_vzalloc_bytes(unsigned long size)
{
	return vzalloc(size);
}

void *rlis_helper_page_address(struct page *page)
{
	return page_address(page);
}

void *rlis_helper_zeroed_page(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL);
}

u64 rlis_helper_virt_to_phys(void *addr)
{
	return virt_to_phys(addr);
}

unsigned int rlis_helper_current_cpu(void)
{
	return raw_smp_processor_id();
}

unsigned int rlis_helper_cpumask_next(int cpu, const struct cpumask *mask)
{
	return cpumask_next(cpu, mask);
}

int rlis_helper_cpu_to_node(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu) ? cpu_to_node(cpu) : NUMA_NO_NODE;
}

void *rlis_helper_raw_cpu_ptr(void __percpu *base)
{
	return raw_cpu_ptr(base);
}
