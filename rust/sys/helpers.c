// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of kernel headers, as functions that Rust can call.
 * Named rlis_helper_X for the inline X; rlis_sys.rs gives them back the name X.
 */

#include <linux/hyperv.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "helpers.h"

void *rlis_helper_hv_get_drvdata(struct hv_device *dev)
{
	return hv_get_drvdata(dev);
}

void rlis_helper_hv_set_drvdata(struct hv_device *dev, void *data)
{
	hv_set_drvdata(dev, data);
}

void rlis_helper_set_channel_read_mode(struct vmbus_channel *channel,
				       enum hv_callback_mode mode)
{
	set_channel_read_mode(channel, mode);
}

void rlis_helper_hv_begin_read(struct hv_ring_buffer_info *rbi)
{
	hv_begin_read(rbi);
}

u32 rlis_helper_hv_end_read(struct hv_ring_buffer_info *rbi)
{
	return hv_end_read(rbi);
}
