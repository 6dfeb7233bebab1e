/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C structs that the in-tree drivers keep to themselves, for bindgen. Only the tests see them: they need the
 * whole kernel source, which the headers of a distribution lack.
 */
#include <linux/hrtimer_types.h>
#include <linux/hyperv.h>

#include "drivers/hv/hyperv_vmbus.h"
#include "drivers/net/hyperv/hyperv_net.h"
#include "drivers/scsi/storvsc_drv.c"

/*
 * Two drivers in one file would have two tables of devices of the same name, and two ways in. So the second has another
 * table, a struct of driver that points to it, and no way in.
 */
#define id_table balloon_id_table
#define hv_driver balloon_driver
struct hv_driver {
	const char *name;
	const struct hv_vmbus_device_id *id_table;
	int (*probe)(struct hv_device *dev, const struct hv_vmbus_device_id *id);
	void (*remove)(struct hv_device *dev);
	int (*suspend)(struct hv_device *dev);
	int (*resume)(struct hv_device *dev);
	struct device_driver driver;
};
#undef vmbus_driver_register
#define vmbus_driver_register(driver) 0
#undef MODULE_DEVICE_TABLE
#define MODULE_DEVICE_TABLE(type, name)
#undef module_init
#define module_init(function)
#include "drivers/hv/hv_balloon.c"
#undef id_table
#undef hv_driver

/*
 * struct hv_ring_buffer is packed and holds a union of bitfields, which Rust cannot express, so bindgen shows it
 * without fields. This one has fields, and the C compiler says that they lie where the original's do.
 */
struct rlis_hv_ring_buffer {
	u32 write_index;
	u32 read_index;
	u32 interrupt_mask;
	u32 pending_send_sz;
	u32 reserved1[12];
	u32 feature_bits;
	u8 reserved2[PAGE_SIZE - 68];
};

#define RLIS_SAME_OFFSET(field) \
	_Static_assert(offsetof(struct rlis_hv_ring_buffer, field) == \
		       offsetof(struct hv_ring_buffer, field), #field)
RLIS_SAME_OFFSET(write_index);
RLIS_SAME_OFFSET(read_index);
RLIS_SAME_OFFSET(interrupt_mask);
RLIS_SAME_OFFSET(pending_send_sz);
RLIS_SAME_OFFSET(reserved1);
RLIS_SAME_OFFSET(feature_bits);
RLIS_SAME_OFFSET(reserved2);
_Static_assert(sizeof(struct rlis_hv_ring_buffer) == sizeof(struct hv_ring_buffer), "size");
