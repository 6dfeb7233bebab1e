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
