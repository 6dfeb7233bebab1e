// SPDX-License-Identifier: GPL-2.0
/*
 * Takes MMIO space from whichever hv_vmbus is loaded, as pci-hyperv and hyperv_drm do, and checks what it gets. A
 * driver for the timesync component, for want of a device that has registers.
 */
#include <linux/hyperv.h>
#include <linux/module.h>
#include <linux/sizes.h>

#define PIECES 80

static unsigned int failed;

static void report(const char *name, bool ok)
{
	if (!ok)
		failed++;
	pr_info("rlis-check: mmio_%s %s\n", name, ok ? "ok" : "FAIL");
}

static bool fits(const struct resource *r, u64 min, u64 max, u64 size, u64 align)
{
	return r->start >= min && r->end <= max && resource_size(r) == size && !(r->start & (align - 1));
}

static bool apart(struct resource **r, unsigned int n)
{
	unsigned int i, j;

	for (i = 0; i < n; i++)
		for (j = 0; j < i; j++)
			if (r[i]->start <= r[j]->end && r[i]->end >= r[j]->start)
				return false;
	return true;
}

static void give_back(struct resource **r, unsigned int n)
{
	while (n--)
		vmbus_free_mmio(r[n]->start, resource_size(r[n]));
}

/* Takes pieces of a MiB below 4 GiB until there are no more. */
static unsigned int take_all(struct hv_device *dev, struct resource **r, int *last)
{
	unsigned int n;

	for (n = 0; n < PIECES; n++) {
		*last = vmbus_allocate_mmio(&r[n], dev, 0, U32_MAX, SZ_1M, SZ_1M, false);
		if (*last)
			break;
	}
	return n;
}

static int mmio_probe(struct hv_device *dev, const struct hv_vmbus_device_id *id)
{
	static struct resource *r[PIECES];
	unsigned int first, second;
	bool ok = true;
	int last, i;

	for (i = 0; i < 4 && ok; i++)
		ok = !vmbus_allocate_mmio(&r[i], dev, 0, U32_MAX, SZ_64K << i, SZ_64K, false) &&
		     fits(r[i], 0, U32_MAX, SZ_64K << i, SZ_64K) && !strcmp(r[i]->name, dev_name(&dev->device));
	report("low", ok);
	report("apart", apart(r, i));
	give_back(r, i);

	ok = !vmbus_allocate_mmio(&r[0], dev, SZ_4G, U64_MAX, SZ_128M, SZ_2M, false);
	report("high", ok && fits(r[0], SZ_4G, U64_MAX, SZ_128M, SZ_2M));
	if (ok)
		give_back(r, 1);

	ok = !vmbus_allocate_mmio(&r[0], dev, 0, U64_MAX, SZ_4K, SZ_16M, false);
	report("aligned", ok && fits(r[0], 0, U64_MAX, SZ_4K, SZ_16M));
	if (ok)
		give_back(r, 1);

	first = take_all(dev, r, &last);
	report("window_used_up", first >= 48 && first < PIECES && last == -ENXIO && apart(r, first));
	give_back(r, first);
	second = take_all(dev, r, &last);
	report("given_back", second == first);
	give_back(r, second);

	report("no_such_range", vmbus_allocate_mmio(&r[0], dev, 0, SZ_1M, SZ_4K, SZ_4K, false) == -ENXIO);
	report("too_large", vmbus_allocate_mmio(&r[0], dev, 0, U32_MAX, SZ_1G, SZ_4K, false) == -ENXIO);
	pr_info("rlis-note: %u pieces, %u checks failed\n", first, failed);
	return -ENODEV;	/* Done: there is nothing to stay for. */
}

static void mmio_remove(struct hv_device *dev)
{
}

static const struct hv_vmbus_device_id mmio_ids[] = {
	{ HV_TS_GUID, },
	{ },
};

static struct hv_driver mmio_driver = {
	.name = "hv_mmio",
	.id_table = mmio_ids,
	.probe = mmio_probe,
	.remove = mmio_remove,
};

static int __init mmio_init(void)
{
	return vmbus_driver_register(&mmio_driver);
}

static void __exit mmio_exit(void)
{
	vmbus_driver_unregister(&mmio_driver);
}

module_init(mmio_init);
module_exit(mmio_exit);
MODULE_DESCRIPTION("Tests the MMIO space of the VMBus driver");
MODULE_LICENSE("GPL");
