// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros that only the bus needs, as functions that Rust can call.
 */

#include <linux/acpi.h>
#include <linux/bottom_half.h>
#include <linux/clockchips.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/efi.h>
#include <linux/hyperv.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/reciprocal_div.h>
#include <linux/sched.h>
#include <linux/sched/isolation.h>
#include <linux/screen_info.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/smpboot.h>
#include <linux/sysfb.h>
#include <linux/sysfs.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>

#include "helpers_bus.h"

static void on_message(unsigned long context)
{
	rlis_bus_on_message((struct hv_per_cpu_context *)context);
}

void rlis_helper_hv_contexts_init(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct hv_per_cpu_context *c = per_cpu_ptr(hv_context.cpu_context, cpu);

		tasklet_init(&c->msg_dpc, on_message, (unsigned long)c);
	}
}

struct hv_per_cpu_context *rlis_helper_hv_cpu_context(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpu_possible(cpu) ? per_cpu_ptr(hv_context.cpu_context, cpu) : NULL;
}

struct hv_per_cpu_context *rlis_helper_hv_this_cpu_context(void)
{
	return raw_cpu_ptr(hv_context.cpu_context);
}

unsigned int rlis_helper_vmbus_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

unsigned int rlis_helper_next_present_cpu(int cpu)
{
	return cpumask_next(cpu, cpu_present_mask);
}

unsigned int rlis_helper_next_online_cpu(int cpu)
{
	return cpumask_next(cpu, cpu_online_mask);
}

bool rlis_helper_cpu_housekeeping(unsigned int cpu)
{
	return cpu < nr_cpu_ids && cpumask_test_cpu(cpu, housekeeping_cpumask(HK_TYPE_MANAGED_IRQ));
}

int rlis_helper_cpu_to_node(unsigned int cpu)
{
	return cpu < nr_cpu_ids ? cpu_to_node(cpu) : NUMA_NO_NODE;
}

u32 rlis_helper_hv_cpu_number_to_vp_number(unsigned int cpu)
{
	return cpu < nr_cpu_ids ? hv_cpu_number_to_vp_number(cpu) : VP_INVAL;
}

unsigned int rlis_helper_vmbus_smp_processor_id(void)
{
	return raw_smp_processor_id();
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
	status = hv_do_hypercall(HVCALL_POST_MESSAGE | (hv_nested ? HV_HYPERCALL_NESTED : 0),
				 page, NULL);
	local_irq_restore(flags);
	return status;
}

u64 rlis_helper_hvcall_signal_event(u64 param)
{
	/* hv_do_fast_hypercall8() takes a 16-bit code, which has no room for the flag of a nested partition. */
	return _hv_do_fast_hypercall8(HVCALL_SIGNAL_EVENT | HV_HYPERCALL_FAST_BIT |
				      (hv_nested ? HV_HYPERCALL_NESTED : 0), param);
}

bool rlis_helper_vmbus_root_partition(void)
{
#ifdef RLIS_HAVE_ROOT_PARTITION_FUNCTION
	return hv_root_partition();
#else
	return hv_root_partition;
#endif
}

bool rlis_helper_hv_recommend_using_aeoi(void)
{
#ifdef RLIS_HAVE_RECOMMEND_USING_AEOI
	return hv_recommend_using_aeoi();
#else
	return !(ms_hyperv.hints & HV_DEPRECATING_AEOI_RECOMMENDED);
#endif
}

bool rlis_helper_hv_paravisor_present(void)
{
	return ms_hyperv.paravisor_present;
}

u64 rlis_helper_hv_shared_gpa_boundary(void)
{
	return ms_hyperv.shared_gpa_boundary;
}

u8 rlis_helper_hv_vtl(void)
{
	return ms_hyperv.vtl;
}

u8 rlis_helper_hv_callback_vector(void)
{
	return HYPERVISOR_CALLBACK_VECTOR;
}

/* For kernels that do not do so before they call the handler. */
void rlis_helper_vmbus_interrupt_randomness(void)
{
	add_interrupt_randomness(HYPERVISOR_CALLBACK_VECTOR);
}

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

void *rlis_helper_vmbus_page_address(struct page *page)
{
	return page_address(page);
}

unsigned long rlis_helper_vmbus_page_to_hvpfn(struct page *page)
{
	return page_to_hvpfn(page);
}

