// SPDX-License-Identifier: GPL-2.0
/*
 * RNDIS control messages of the network host: what it says of its cards, and the settings that it takes.
 */
#include <linux/module.h>
#include <linux/unaligned.h>

#include "netvsp.h"

enum {
	OID_MAXIMUM_FRAME_SIZE = 0x00010106,
	OID_LINK_SPEED = 0x00010107,
	OID_PACKET_FILTER = 0x0001010e,
	OID_MEDIA_STATUS = 0x00010114,
	OID_RSS_CAPABILITIES = 0x00010203,
	OID_RSS_PARAMETERS = 0x00010204,
	OID_CONFIG_PARAMETER = 0x0001021b,
	OID_FRIENDLY_NAME = 0x00020216,
	OID_PERMANENT_ADDRESS = 0x01010101,
	OID_OFFLOAD_PARAMETERS = 0xfc01020c,
	OID_OFFLOAD_CAPABILITIES = 0xfc01020d,
};

/* Places in struct ndis_offload: checksums, large sends (version 2), coalescing; see rust/proto/rndis/offload.rs. */
enum { CSUM = 4, LSO = 80, RSC = 144, OFFLOAD_MAX = 156 };

static void put(u8 *at, u32 word)
{
	put_unaligned_le32(word, at);
}

/* Everything that drivers make use of. SIZE: how much of it the driver knows. */
static u32 offload(u8 *value, u32 size)
{
	u8 all[OFFLOAD_MAX] = { 0xa7, 3 };
	int family;

	size = min_t(u32, size, sizeof(all));
	put_unaligned_le16(size, all + 2);
	for (family = 0; family < 2; family++) {
		u32 tcp = family ? 0x15 : 0x14, header = family ? 0 : 0x100;

		put(all + CSUM + 16 * family, 2);
		put(all + CSUM + 16 * family + 4, tcp | 0x40);
		put(all + CSUM + 16 * family + 8, 2);
		put(all + CSUM + 16 * family + 12, tcp | 0x40 | header);
		put(all + LSO + 12 * family, 2);
		put(all + LSO + 12 * family + 4, loop_net_lso);
		put(all + LSO + 12 * family + 8, 2);
		all[RSC + family] = 1;
	}
	put(all + LSO + 24, 5);
	memcpy(value, all, size);
	return size;
}

/* The answer to a question; its length, or a negative one if the card does not know it. */
static int query(struct loop_dev *dev, u32 oid, u8 *value, u32 given)
{
	struct loop_net *net = dev->net;

	switch (oid) {
	case OID_MAXIMUM_FRAME_SIZE:
		put(value, net->frame - ETH_HLEN);
		return 4;
	case OID_LINK_SPEED:
		put(value, 100000000);	/* 10 Gbit/s, in units of 100 bit/s */
		return 4;
	case OID_PACKET_FILTER:
		put(value, net->filter);
		return 4;
	case OID_MEDIA_STATUS:
		put(value, 0);
		return 4;
	case OID_PERMANENT_ADDRESS:
		memcpy(value, net->mac, ETH_ALEN);
		return ETH_ALEN;
	case OID_FRIENDLY_NAME:
		memcpy(value, u"loop", 8);
		return 8;
	case OID_OFFLOAD_CAPABILITIES:
		return offload(value, given);
	case OID_RSS_CAPABILITIES:
		memset(value, 0, 18);
		value[0] = 0x88;
		value[1] = 2;
		value[2] = 18;
		put(value + 12, loop_max_subchannels + 1);
		put_unaligned_le16(loop_max_subchannels ? 128 : 0, value + 16);
		return 18;
	}
	return -1;
}

static bool set(struct loop_dev *dev, u32 oid, const u8 *value, u32 len)
{
	switch (oid) {
	case OID_PACKET_FILTER:
		dev->net->filter = len >= 4 ? get_unaligned_le32(value) : 0;
		return true;
	case OID_CONFIG_PARAMETER:
	case OID_OFFLOAD_PARAMETERS:
	case OID_RSS_PARAMETERS:
		return true;
	}
	return false;
}

static void send_answer(struct loop_channel *lc, u32 type, u32 len)
{
	u8 *m = lc->dev->net->message;

	put(m, type | RNDIS_COMPLETE);
	put(m + 4, len);
	if (loop_net_receive(lc, m, len, 1, true))
		pr_err_ratelimited("hv_loop: no room for an answer to RNDIS message %u\n", type);
}

/* Works on the control message of LEN bytes in net->message, and answers there. */
void loop_net_control(struct loop_channel *lc, u32 len)
{
	struct loop_dev *dev = lc->dev;
	u8 *m = dev->net->message;
	u32 type = get_unaligned_le32(m), oid = get_unaligned_le32(m + 12);
	u32 size = get_unaligned_le32(m + 16), offset = get_unaligned_le32(m + 20);
	int n;

	if (get_unaligned_le32(m + 4) > len || (type != RNDIS_INITIALIZE && !dev->net->rndis)) {
		violation(lc, "RNDIS message %u of %u bytes, %u are there, initialised %d", type,
			  get_unaligned_le32(m + 4), len, dev->net->rndis);
		return;
	}
	if ((type == RNDIS_QUERY || type == RNDIS_SET) && ((u64)8 + offset + size > len || len < 28)) {
		violation(lc, "RNDIS message %u of %u bytes with %u bytes at %u", type, len, size, offset);
		return;
	}
	switch (type) {
	case RNDIS_INITIALIZE:
		dev->net->rndis = true;
		memset(m + 12, 0, 40);
		put(m + 16, 1);			/* version 1.0 */
		put(m + 24, 1);			/* connectionless */
		put(m + 32, 8);			/* frames in a packet */
		put(m + 36, NET_SEND_SECTION);
		put(m + 40, 3);			/* which begin at multiples of 8 */
		send_answer(lc, type, 52);
		break;
	case RNDIS_HALT:
		dev->net->rndis = false;
		dev->net->filter = 0;
		break;
	case RNDIS_QUERY:
		n = query(dev, oid, m + 24, size);
		put(m + 12, n < 0 ? RNDIS_NOT_SUPPORTED : 0);
		put(m + 16, max(n, 0));
		put(m + 20, 16);
		send_answer(lc, type, 24 + max(n, 0));
		break;
	case RNDIS_SET:
		put(m + 12, set(dev, oid, m + 8 + offset, size) ? 0 : RNDIS_NOT_SUPPORTED);
		send_answer(lc, type, 16);
		break;
	case RNDIS_KEEPALIVE:
		put(m + 12, 0);
		send_answer(lc, type, 16);
		break;
	default:
		/* Answers to what the host has never asked, among others. */
		violation(lc, "RNDIS message %#x", type);
	}
}
