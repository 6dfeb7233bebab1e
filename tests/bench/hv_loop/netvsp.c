// SPDX-License-Identifier: GPL-2.0
/*
 * The network host: answers what a network driver asks, completes what it sends, and keeps the books of the sections
 * of the receive buffer.
 *
 * Frames that the guest sends are checked and counted, and go nowhere; netload.c makes those that it receives.
 */
#include <linux/bitmap.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include "netvsp.h"

/* Where the guest's memory that a packet names begins and ends in the packet, and how many ranges it is. */
struct net_ranges {
	const u8 *at;
	u32 n, bytes;
};

/* ---- receive buffer ---- */

/* The caller holds net->lock. */
static void buffer_drop(struct loop_net *net, struct loop_buffer *buffer)
{
	if (buffer == &net->receive) {
		bitmap_free(net->busy);
		kfree(net->ranges);
		net->busy = NULL;
		net->ranges = NULL;
		net->held = 0;
		net->cursor = 0;
	}
	memset(buffer, 0, sizeof(*buffer));
}

int loop_net_receive(struct loop_channel *lc, const u8 *messages, u32 len, u32 n, bool control)
{
	struct loop_net *net = lc->dev->net;
	struct {
		__le16 set;
		u8 sender_owns, reserved;
		__le32 count;
		struct { __le32 len, offset; } range[NET_MAX_RANGES];
		struct nvsp room;
	} __packed body;
	struct nvsp nvsp = { .type = cpu_to_le32(NVSP_SEND_RNDIS_PKT), .word = { cpu_to_le32(control),
			     cpu_to_le32(NVSP_NO_SECTION) } };
	u32 head = offsetof(typeof(body), range) + n * sizeof(body.range[0]), total = head + sizeof(nvsp), i;
	struct loop_buffer *buffer = &net->receive;
	unsigned long first, flags;
	int err = -EAGAIN;

	if (!n || n > NET_MAX_RANGES)
		return -EINVAL;
	spin_lock_irqsave(&net->lock, flags);
	if (!buffer->address || len > buffer->section) {
		err = -EINVAL;
		goto unlock;
	}
	first = bitmap_find_next_zero_area(net->busy, buffer->count, net->cursor, n, 0);
	if (first >= buffer->count)
		first = bitmap_find_next_zero_area(net->busy, buffer->count, 0, n, 0);
	if (first >= buffer->count)
		goto unlock;
	body.set = cpu_to_le16(buffer->id);
	body.sender_owns = 0;
	body.reserved = 0;
	body.count = cpu_to_le32(n);
	for (i = 0; i < n; i++) {
		u32 offset = (first + i) * buffer->section;

		memcpy(buffer->address + offset, messages + i * len, len);
		body.range[i].len = cpu_to_le32(len);
		body.range[i].offset = cpu_to_le32(offset);
	}
	/* The message follows the ranges that there are. */
	memcpy((u8 *)&body + head, &nvsp, sizeof(nvsp));
	spin_lock(&lc->reply_lock);
	err = lc->open ? loop_ring_reply(lc, first + 1, VM_PKT_DATA_USING_XFER_PAGES, &body, total, 2 + (total >> 3),
					 2 + (head >> 3)) : -ENODEV;
	spin_unlock(&lc->reply_lock);
	if (!err) {
		bitmap_set(net->busy, first, n);
		net->ranges[first] = n;
		net->cursor = first + n;
		net->held++;
	}
unlock:
	spin_unlock_irqrestore(&net->lock, flags);
	return err;
}

