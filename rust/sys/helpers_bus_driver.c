// SPDX-License-Identifier: GPL-2.0
/*
 * The bus's tables of callbacks: bus type, platform driver, CPU hotplug, power management. Those of its files are
 * in helpers_bus_sysfs.c.
 * What stands in them differs between kernels and is declared with macros of C headers; what the callbacks
 * do is in Rust (rust/hv/bus).
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/acpi.h>
#include <linux/clockchips.h>
#include <linux/cpuhotplug.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/efi.h>
#include <linux/hyperv.h>
#include <linux/ioport.h>
#include <linux/panic_notifier.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/screen_info.h>
#include <linux/slab.h>
#include <linux/syscore_ops.h>
#include <linux/sysfb.h>
#include <linux/sysfs.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>

#include "helpers_bus.h"

/* ---- the bus ---- */

#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
static int device_match_driver_override(struct device *dev, const struct device_driver *drv)
{
	const char *only = device_to_hv_device(dev)->driver_override;

	return only ? !strcmp(only, drv->name) : -1;
}
#endif

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

/* Where firmware put the framebuffer; 0 for what it does not say. Returns RLIS_SCREEN_*. */
unsigned int rlis_helper_vmbus_screen(u64 *start, u64 *size)
{
	unsigned int found = 0;
	struct pci_dev *pdev;

	*start = 0;
	*size = 0;
	if (efi_enabled(EFI_BOOT)) {
		found = RLIS_SCREEN_UEFI;
#ifdef CONFIG_SYSFB
#ifdef RLIS_HAVE_SYSFB_PRIMARY_DISPLAY
		*start = sysfb_primary_display.screen.lfb_base;
		*size = sysfb_primary_display.screen.lfb_size;
#else
		*start = screen_info.lfb_base;
		*size = screen_info.lfb_size;
#endif
		found |= RLIS_SCREEN_KNOWN;
#endif
		return found;
	}
	pdev = pci_get_device(PCI_VENDOR_ID_MICROSOFT, PCI_DEVICE_ID_HYPERV_VIDEO, NULL);
	if (pdev) {
		found = RLIS_SCREEN_KNOWN;
		if (pci_resource_flags(pdev, 0) & IORESOURCE_MEM) {
			*start = pci_resource_start(pdev, 0);
			*size = pci_resource_len(pdev, 0);
		}
		pci_dev_put(pdev);
	}
	return found;
}

/* The words of the C driver, which people look for when a device finds no address space. */
void rlis_helper_vmbus_tell_mmio(const struct resource *first, const struct resource *second,
				 const struct resource *framebuffer)
{
	pr_info("hv_mmio=%pR,%pR fb=%pR\n", first, second, framebuffer);
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
