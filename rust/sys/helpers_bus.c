// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros that only the bus needs, as functions that Rust can call.
 */

#include <linux/acpi.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/efi.h>
#include <linux/hyperv.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/sched/isolation.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/vmalloc.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>

#include "helpers_bus.h"

struct hv_per_cpu_context *rlis_helper_hv_cpu_context(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu) ? per_cpu_ptr(hv_context.cpu_context, cpu) : NULL;
}

struct hv_per_cpu_context *rlis_helper_hv_this_cpu_context(void)
{
	return raw_cpu_ptr(hv_context.cpu_context);
}

bool rlis_helper_cpu_housekeeping(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpumask_test_cpu(cpu, housekeeping_cpumask(HK_TYPE_MANAGED_IRQ));
}

u32 rlis_helper_hv_cpu_number_to_vp_number(unsigned int cpu)
{
	return cpu < nr_cpu_ids ? hv_cpu_number_to_vp_number(cpu) : VP_INVAL;
}

/* Older kernels do not know that their hypervisor runs in a VM, which matters to a root partition only. */
#ifdef RLIS_HAVE_NESTED
#define NESTED (hv_nested ? HV_HYPERCALL_NESTED : 0)
#else
#define NESTED 0
#endif

bool rlis_helper_hv_is_nested(void)
{
	return NESTED;
}

u64 rlis_helper_hvcall_post_message(const void *input, size_t len)
{
	unsigned long flags;
	void *page;
	u64 status;

	/* The input page is this CPU's, and interrupt handlers make hypercalls too. */
	local_irq_save(flags);
	page = *this_cpu_ptr(hyperv_pcpu_input_arg);
	memcpy(page, input, len);
	status = hv_do_hypercall(HVCALL_POST_MESSAGE | NESTED, page, NULL);
	local_irq_restore(flags);
	return status;
}

u64 rlis_helper_hvcall_signal_event(u64 param)
{
#ifdef RLIS_HAVE_NESTED
	/* hv_do_fast_hypercall8() takes a 16-bit code, which has no room for the flag of a nested partition. */
	return _hv_do_fast_hypercall8(HVCALL_SIGNAL_EVENT | HV_HYPERCALL_FAST_BIT | NESTED, param);
#else
	return hv_do_fast_hypercall8(HVCALL_SIGNAL_EVENT, param);
#endif
}

bool rlis_helper_hv_recommend_using_aeoi(void)
{
	return !(ms_hyperv.hints & HV_DEPRECATING_AEOI_RECOMMENDED);
}

bool rlis_helper_hv_paravisor_present(void)
{
#ifdef RLIS_HAVE_PARAVISOR
	return ms_hyperv.paravisor_present;
#else
	/* The hypervisor's answer is the same, and nothing else in there is known to older kernels. */
	return ms_hyperv.isolation_config_a & BIT(0);
#endif
}

#ifndef RLIS_HAVE_ISOLATION_TDX
/* An older kernel keeps what kind of VM the hypervisor says it is, whether it knows that kind or not. */
bool rlis_helper_hv_isolation_type_tdx(void)
{
	return ms_hyperv.cvm_type == 3;
}
#endif

#ifndef RLIS_HAVE_MSR
u64 rlis_helper_hv_get_msr(unsigned int reg)
{
	return hv_get_register(reg);
}

void rlis_helper_hv_set_msr(unsigned int reg, u64 value)
{
	hv_set_register(reg, value);
}
#endif

#ifdef RLIS_HAVE_STIMER_MESSAGES
/* A message may come late, when the clock event device has no handler any more. */
static DEFINE_PER_CPU(bool, stimer_messages);
#endif

void rlis_helper_stimer_messages_on(unsigned int cpu, int sint)
{
#ifdef RLIS_HAVE_STIMER_MESSAGES
	this_cpu_write(stimer_messages, true);
	hv_stimer_legacy_init(cpu, sint);
#endif
}

void rlis_helper_stimer_messages_off(unsigned int cpu)
{
#ifdef RLIS_HAVE_STIMER_MESSAGES
	this_cpu_write(stimer_messages, false);
	hv_stimer_legacy_cleanup(cpu);
#endif
}

void rlis_helper_stimer_expired(void)
{
#ifdef RLIS_HAVE_STIMER_MESSAGES
	if (this_cpu_read(stimer_messages))
		hv_stimer0_isr();
#endif
}

bool rlis_helper_stimer_needs_bus(void)
{
#ifdef RLIS_HAVE_STIMER_MESSAGES
	return (ms_hyperv.features & HV_MSR_SYNTIMER_AVAILABLE) &&
	       !(ms_hyperv.misc_features & HV_STIMER_DIRECT_MODE_AVAILABLE);
#else
	return false;
#endif
}

void rlis_helper_vmbus_stay_loaded(void)
{
	__module_get(THIS_MODULE);
}

unsigned long rlis_helper_virt_to_hvpfn(void *addr)
{
	return virt_to_hvpfn(addr);
}

/*
 * Zeroed pages in one piece, each of which is then freed on its own. That there is no such piece is nothing to report:
 * smaller ones will do, or the caller says what does not work without.
 */
struct page *rlis_helper_alloc_ring_pages(int node, unsigned int order, bool insist)
{
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO;
	struct page *page;

	if (node != NUMA_NO_NODE && !node_online(node))
		node = NUMA_NO_NODE;
	if (order)
		gfp |= __GFP_NOWARN | (insist ? __GFP_RETRY_MAYFAIL : __GFP_NORETRY);
	page = order <= MAX_PAGE_ORDER ? alloc_pages_node(node, gfp, order) : NULL;
	if (page && order)
		split_page(page, order);
	return page;
}