/* The guest has taken what a packet of ours pointed to. */
static void returned(struct loop_channel *lc, u64 trans_id, const u8 *payload, u32 len)
{
	struct loop_net *net = lc->dev->net;
	u64 first = trans_id - 1;
	unsigned long flags;

	if (len < 8 || get_unaligned_le32(payload) != NVSP_SEND_RNDIS_PKT_COMPLETE) {
		violation(lc, "a completion of %u bytes", len);
		return;
	}
	spin_lock_irqsave(&net->lock, flags);
	if (!net->receive.address) {
		/* It crossed the message that revoked the buffer. */
	} else if (first >= net->receive.count || !net->ranges[first]) {
		violation(lc, "a completion of transaction %llu, which is none", trans_id);
	} else {
		bitmap_clear(net->busy, first, net->ranges[first]);
		net->ranges[first] = 0;
		net->held--;
		if (get_unaligned_le32(payload + 4) != NVSP_SUCCESS)
			net->refused++;
	}
	spin_unlock_irqrestore(&net->lock, flags);
}

void loop_net_taken_back(struct loop_channel *lc, u32 gpadl)
{
	struct loop_net *net = lc->dev->net;
	struct loop_buffer *both[] = { &net->receive, &net->send };
	unsigned long flags;
	int i;

	spin_lock_irqsave(&net->lock, flags);
	for (i = 0; i < ARRAY_SIZE(both); i++) {
		if (!both[i]->address || both[i]->gpadl != gpadl)
			continue;
		/* With the channel, the host lets go of what it was lent. */
		if (lc->open && !lc->ch.rescind)
			violation(lc, "GPADL %u is torn down, which holds a buffer that was not revoked", gpadl);
		buffer_drop(net, both[i]);
	}
	spin_unlock_irqrestore(&net->lock, flags);
}

/* ---- what the guest sends ---- */

/* Answers a packet with a message, or, without one, with nothing but the completion. */
static void complete_with(struct loop_channel *lc, u64 trans_id, const struct nvsp *nvsp)
{
	u32 len = !nvsp ? 0 : lc->dev->net->version >= NVSP_VERSION_61 ? NVSP_MESSAGE_LEN : NVSP_OLD_MESSAGE_LEN;
	u32 words = (sizeof(struct vmpacket_descriptor) + ALIGN(len, 8)) >> 3;
	unsigned long flags;

	spin_lock_irqsave(&lc->reply_lock, flags);
	if (lc->open) {
		lc->replies++;
		/* There was room when the packet was read, and nobody else's answer is as long as that. */
		if (loop_ring_reply(lc, trans_id, VM_PKT_COMP, nvsp, len, words, 2))
			pr_err_ratelimited("hv_loop: no room for the answer to %llu\n", trans_id);
	}
	spin_unlock_irqrestore(&lc->reply_lock, flags);
}

/* Checks the ranges of a GPA direct packet that lie between its header and the message at END. */
static bool parse_ranges(const u8 *pkt, u32 end, struct net_ranges *ranges)
{
	u32 at = offsetof(struct vmdata_gpa_direct, range), i;
	const struct vmdata_gpa_direct *direct = (const void *)pkt;

	ranges->at = pkt + at;
	ranges->bytes = 0;
	if (end < at)
		return false;
	ranges->n = direct->range_cnt;
	for (i = 0; i < ranges->n; i++) {
		const struct gpa_range *range = (const void *)(pkt + at);
		u32 len, pages;

		if (end - at < sizeof(*range))
			return false;
		len = range->byte_count;
		pages = HVPFN_UP((u64)range->byte_offset + len);
		if (!len || len > SZ_1M || range->byte_offset >= PAGE_SIZE ||
		    end - at - sizeof(*range) < pages * sizeof(u64))
			return false;
		ranges->bytes += len;
		at += sizeof(*range) + pages * sizeof(u64);
	}
	return at == end && ranges->n;
}

