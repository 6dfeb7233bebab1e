// SPDX-License-Identifier: GPL-2.0
/*
 * The bus's tables of callbacks: bus type, sysfs attributes, platform driver, CPU hotplug, power management.
 * What stands in them differs between kernels and is declared with macros of C headers; what the callbacks
 * do is in Rust (rust/hv/bus).
 */

#include <linux/acpi.h>
#include <linux/clockchips.h>
#include <linux/cpuhotplug.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/efi.h>
#include <linux/fs.h>
#include <linux/hyperv.h>
#include <linux/ioport.h>
#include <linux/kobject.h>
#include <linux/panic_notifier.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/screen_info.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/syscore_ops.h>
#include <linux/sysfb.h>
#include <linux/sysfs.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>

#include "helpers_bus.h"

/* ---- files of a device: /sys/bus/vmbus/devices/<instance>/ ---- */

#define DEVICE_FILE(_name)								\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *buf)	\
{											\
	return rlis_bus_device_show(device_to_hv_device(dev), RLIS_DEVICE_##_name, buf);	\
}											\
static DEVICE_ATTR_RO(_name)

DEVICE_FILE(id);
DEVICE_FILE(state);
DEVICE_FILE(monitor_id);
DEVICE_FILE(class_id);
DEVICE_FILE(device_id);
DEVICE_FILE(modalias);
#ifdef CONFIG_NUMA
DEVICE_FILE(numa_node);
#endif
DEVICE_FILE(server_monitor_pending);
DEVICE_FILE(client_monitor_pending);
DEVICE_FILE(server_monitor_latency);
DEVICE_FILE(client_monitor_latency);
DEVICE_FILE(server_monitor_conn_id);
DEVICE_FILE(client_monitor_conn_id);
DEVICE_FILE(out_intr_mask);
DEVICE_FILE(out_read_index);
DEVICE_FILE(out_write_index);
DEVICE_FILE(out_read_bytes_avail);
DEVICE_FILE(out_write_bytes_avail);
DEVICE_FILE(in_intr_mask);
DEVICE_FILE(in_read_index);
DEVICE_FILE(in_write_index);
DEVICE_FILE(in_read_bytes_avail);
DEVICE_FILE(in_write_bytes_avail);
DEVICE_FILE(channel_vp_mapping);
DEVICE_FILE(vendor);
DEVICE_FILE(device);

#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
/* Which driver alone may bind to the device. Newer kernels keep this in the driver core. */
static ssize_t driver_override_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	ssize_t len;

	device_lock(dev);
	len = sysfs_emit(buf, "%s\n", device_to_hv_device(dev)->driver_override);
	device_unlock(dev);
	return len;
}

static ssize_t driver_override_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	int ret = driver_set_override(dev, &device_to_hv_device(dev)->driver_override, buf, count);

	return ret ?: count;
}
static DEVICE_ATTR_RW(driver_override);

static int device_match_driver_override(struct device *dev, const struct device_driver *drv)
{
	const char *only = device_to_hv_device(dev)->driver_override;

	return only ? !strcmp(only, drv->name) : -1;
}
#endif

static struct attribute *vmbus_dev_attrs[] = {
#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
	&dev_attr_driver_override.attr,
#endif
	&dev_attr_id.attr,
	&dev_attr_state.attr,
	&dev_attr_monitor_id.attr,
	&dev_attr_class_id.attr,
	&dev_attr_device_id.attr,
	&dev_attr_modalias.attr,
#ifdef CONFIG_NUMA
	&dev_attr_numa_node.attr,
#endif
	&dev_attr_server_monitor_pending.attr,
	&dev_attr_client_monitor_pending.attr,
	&dev_attr_server_monitor_latency.attr,
	&dev_attr_client_monitor_latency.attr,
	&dev_attr_server_monitor_conn_id.attr,
	&dev_attr_client_monitor_conn_id.attr,
	&dev_attr_out_intr_mask.attr,
	&dev_attr_out_read_index.attr,
	&dev_attr_out_write_index.attr,
	&dev_attr_out_read_bytes_avail.attr,
	&dev_attr_out_write_bytes_avail.attr,
	&dev_attr_in_intr_mask.attr,
	&dev_attr_in_read_index.attr,
	&dev_attr_in_write_index.attr,
	&dev_attr_in_read_bytes_avail.attr,
	&dev_attr_in_write_bytes_avail.attr,
	&dev_attr_channel_vp_mapping.attr,
	&dev_attr_vendor.attr,
	&dev_attr_device.attr,
	NULL,
};

