/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The network host: NVSP and RNDIS as it speaks them, see Documentation/protocol.md and rust/proto/{nvsp,rndis}.
 */
#ifndef HV_LOOP_NETVSP_H
#define HV_LOOP_NETVSP_H

#include <linux/etherdevice.h>

#include "hv_loop.h"

enum {
	NVSP_INIT = 1,
	NVSP_INIT_COMPLETE = 2,
	NVSP_SEND_NDIS_VER = 100,
	NVSP_SEND_RECV_BUF = 101,
	NVSP_SEND_RECV_BUF_COMPLETE = 102,
	NVSP_REVOKE_RECV_BUF = 103,
	NVSP_SEND_SEND_BUF = 104,
	NVSP_SEND_SEND_BUF_COMPLETE = 105,
	NVSP_REVOKE_SEND_BUF = 106,
	NVSP_SEND_RNDIS_PKT = 107,
	NVSP_SEND_RNDIS_PKT_COMPLETE = 108,
	NVSP_SEND_NDIS_CONFIG = 125,
	NVSP_SWITCH_DATA_PATH = 129,
	NVSP_SUBCHANNEL = 133,
};

enum { NVSP_SUCCESS = 1, NVSP_FAIL = 2 };

#define NVSP_NO_SECTION		0xffffffff
/* From version 6.1 on; 28 bytes before. */
#define NVSP_MESSAGE_LEN	40
#define NVSP_OLD_MESSAGE_LEN	28
#define NVSP_VERSION_2		0x30002
#define NVSP_VERSION_5		0x50000
#define NVSP_VERSION_61		0x60001

/* A message: its type, and up to nine words that it is made of. */
struct nvsp {
	__le32 type;
	__le32 word[9];
} __packed;

static_assert(sizeof(struct nvsp) == NVSP_MESSAGE_LEN);

enum {
	RNDIS_PACKET = 1,
	RNDIS_INITIALIZE = 2,
	RNDIS_HALT = 3,
	RNDIS_QUERY = 4,
	RNDIS_SET = 5,
	RNDIS_KEEPALIVE = 8,
	RNDIS_COMPLETE = 0x80000000,
	RNDIS_NOT_SUPPORTED = 0xc00000bb,
};

/* A packet message: the frame, and information about it between this and the frame. Offsets count from byte 8. */
struct rndis_packet {
	__le32 type, len;
	__le32 data_offset, data_len;
	__le32 oob_offset, oob_len, oob_count;
	__le32 info_offset, info_len;
	__le32 reserved[2];
} __packed;

/* One piece of information of a packet, of a single word. */
struct rndis_info {
	__le32 size, type, offset;
	__le32 value;
} __packed;

#define RNDIS_INFO_INTERNAL	BIT(31)

enum { RNDIS_INFO_CHECKSUM = 0, RNDIS_INFO_HASH_VALUE = 8, RNDIS_INFO_HASH = 9, RNDIS_INFO_PACKET_ID = 1 };

/* Bytes of the headers in a section, as on Hyper-V: a frame of 1514 bytes makes sections of 1728. */
#define NET_HEADROOM		214
#define NET_SEND_SECTION	6144
#define NET_MAX_RANGES		64
#define NET_CONTROL_MAX		4096

/* A buffer that the guest lent, and how the host has cut it. */
struct loop_buffer {
	u8 *address;
	u32 gpadl, section, count;
	u16 id;
};

struct loop_net {
	spinlock_t lock;		/* all of this, but what is the primary channel's alone */
	u32 version;			/* 0: none yet */
	bool configured, ready, rndis;
	u32 frame;			/* bytes of the longest frame */
	u32 filter;
	u8 mac[ETH_ALEN];
	struct loop_buffer receive, send;
	unsigned long *busy;		/* sections of the receive buffer that the guest has */
	u16 *ranges;			/* how many a transaction has, by its first section */
	u32 cursor;
	u32 held;			/* transactions that the guest has not completed */
	u64 refused;			/* completed with a failure */
	u8 message[NET_CONTROL_MAX];	/* a control message that is being worked on, and the answer */
};

/* What the host sends in one packet: N messages of LEN bytes, that of each in front of the next. */
int loop_net_receive(struct loop_channel *lc, const u8 *messages, u32 len, u32 n, bool control);

#endif