/* Copies the first LEN bytes that the ranges name. Returns whether there is that much, in pages that there are. */
static bool copy_ranges(const struct net_ranges *ranges, u8 *to, u32 len)
{
	const u8 *at = ranges->at;
	u32 i, page;

	if (len > ranges->bytes)
		return false;
	for (i = 0; i < ranges->n; i++) {
		const struct gpa_range *range = (const void *)at;
		u32 offset = range->byte_offset, left = range->byte_count;

		for (page = 0; left && len; page++) {
			u32 part = min3(left, len, (u32)PAGE_SIZE - offset);

			if (!pfn_valid(range->pfn_array[page]))
				return false;
			memcpy(to, page_address(pfn_to_page(range->pfn_array[page])) + offset, part);
			to += part;
			len -= part;
			left -= part;
			offset = 0;
		}
		if (!len)
			break;
		at += sizeof(*range) + HVPFN_UP((u64)range->byte_offset + range->byte_count) * sizeof(u64);
	}
	return !len;
}

/* Counts the frames of a packet: messages in the section, the last of which may go on in the ranges. */
static bool count_frames(struct loop_channel *lc, const u8 *section, u32 size, const struct net_ranges *ranges)
{
	u32 at = 0, whole = size + ranges->bytes;
	struct rndis_packet head;

	do {
		if (at + sizeof(head) <= size)
			memcpy(&head, section + at, sizeof(head));
		else if (size || !copy_ranges(ranges, (u8 *)&head, sizeof(head)))
			return false;
		if (le32_to_cpu(head.type) != RNDIS_PACKET || le32_to_cpu(head.len) > whole - at ||
		    (u64)8 + le32_to_cpu(head.data_offset) + le32_to_cpu(head.data_len) > le32_to_cpu(head.len) ||
		    le32_to_cpu(head.data_offset) < sizeof(head) - 8 || le32_to_cpu(head.data_len) < ETH_HLEN)
			return false;
		at += le32_to_cpu(head.len);
		lc->frames++;
		lc->bytes += le32_to_cpu(head.data_len);
	} while (at < size);
	return at == whole;
}

static void rndis(struct loop_channel *lc, u64 trans_id, const struct nvsp *nvsp, const struct net_ranges *ranges)
{
	static const struct nvsp done = { .type = cpu_to_le32(NVSP_SEND_RNDIS_PKT_COMPLETE),
					  .word = { cpu_to_le32(NVSP_SUCCESS) } };
	u32 control = le32_to_cpu(nvsp->word[0]), section = le32_to_cpu(nvsp->word[1]), size = le32_to_cpu(nvsp->word[2]);
	struct loop_net *net = lc->dev->net;
	const u8 *from = NULL;

	if (section == NVSP_NO_SECTION)
		size = 0;
	else if (net->send.address && section < net->send.count && size <= net->send.section)
		from = net->send.address + section * net->send.section;
	if (section != NVSP_NO_SECTION && !from) {
		violation(lc, "%u bytes in section %u of %u", size, section, net->send.count);
		return;
	}
	if (!control) {
		lc->requests++;
		if (!count_frames(lc, from, size, ranges))
			violation(lc, "a packet of %u bytes in a section and %u elsewhere that is none", size, ranges->bytes);
		complete_with(lc, trans_id, &done);
		return;
	}
	if (size + ranges->bytes > sizeof(net->message) || size + ranges->bytes < 12 || lc->index) {
		violation(lc, "a control message of %u bytes on channel %u", size + ranges->bytes, lc->index);
		return;
	}
	memset(net->message, 0, sizeof(net->message));
	if (size)
		memcpy(net->message, from, size);
	if (!copy_ranges(ranges, net->message + size, ranges->bytes))
		violation(lc, "a control message in pages that there are not");
	complete_with(lc, trans_id, &done);
	loop_net_control(lc, size + ranges->bytes);
}

/* ---- NVSP ---- */