/* The files about the monitor pages exist only for channels that use them. */
static umode_t vmbus_dev_attr_is_visible(struct kobject *kobj, struct attribute *attr, int idx)
{
	struct hv_device *dev = device_to_hv_device(kobj_to_dev(kobj));

	if (!dev->channel->offermsg.monitor_allocated &&
	    (attr == &dev_attr_monitor_id.attr ||
	     attr == &dev_attr_server_monitor_pending.attr ||
	     attr == &dev_attr_client_monitor_pending.attr ||
	     attr == &dev_attr_server_monitor_latency.attr ||
	     attr == &dev_attr_client_monitor_latency.attr ||
	     attr == &dev_attr_server_monitor_conn_id.attr ||
	     attr == &dev_attr_client_monitor_conn_id.attr))
		return 0;
	return attr->mode;
}

static const struct attribute_group vmbus_dev_group = {
	.attrs = vmbus_dev_attrs,
	.is_visible = vmbus_dev_attr_is_visible,
};

static const struct attribute_group *vmbus_dev_groups[] = {
	&vmbus_dev_group,
	NULL,
};

/* ---- files of the bus and of its drivers ---- */

static ssize_t hibernation_show(const struct bus_type *bus, char *buf)
{
	return sysfs_emit(buf, "%d\n", hv_is_hibernation_supported());
}
static BUS_ATTR_RO(hibernation);

static struct attribute *vmbus_bus_attrs[] = {
	&bus_attr_hibernation.attr,
	NULL,
};
ATTRIBUTE_GROUPS(vmbus_bus);

static ssize_t new_id_store(struct device_driver *drv, const char *buf, size_t count)
{
	return rlis_bus_new_id(drv_to_hv_drv(drv), buf, count);
}
static DRIVER_ATTR_WO(new_id);

static ssize_t remove_id_store(struct device_driver *drv, const char *buf, size_t count)
{
	return rlis_bus_remove_id(drv_to_hv_drv(drv), buf, count);
}
static DRIVER_ATTR_WO(remove_id);

static struct attribute *vmbus_drv_attrs[] = {
	&driver_attr_new_id.attr,
	&driver_attr_remove_id.attr,
	NULL,
};
ATTRIBUTE_GROUPS(vmbus_drv);

/* ---- files of a channel: .../channels/<relid>/ ---- */

struct channel_file {
	struct attribute attr;
	enum rlis_channel_attr which;
};

#define CHANNEL_FILE(_name, _mode)							\
static struct channel_file channel_file_##_name = {					\
	.attr = { .name = __stringify(_name), .mode = _mode },				\
	.which = RLIS_CHANNEL_##_name,							\
}

CHANNEL_FILE(out_mask, 0444);
CHANNEL_FILE(in_mask, 0444);
CHANNEL_FILE(read_avail, 0444);
CHANNEL_FILE(write_avail, 0444);
CHANNEL_FILE(cpu, 0644);
CHANNEL_FILE(pending, 0444);
CHANNEL_FILE(latency, 0444);
CHANNEL_FILE(interrupts, 0444);
CHANNEL_FILE(events, 0444);
CHANNEL_FILE(intr_in_full, 0444);
CHANNEL_FILE(intr_out_empty, 0444);
CHANNEL_FILE(out_full_first, 0444);
CHANNEL_FILE(out_full_total, 0444);
CHANNEL_FILE(monitor_id, 0444);
CHANNEL_FILE(subchannel_id, 0444);

static struct vmbus_channel *kobj_to_channel(struct kobject *kobj)
{
	return container_of(kobj, struct vmbus_channel, kobj);
}

static ssize_t channel_show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	struct channel_file *file = container_of(attr, struct channel_file, attr);

	return rlis_bus_channel_show(kobj_to_channel(kobj), file->which, buf);
}

static ssize_t channel_store(struct kobject *kobj, struct attribute *attr, const char *buf, size_t count)
{
	if (attr != &channel_file_cpu.attr)
		return -EIO;
	return rlis_bus_channel_set_cpu(kobj_to_channel(kobj), buf, count);
}

