// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the crate rlis_vmbus that call the bus, for modules that depend on it.
 */

#include <linux/hyperv.h>

#include "helpers.h"

/* Exported by the bus, but declared in a header of drivers/hv only, which modules cannot include. */
void vmbus_device_unregister(struct hv_device *device_obj);

void rlis_helper_vmbus_device_unregister(struct hv_device *dev)
{
	vmbus_device_unregister(dev);
}