void *rlis_helper_vmap_ring(struct page **pages, unsigned int count, bool confidential)
{
	return vmap(pages, count, VM_MAP, confidential ? PAGE_KERNEL : pgprot_decrypted(PAGE_KERNEL));
}

/* vfree() gives up its own reference to each page; this one stays. */
void rlis_helper_vmbus_keep_vmalloc_pages(void *addr, size_t size)
{
	size_t at;

	if (!is_vmalloc_addr(addr))
		return;
	for (at = 0; at < size; at += PAGE_SIZE)
		get_page(vmalloc_to_page(addr + at));
}

void rlis_helper_dynids_init(struct hv_driver *drv)
{
	spin_lock_init(&drv->dynids.lock);
	INIT_LIST_HEAD(&drv->dynids.list);
}

struct vmbus_channel *rlis_helper_channel_alloc(void)
{
	struct rlis_channel *c = kzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return NULL;
	spin_lock_init(&c->channel.sched_lock);
	spin_lock_init(&c->channel.inbound.ring_lock);
	spin_lock_init(&c->channel.outbound.ring_lock);
	spin_lock_init(&c->channel.requestor.req_lock);
	init_completion(&c->channel.rescind_event);
	INIT_LIST_HEAD(&c->channel.listentry);
	INIT_LIST_HEAD(&c->channel.sc_list);
	tasklet_init(&c->channel.callback_event, rlis_bus_on_event, (unsigned long)&c->channel);
	mutex_init(&c->channel.inbound.ring_buffer_mutex);
	mutex_init(&c->channel.outbound.ring_buffer_mutex);
	mutex_init(&c->additions);
	mutex_init(&c->files);
	INIT_WORK(&c->channel.add_channel_work, rlis_bus_add_channel_work);
	INIT_WORK(&c->rescind_work, rlis_bus_rescind_channel_work);
	timer_setup(&c->look_again, rlis_bus_look_again, 0);
	/* From here on the reference count of the kobject is that of the channel. */
	kobject_init(&c->channel.kobj, &rlis_channel_ktype);
	return &c->channel;
}

void rlis_helper_channel_free(struct vmbus_channel *channel)
{
	kfree_rcu(channel, rcu);
}

/* Has the driver that owns the channel map its rings for a program. */
int rlis_helper_channel_map_ring(struct vmbus_channel *channel, struct file *file,
				 struct vm_area_struct *vma)
{
#ifdef RLIS_HAVE_MMAP_PREPARE_RING_BUFFER
	struct vm_area_desc desc;
	int ret;

	compat_set_desc_from_vma(&desc, file, vma);
	ret = channel->mmap_prepare_ring_buffer(channel, &desc);
	return ret ?: __compat_vma_mmap(&desc, vma);
#else
#ifdef RLIS_HAVE_RING_SYSFS
	return channel->mmap_ring_buffer(channel, vma);
#else
	return container_of(channel, struct rlis_channel, channel)->mmap_ring_buffer(channel, vma);
#endif
#endif
}

/* The vector is never threaded, so a spinlock_t may be taken here, which lockdep would have to report for PREEMPT_RT's sake. */
void rlis_helper_isr_run(void)
{
#ifdef DEFINE_WAIT_OVERRIDE_MAP
	static DEFINE_WAIT_OVERRIDE_MAP(map, LD_WAIT_CONFIG);

	lock_map_acquire_try(&map);
	rlis_bus_isr();
	lock_map_release(&map);
#else
	rlis_bus_isr();
#endif
}

/* Which driver alone may have a device: newer kernels keep that in the driver core, and make the file. */
#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
static int device_match_driver_override(struct device *dev, const struct device_driver *drv)
{
	const char *only = device_to_hv_device(dev)->driver_override;

	return only ? !strcmp(only, drv->name) : -1;
}

ssize_t rlis_helper_driver_override_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	ssize_t len;

	device_lock(dev);
	len = sysfs_emit(buf, "%s\n", device_to_hv_device(dev)->driver_override);
	device_unlock(dev);
	return len;
}

ssize_t rlis_helper_driver_override_store(struct device *dev, struct device_attribute *attr,
					  const char *buf, size_t count)
{
	return driver_set_override(dev, &device_to_hv_device(dev)->driver_override, buf, count) ?: count;
}
#endif

int rlis_helper_match_driver_override(struct device *dev, const struct device_driver *drv)
{
	return device_match_driver_override(dev, drv);
}

void rlis_helper_hv_device_free(struct hv_device *dev)
{
#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
	kfree(dev->driver_override);
#endif
	kfree(dev);
}

int rlis_helper_vmbus_platform_driver_register(struct platform_driver *drv)
{
	return platform_driver_register(drv);
}

struct acpi_device *rlis_helper_acpi_companion(struct device *dev)
{
	return ACPI_COMPANION(dev);
}

void rlis_helper_acpi_companion_set(struct device *dev, struct acpi_device *companion)
{
	ACPI_COMPANION_SET(dev, companion);
}

bool rlis_helper_efi_boot(void)
{
	return efi_enabled(EFI_BOOT);
}

/* The memory of a generation 1 VM's display adapter; false if there is none. */
bool rlis_helper_hyperv_video_bar(struct resource *bar)
{
	struct pci_dev *pdev = pci_get_device(PCI_VENDOR_ID_MICROSOFT, PCI_DEVICE_ID_HYPERV_VIDEO, NULL);

	if (!pdev)
		return false;
	*bar = pdev->resource[0];
	pci_dev_put(pdev);
	return true;
}