static u32 take_buffer(struct loop_channel *lc, struct loop_buffer *buffer, const struct nvsp *nvsp, u32 section)
{
	struct loop_net *net = lc->dev->net;
	u32 size = 0, gpadl = le32_to_cpu(nvsp->word[0]), count;
	u8 *address = loop_gpadl_find(lc->dev, gpadl, &size);
	unsigned long *busy = NULL, flags;
	u16 *ranges = NULL;

	count = size / section;
	if (!address || !count || buffer->address || !net->ready) {
		violation(lc, "a buffer of %u bytes with GPADL %u", size, gpadl);
		return NVSP_FAIL;
	}
	if (buffer == &net->receive) {
		busy = bitmap_zalloc(count, GFP_ATOMIC);
		ranges = kcalloc(count, sizeof(*ranges), GFP_ATOMIC);
		if (!busy || !ranges) {
			bitmap_free(busy);
			kfree(ranges);
			return NVSP_FAIL;
		}
	}
	spin_lock_irqsave(&net->lock, flags);
	if (buffer == &net->receive) {
		net->busy = busy;
		net->ranges = ranges;
	}
	buffer->gpadl = gpadl;
	buffer->section = section;
	buffer->count = count;
	buffer->id = le32_to_cpu(nvsp->word[1]) & 0xffff;
	buffer->address = address;
	spin_unlock_irqrestore(&net->lock, flags);
	return NVSP_SUCCESS;
}

static void revoke(struct loop_channel *lc, struct loop_buffer *buffer, u16 id)
{
	struct loop_net *net = lc->dev->net;
	unsigned long flags;

	spin_lock_irqsave(&net->lock, flags);
	if (!buffer->address || buffer->id != id)
		violation(lc, "buffer %#x is revoked, which is none", id);
	else
		buffer_drop(net, buffer);
	spin_unlock_irqrestore(&net->lock, flags);
}

/* Works on a message of the primary channel. Returns whether ANSWER is to be sent. */
static bool work_on(struct loop_channel *lc, u32 type, const struct nvsp *nvsp, struct nvsp *answer)
{
	struct loop_dev *dev = lc->dev;
	struct loop_net *net = dev->net;
	u32 version = le32_to_cpu(nvsp->word[0]), n;

	switch (type) {
	case NVSP_INIT:
		answer->type = cpu_to_le32(NVSP_INIT_COMPLETE);
		answer->word[1] = cpu_to_le32(34);
		if (net->version || version > loop_net_version) {
			answer->word[2] = cpu_to_le32(NVSP_FAIL);
			return true;
		}
		net->version = version;
		net->configured = version < NVSP_VERSION_2;
		answer->word[2] = cpu_to_le32(NVSP_SUCCESS);
		return true;
	case NVSP_SEND_NDIS_CONFIG:
		if (!net->version || net->configured)
			violation(lc, "SEND_NDIS_CONFIG at a wrong time");
		net->frame = le32_to_cpu(nvsp->word[0]);
		net->configured = true;
		return false;
	case NVSP_SEND_NDIS_VER:
		if (!net->configured || net->ready)
			violation(lc, "SEND_NDIS_VER at a wrong time");
		net->ready = true;
		return false;
	case NVSP_SEND_RECV_BUF:
		answer->type = cpu_to_le32(NVSP_SEND_RECV_BUF_COMPLETE);
		n = ALIGN(net->frame + NET_HEADROOM, 16);
		answer->word[0] = cpu_to_le32(take_buffer(lc, &net->receive, nvsp, n));
		answer->word[1] = cpu_to_le32(1);
		answer->word[3] = cpu_to_le32(n);
		answer->word[4] = cpu_to_le32(net->receive.count);
		answer->word[5] = cpu_to_le32(n * net->receive.count);
		return true;
	case NVSP_SEND_SEND_BUF:
		answer->type = cpu_to_le32(NVSP_SEND_SEND_BUF_COMPLETE);
		answer->word[0] = cpu_to_le32(take_buffer(lc, &net->send, nvsp, NET_SEND_SECTION));
		answer->word[1] = cpu_to_le32(NET_SEND_SECTION);
		return true;
	case NVSP_REVOKE_RECV_BUF:
		revoke(lc, &net->receive, le32_to_cpu(nvsp->word[0]));
		return false;
	case NVSP_REVOKE_SEND_BUF:
		revoke(lc, &net->send, le32_to_cpu(nvsp->word[0]));
		return false;
	case NVSP_SUBCHANNEL:
		n = le32_to_cpu(nvsp->word[1]);
		if (net->version < NVSP_VERSION_5 || le32_to_cpu(nvsp->word[0]) != 1 || n > loop_max_subchannels)
			violation(lc, "%u sub-channels asked for, %u granted", n, loop_max_subchannels);
		n = min(n, loop_max_subchannels);
		answer->type = cpu_to_le32(NVSP_SUBCHANNEL);
		answer->word[0] = cpu_to_le32(NVSP_SUCCESS);
		answer->word[1] = cpu_to_le32(n);
		dev->sub_channels_wanted = n;
		schedule_work(&dev->offer_work);
		return true;
	}
	violation(lc, "message %u", type);
	return false;
}

