/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_H
#define RLIS_SYS_HELPERS_H

#include <linux/hyperv.h>

void *rlis_helper_hv_get_drvdata(struct hv_device *dev);
void rlis_helper_hv_set_drvdata(struct hv_device *dev, void *data);
void rlis_helper_set_channel_read_mode(struct vmbus_channel *channel,
				       enum hv_callback_mode mode);
void rlis_helper_hv_begin_read(struct hv_ring_buffer_info *rbi);
u32 rlis_helper_hv_end_read(struct hv_ring_buffer_info *rbi);

#endif
