// SPDX-License-Identifier: GPL-2.0
/*
 * A device that takes its time to be frozen for hibernation. Devices that were registered later are frozen by then, and wait
 * for it, so that what happens between the phases has time to happen.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/platform_device.h>

static unsigned int ms = 4000;
module_param(ms, uint, 0444);
MODULE_PARM_DESC(ms, "How long it takes, in milliseconds");

static int slow_freeze(struct device *dev)
{
	msleep(ms);
	return 0;
}

static const struct dev_pm_ops slow_ops = { .freeze = slow_freeze };

static struct platform_driver slow_driver = {
	.driver = { .name = "slow_freeze", .pm = &slow_ops },
};

static struct platform_device *device;

static int __init slow_init(void)
{
	int err = platform_driver_register(&slow_driver);

	if (err)
		return err;
	device = platform_device_register_simple("slow_freeze", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(device)) {
		platform_driver_unregister(&slow_driver);
		return PTR_ERR(device);
	}
	return 0;
}

static void __exit slow_exit(void)
{
	platform_device_unregister(device);
	platform_driver_unregister(&slow_driver);
}

module_init(slow_init);
module_exit(slow_exit);
MODULE_DESCRIPTION("Test only: a device that is frozen slowly");
MODULE_LICENSE("GPL");