void loop_net_packet(struct loop_channel *lc, u8 *pkt, u32 len)
{
	struct vmpacket_descriptor *desc = (struct vmpacket_descriptor *)pkt;
	u32 offset = desc->offset8 << 3, type;
	bool wants = desc->flags & VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED;
	struct net_ranges ranges = { };
	struct nvsp nvsp = { }, answer = { };

	if (offset < sizeof(*desc) || offset > len || len - offset < 8) {
		violation(lc, "packet of %u bytes with data at %u", len, offset);
		return;
	}
	if (desc->type == VM_PKT_COMP) {
		returned(lc, desc->trans_id, pkt + offset, len - offset);
		return;
	}
	memcpy(&nvsp, pkt + offset, min_t(u32, sizeof(nvsp), len - offset));
	type = le32_to_cpu(nvsp.type);
	if (wants && !desc->trans_id) {
		violation(lc, "message %u wants a completion and has no id", type);
		return;
	}
	if (desc->type == VM_PKT_DATA_USING_GPA_DIRECT) {
		if (!parse_ranges(pkt, offset, &ranges)) {
			violation(lc, "GPA direct packet with wrong ranges, data at %u", offset);
			return;
		}
	} else if (desc->type != VM_PKT_DATA_INBAND) {
		violation(lc, "packet type %u", desc->type);
		return;
	}
	if (type == NVSP_SEND_RNDIS_PKT && wants)
		rndis(lc, desc->trans_id, &nvsp, &ranges);
	else if (lc->index || ranges.n)
		violation(lc, "message %u on channel %u, %u ranges", type, lc->index, ranges.n);
	else if (type == NVSP_SWITCH_DATA_PATH)
		complete_with(lc, desc->trans_id, NULL);
	else if (work_on(lc, type, &nvsp, &answer) && wants)
		complete_with(lc, desc->trans_id, &answer);
}

/* ---- life ---- */

/* The channel is closed: the host has let go of everything. */
void loop_net_closed(struct loop_dev *dev)
{
	struct loop_net *net = dev->net;
	unsigned long flags;

	spin_lock_irqsave(&net->lock, flags);
	buffer_drop(net, &net->receive);
	buffer_drop(net, &net->send);
	net->version = 0;
	net->configured = false;
	net->ready = false;
	net->rndis = false;
	net->frame = ETH_FRAME_LEN;
	net->filter = 0;
	spin_unlock_irqrestore(&net->lock, flags);
}

int loop_net_init(struct loop_dev *dev)
{
	dev->net = kzalloc_obj(*dev->net);
	if (!dev->net)
		return -ENOMEM;
	spin_lock_init(&dev->net->lock);
	dev->net->frame = ETH_FRAME_LEN;
	/* Microsoft's, as hosts make them. */
	memcpy(dev->net->mac, (u8[]){ 0x00, 0x15, 0x5d, 0x01, 0x00, dev->number }, ETH_ALEN);
	return 0;
}

void loop_net_exit(struct loop_dev *dev)
{
	if (!dev->net)
		return;
	loop_net_closed(dev);
	kfree(dev->net);
}
