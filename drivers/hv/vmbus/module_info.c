// SPDX-License-Identifier: GPL-2.0
/*
 * What the module! macro cannot declare: version, aliases for ACPI, a parameter that is visible in sysfs.
 */

#include <linux/acpi.h>
#include <linux/hyperv.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "../../../rust/sys/helpers_bus.h"

#ifndef RLIS_HAVE_VMBUS_V6
#define VERSION_WIN10_V6_0 (6 << 16)
#endif

unsigned int rlis_vmbus_max_version = VERSION_WIN10_V6_0;
module_param_named(max_version, rlis_vmbus_max_version, uint, 0444);
MODULE_PARM_DESC(max_version, "Newest VMBus protocol version to negotiate, major << 16 | minor");

static const struct acpi_device_id vmbus_acpi_device_ids[] = {
	{ "VMBUS", 0 },
	{ "VMBus", 0 },
	{ "", 0 },
};
MODULE_DEVICE_TABLE(acpi, vmbus_acpi_device_ids);

MODULE_VERSION(RLIS_VERSION);