unsigned int rlis_helper_vmbus_max_page_order(void)
{
	return MAX_PAGE_ORDER;
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

void rlis_helper_free_ring_page(struct page *page)
{
	__free_page(page);
}

void *rlis_helper_vmap_ring(struct page **pages, unsigned int count, bool confidential)
{
	return vmap(pages, count, VM_MAP, confidential ? PAGE_KERNEL : pgprot_decrypted(PAGE_KERNEL));
}

void rlis_helper_vmbus_vunmap(const void *addr)
{
	vunmap(addr);
}

void *rlis_helper_vmbus_vzalloc(unsigned long size)
{
	return vzalloc(size);
}

void rlis_helper_vmbus_vfree(const void *addr)
{
	vfree(addr);
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

struct reciprocal_value rlis_helper_vmbus_reciprocal_value(u32 d)
{
	return reciprocal_value(max(d, 1U));
}

void rlis_helper_dynids_init(struct hv_driver *drv)
{
	spin_lock_init(&drv->dynids.lock);
	INIT_LIST_HEAD(&drv->dynids.list);
}

void rlis_helper_udelay_us(unsigned int us)
{
	udelay(us);
}

void rlis_helper_mdelay(unsigned int ms)
{
	mdelay(ms);
}

void rlis_helper_usleep_range(unsigned int min, unsigned int max)
{
	usleep_range(min, max);
}

static void on_event(unsigned long channel)
{
	rlis_bus_on_event((struct vmbus_channel *)channel);
}

static void channel_look_again(struct timer_list *timer)
{
	struct rlis_channel *c = container_of(timer, struct rlis_channel, look_again);

	tasklet_schedule(&c->channel.callback_event);
}

/* Held while a channel moves to another CPU, so that the CPU cannot go meanwhile, and one channel moves at a time. */
static DEFINE_MUTEX(retarget_mutex);

void rlis_helper_vmbus_retarget_begin(void)
{
	cpus_read_lock();
	mutex_lock(&retarget_mutex);
}

void rlis_helper_vmbus_retarget_end(void)
{
	mutex_unlock(&retarget_mutex);
	cpus_read_unlock();
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
	tasklet_init(&c->channel.callback_event, on_event, (unsigned long)&c->channel);
	mutex_init(&c->channel.inbound.ring_buffer_mutex);
	mutex_init(&c->channel.outbound.ring_buffer_mutex);
	mutex_init(&c->additions);
	mutex_init(&c->files);
	INIT_WORK(&c->channel.add_channel_work, rlis_bus_add_channel_work);
	INIT_WORK(&c->rescind_work, rlis_bus_rescind_channel_work);
	timer_setup(&c->look_again, channel_look_again, 0);
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
	return channel->mmap_ring_buffer(channel, vma);
#endif
}

#ifdef CONFIG_PREEMPT_RT
/*
 * There the handler takes locks that sleep, and calls drivers that do, so that a thread for each CPU does its work: the
 * vector itself is never threaded.
 */
static DEFINE_PER_CPU(bool, isr_pending);
static DEFINE_PER_CPU(struct task_struct *, isr_thread);

static void isr_thread_setup(unsigned int cpu)
{
	sched_set_fifo(current);
}

static int isr_thread_should_run(unsigned int cpu)
{
	return this_cpu_read(isr_pending);
}

static void isr_thread_fn(unsigned int cpu)
{
	/* An interrupt that comes from here on has it run again. */
	this_cpu_write(isr_pending, false);
	/* As in any threaded handler: what it raises, NAPI and tasklets, runs here at the end, and not in ksoftirqd. */
	local_bh_disable();
	rlis_bus_isr();
	local_bh_enable();
}

static struct smp_hotplug_thread isr_threads = {
	.store = &isr_thread,
	.setup = isr_thread_setup,
	.thread_should_run = isr_thread_should_run,
	.thread_fn = isr_thread_fn,
	.thread_comm = "vmbus_irq/%u",
};

static int isr_prepare(void)
{
	return smpboot_register_percpu_thread(&isr_threads);
}

static void isr_finish(void)
{
	smpboot_unregister_percpu_thread(&isr_threads);
}

void rlis_helper_isr_run(void)
{
	struct task_struct *thread = this_cpu_read(isr_thread);

	this_cpu_write(isr_pending, true);
	if (thread)
		wake_up_process(thread);
}
#else
static int isr_prepare(void)
{
	return 0;
}

static void isr_finish(void)
{
}

/* The vector is never threaded, so a spinlock_t may be taken here, which lockdep would have to report for PREEMPT_RT's sake. */
void rlis_helper_isr_run(void)
{
	static DEFINE_WAIT_OVERRIDE_MAP(map, LD_WAIT_CONFIG);

	lock_map_acquire_try(&map);
	rlis_bus_isr();
	lock_map_release(&map);
}
#endif

int rlis_helper_isr_set(void (*handler)(void))
{
	int ret = isr_prepare();

	if (!ret)
		hv_setup_vmbus_handler(handler);
	return ret;
}

void rlis_helper_isr_remove(void)
{
	hv_remove_vmbus_handler();
	isr_finish();
}

bool rlis_helper_vmbus_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(rs, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&rs);
}

bool rlis_helper_vmbus_ratelimit_minute(void)
{
	static DEFINE_RATELIMIT_STATE(rs, 60 * HZ, DEFAULT_RATELIMIT_BURST);

	return __ratelimit(&rs);
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
	guard(device)(dev);
	return sysfs_emit(buf, "%s\n", device_to_hv_device(dev)->driver_override);
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

/* Where firmware says that the framebuffer is; false if the kernel does not know about screens. */
bool rlis_helper_sysfb_framebuffer(u64 *base, u64 *size)
{
#if defined(CONFIG_SYSFB) && defined(RLIS_HAVE_SYSFB_PRIMARY_DISPLAY)
	*base = sysfb_primary_display.screen.lfb_base;
	*size = sysfb_primary_display.screen.lfb_size;
#elif defined(CONFIG_SYSFB)
	*base = screen_info.lfb_base;
	*size = screen_info.lfb_size;
#endif
	return IS_ENABLED(CONFIG_SYSFB);
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