static const struct sysfs_ops channel_sysfs_ops = {
	.show = channel_show,
	.store = channel_store,
};

#ifdef RLIS_HAVE_CONST_BIN_ATTRIBUTES
#define const_bin const
#else
#define const_bin
#endif

static int channel_ring_mmap(struct file *file, struct kobject *kobj,
			     const_bin struct bin_attribute *attr, struct vm_area_struct *vma)
{
	struct vmbus_channel *channel = kobj_to_channel(kobj);

	/* The file is visible only while there is such a function. */
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

static const_bin struct bin_attribute channel_file_ring = {
	.attr = { .name = "ring", .mode = 0600 },
	.mmap = channel_ring_mmap,
};

static struct attribute *channel_attrs[] = {
	&channel_file_out_mask.attr,
	&channel_file_in_mask.attr,
	&channel_file_read_avail.attr,
	&channel_file_write_avail.attr,
	&channel_file_cpu.attr,
	&channel_file_pending.attr,
	&channel_file_latency.attr,
	&channel_file_interrupts.attr,
	&channel_file_events.attr,
	&channel_file_intr_in_full.attr,
	&channel_file_intr_out_empty.attr,
	&channel_file_out_full_first.attr,
	&channel_file_out_full_total.attr,
	&channel_file_monitor_id.attr,
	&channel_file_subchannel_id.attr,
	NULL,
};

static const_bin struct bin_attribute *const_bin channel_bin_attrs[] = {
	&channel_file_ring,
	NULL,
};

static umode_t channel_is_visible(struct kobject *kobj, struct attribute *attr, int idx)
{
	if (!kobj_to_channel(kobj)->offermsg.monitor_allocated &&
	    (attr == &channel_file_pending.attr ||
	     attr == &channel_file_latency.attr ||
	     attr == &channel_file_monitor_id.attr))
		return 0;
	return attr->mode;
}

static umode_t channel_is_bin_visible(struct kobject *kobj, const_bin struct bin_attribute *attr, int idx)
{
#ifndef RLIS_HAVE_BIN_SIZE
	/* The one place where older kernels let the size be told. All channels share the attribute. */
	attr->size = (size_t)kobj_to_channel(kobj)->ringbuffer_pagecount << PAGE_SHIFT;
#endif
	return kobj_to_channel(kobj)->ring_sysfs_visible ? attr->attr.mode : 0;
}

#ifdef RLIS_HAVE_BIN_SIZE
static size_t channel_bin_size(struct kobject *kobj, const struct bin_attribute *attr, int idx)
{
	return (size_t)kobj_to_channel(kobj)->ringbuffer_pagecount << PAGE_SHIFT;
}
#endif

static const struct attribute_group channel_group = {
	.attrs = channel_attrs,
	.bin_attrs = channel_bin_attrs,
	.is_visible = channel_is_visible,
	.is_bin_visible = channel_is_bin_visible,
#ifdef RLIS_HAVE_BIN_SIZE
	.bin_size = channel_bin_size,
#endif
};

/* Interrupts look channels up under RCU, so the memory has to outlive a grace period. */
static void channel_release(struct kobject *kobj)
{
	struct vmbus_channel *channel = kobj_to_channel(kobj);

	kfree_rcu(channel, rcu);
}

static const struct kobj_type channel_ktype = {
	.sysfs_ops = &channel_sysfs_ops,
	.release = channel_release,
};

void rlis_helper_channel_kobject_init(struct vmbus_channel *channel)
{
	kobject_init(&channel->kobj, &channel_ktype);
}

int rlis_helper_channel_add_sysfs(struct hv_device *dev, struct vmbus_channel *channel)
{
	struct kobject *kobj = &channel->kobj;
	int ret;

	kobj->kset = dev->channels_kset;
	ret = kobject_add(kobj, NULL, "%u", channel->offermsg.child_relid);
	if (ret)
		return ret;
	ret = sysfs_create_group(kobj, &channel_group);
	if (ret) {
		kobject_del(kobj);
		return ret;
	}
	kobject_uevent(kobj, KOBJ_ADD);
	return 0;
}

void rlis_helper_channel_remove_sysfs(struct vmbus_channel *channel)
{
	sysfs_remove_group(&channel->kobj, &channel_group);
	kobject_del(&channel->kobj);
}

int rlis_helper_channel_update_sysfs(struct vmbus_channel *channel)
{
	return sysfs_update_group(&channel->kobj, &channel_group);
}

/* ---- the bus ---- */

static int vmbus_match(struct device *dev, const struct device_driver *drv)
{
	return rlis_bus_match(device_to_hv_device(dev), drv_to_hv_drv(drv),
			      device_match_driver_override(dev, drv));
}

static int vmbus_probe(struct device *dev)
{
	return rlis_bus_probe(device_to_hv_device(dev), drv_to_hv_drv(dev->driver),
			      device_match_driver_override(dev, dev->driver));
}

static void vmbus_remove(struct device *dev)
{
	rlis_bus_remove(device_to_hv_device(dev), drv_to_hv_drv(dev->driver));
}

static void vmbus_shutdown(struct device *dev)
{
	if (dev->driver)
		rlis_bus_shutdown(device_to_hv_device(dev), drv_to_hv_drv(dev->driver));
}

/* The alias is the class GUID as it lies in memory, which is what file2alias writes into modules. */
static int vmbus_uevent(const struct device *dev, struct kobj_uevent_env *env)
{
	return add_uevent_var(env, "MODALIAS=vmbus:%*phN", UUID_SIZE,
			      &device_to_hv_device(dev)->dev_type);
}

static int vmbus_dma_configure(struct device *dev)
{
	hv_setup_dma_ops(dev, true);
	return 0;
}

static int __maybe_unused vmbus_suspend(struct device *dev)
{
	return dev->driver ? rlis_bus_suspend_device(device_to_hv_device(dev),
						     drv_to_hv_drv(dev->driver)) : 0;
}

static int __maybe_unused vmbus_resume(struct device *dev)
{
	return dev->driver ? rlis_bus_resume_device(device_to_hv_device(dev),
						    drv_to_hv_drv(dev->driver)) : 0;
}

/*
 * Hibernation only: suspend to idle must leave the bus working, or nothing could wake a generation 2 VM.
 * "noirq", since pass-through PCI devices are suspended and resumed in that phase and need their bus.
 */
static const struct dev_pm_ops vmbus_pm = {
#ifdef CONFIG_PM_SLEEP
	.freeze_noirq = vmbus_suspend,
	.thaw_noirq = vmbus_resume,
	.poweroff_noirq = vmbus_suspend,
	.restore_noirq = vmbus_resume,
#endif
};

static const struct bus_type vmbus_bus = {
	.name = "vmbus",
#ifdef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
	.driver_override = true,
#endif
	.match = vmbus_match,
	.probe = vmbus_probe,
	.remove = vmbus_remove,
	.shutdown = vmbus_shutdown,
	.uevent = vmbus_uevent,
	.dma_configure = vmbus_dma_configure,
	.dev_groups = vmbus_dev_groups,
	.drv_groups = vmbus_drv_groups,
	.bus_groups = vmbus_bus_groups,
	.pm = &vmbus_pm,
};

int rlis_helper_vmbus_bus_register(void)
{
	return bus_register(&vmbus_bus);
}

void rlis_helper_vmbus_bus_unregister(void)
{
	bus_unregister(&vmbus_bus);
}

void rlis_helper_driver_set_bus(struct hv_driver *drv, struct module *owner, const char *mod_name)
{
	drv->driver.name = drv->name;
	drv->driver.owner = owner;
	drv->driver.mod_name = mod_name;
	drv->driver.bus = &vmbus_bus;
}

static void vmbus_device_release(struct device *dev)
{
#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
	kfree(device_to_hv_device(dev)->driver_override);
#endif
	rlis_bus_release_device(device_to_hv_device(dev));
}

/* Whatever it returns, the device is refcounted from here on and released through put_device(). */
const char *rlis_helper_rlis_dev_name(const struct device *dev);
int rlis_helper_hv_device_register(struct hv_device *dev, struct device *parent)
{
	struct device *d = &dev->device;
	int ret;

	device_initialize(d);
	d->bus = &vmbus_bus;
	d->parent = parent;
	d->release = vmbus_device_release;
	d->dma_parms = &dev->dma_parms;
	d->dma_mask = &dev->dma_mask;
	ret = dev_set_name(d, "%pUl", &dev->dev_instance);
	if (ret)
		return ret;
	dma_set_mask(d, DMA_BIT_MASK(64));
	dma_set_coherent_mask(d, DMA_BIT_MASK(64));
	return device_add(d);
}

/* ---- the root device, from ACPI ---- */

static struct device *root_device;

struct device *rlis_helper_platform_device(void)
{
	return root_device;
}

static int vmbus_platform_probe(struct platform_device *pdev)
{
	struct acpi_device *adev = ACPI_COMPANION(&pdev->dev);

	if (!adev)
		return -ENODEV;
	root_device = &adev->dev;
	ACPI_COMPANION_SET(root_device, adev);
	return 0;
}

static int __maybe_unused vmbus_bus_suspend(struct device *dev)
{
	return rlis_bus_suspend();
}

static int __maybe_unused vmbus_bus_resume(struct device *dev)
{
	return rlis_bus_resume();
}

static const struct dev_pm_ops vmbus_bus_pm = {
#ifdef CONFIG_PM_SLEEP
	.freeze_noirq = vmbus_bus_suspend,
	.thaw_noirq = vmbus_bus_resume,
	.poweroff_noirq = vmbus_bus_suspend,
	.restore_noirq = vmbus_bus_resume,
#endif
};

static const struct acpi_device_id vmbus_acpi_device_ids[] = {
	{ "VMBUS", 0 },
	{ "VMBus", 0 },
	{ "", 0 },
};

static struct platform_driver vmbus_platform_driver = {
	.probe = vmbus_platform_probe,
	.driver = {
		.name = "vmbus",
		.acpi_match_table = vmbus_acpi_device_ids,
		.pm = &vmbus_bus_pm,
		.probe_type = PROBE_FORCE_SYNCHRONOUS,
	},
};

int rlis_helper_platform_register(void)
{
	return platform_driver_register(&vmbus_platform_driver);
}

void rlis_helper_platform_unregister(void)
{
	platform_driver_unregister(&vmbus_platform_driver);
	root_device = NULL;
}

/* ---- MMIO ---- */

struct window_walk {
	void *ctx;
	unsigned int found;
};

static acpi_status vmbus_walk_resource(struct acpi_resource *res, void *data)
{
	struct window_walk *walk = data;
	u64 start, end;

	/* Windows of a bridge are "address" descriptors; "memory" descriptors are registers of a device. */
	switch (res->type) {
	case ACPI_RESOURCE_TYPE_ADDRESS32:
		start = res->data.address32.address.minimum;
		end = res->data.address32.address.maximum;
		break;
	case ACPI_RESOURCE_TYPE_ADDRESS64:
		start = res->data.address64.address.minimum;
		end = res->data.address64.address.maximum;
		break;
	default:
		return AE_OK;
	}
	if (rlis_bus_mmio_window(walk->ctx, start, end))
		return AE_NO_MEMORY;
	walk->found++;
	return AE_OK;
}

/*
 * Calls rlis_bus_mmio_window() for each MMIO window of the VMBus node or, if it has none, of its
 * nearest ancestor with any.
 */
int rlis_helper_acpi_walk_windows(void *ctx)
{
	struct window_walk walk = { .ctx = ctx };
	struct acpi_device *adev = to_acpi_device(root_device);

	if (ACPI_FAILURE(acpi_walk_resources(adev->handle, METHOD_NAME__CRS, vmbus_walk_resource, &walk)))
		return -ENODEV;
	for (adev = acpi_dev_parent(adev); adev && adev->handle != ACPI_ROOT_OBJECT && !walk.found;
	     adev = acpi_dev_parent(adev))
		if (acpi_walk_resources(adev->handle, METHOD_NAME__CRS, vmbus_walk_resource, &walk) == AE_NO_MEMORY)
			return -ENOMEM;
	return 0;
}

/*
 * Where firmware put the framebuffer, which hyperv_drm will take over: a generation 2 VM has it in the MMIO
 * space (half of what is left below 4 GiB is kept for high resolutions, at most 128 MiB), a generation 1 VM
 * as a PCI device.
 */
bool rlis_helper_vmbus_framebuffer(u64 low_mmio_base, u64 *start, u64 *size)
{
	struct pci_dev *pdev;

	*start = 0;
	*size = 0;
	if (efi_enabled(EFI_BOOT)) {
#ifdef CONFIG_SYSFB
#ifdef RLIS_HAVE_SYSFB_PRIMARY_DISPLAY
		const struct screen_info *screen = &sysfb_primary_display.screen;
#else
		const struct screen_info *screen = &screen_info;
#endif

		*start = screen->lfb_base;
		*size = max_t(u64, screen->lfb_size, SZ_8M);
		if (low_mmio_base && !upper_32_bits(low_mmio_base) &&
		    (!*start || *start >= low_mmio_base)) {
			/* A kdump kernel and a confidential VM see no address: it is the lowest one then. */
			if (!*start)
				*start = low_mmio_base;
			if (*start < SZ_4G)
				*size = min_t(u64, (SZ_4G - *start) / 2, SZ_128M);
		}
#endif
	} else {
		pdev = pci_get_device(PCI_VENDOR_ID_MICROSOFT, PCI_DEVICE_ID_HYPERV_VIDEO, NULL);
		if (!pdev)
			return false;
		if (pci_resource_flags(pdev, 0) & IORESOURCE_MEM) {
			*start = pci_resource_start(pdev, 0);
			*size = pci_resource_len(pdev, 0);
		}
		pci_dev_put(pdev);
	}
	return *start;
}

struct resource *rlis_helper_vmbus_request_mem_region_exclusive(u64 start, u64 size, const char *name)
{
	return request_mem_region_exclusive(start, size, name);
}

struct resource *rlis_helper_request_region_in(struct resource *parent, u64 start, u64 size,
					       const char *name, bool busy)
{
	return __request_region(parent, start, size, name, busy ? IORESOURCE_BUSY : 0);
}

void rlis_helper_vmbus_release_mem_region(u64 start, u64 size)
{
	release_mem_region(start, size);
}

/* ---- CPUs, panic, suspend of CPU 0 ---- */

int rlis_helper_cpuhp_setup(void)
{
	return cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "hyperv/vmbus:online", rlis_bus_cpu_online,
				 rlis_bus_cpu_offline);
}

void rlis_helper_cpuhp_remove(int state)
{
	cpuhp_remove_state(state);
}

static int vmbus_panic(struct notifier_block *nb, unsigned long val, void *args)
{
	rlis_bus_panic();
	return NOTIFY_DONE;
}

/* Nearly last: others still want to say something over the bus. */
static struct notifier_block vmbus_panic_block = {
	.notifier_call = vmbus_panic,
	.priority = INT_MIN + 1,
};

void rlis_helper_vmbus_panic_notifier(bool on)
{
	if (on)
		atomic_notifier_chain_register(&panic_notifier_list, &vmbus_panic_block);
	else
		atomic_notifier_chain_unregister(&panic_notifier_list, &vmbus_panic_block);
}

#ifdef RLIS_HAVE_SYSCORE_OBJECT
static int vmbus_syscore_suspend(void *data)
{
	rlis_bus_synic_suspend();
	return 0;
}

static void vmbus_syscore_resume(void *data)
{
	rlis_bus_synic_resume();
}

static const struct syscore_ops vmbus_syscore_ops = {
	.suspend = vmbus_syscore_suspend,
	.resume = vmbus_syscore_resume,
};

static struct syscore vmbus_syscore = {
	.ops = &vmbus_syscore_ops,
};

void rlis_helper_vmbus_syscore(bool on)
{
	if (on)
		register_syscore(&vmbus_syscore);
	else
		unregister_syscore(&vmbus_syscore);
}
#else
static int vmbus_syscore_suspend(void)
{
	rlis_bus_synic_suspend();
	return 0;
}

static void vmbus_syscore_resume(void)
{
	rlis_bus_synic_resume();
}

static struct syscore_ops vmbus_syscore_ops = {
	.suspend = vmbus_syscore_suspend,
	.resume = vmbus_syscore_resume,
};

void rlis_helper_vmbus_syscore(bool on)
{
	if (on)
		register_syscore_ops(&vmbus_syscore_ops);
	else
		unregister_syscore_ops(&vmbus_syscore_ops);
}
#endif

void rlis_helper_stimer_cleanup_cpu(unsigned int cpu)
{
	hv_stimer_cleanup(cpu);
}

const char *rlis_helper_hv_dev_name(const struct device *dev)
{
	return dev_name(dev);
}
