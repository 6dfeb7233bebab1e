/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/vmbus/hv_kvp: key-value pairs and IP settings, exchanged between the host and a daemon.
 * Every read and every write is one struct rlis_kvp_msg. See Documentation/char-devices.md.
 *
 * The same bytes as struct hv_kvp_msg of <linux/hyperv.h>; a program written for that needs no change.
 */
#ifndef RLIS_UAPI_HV_KVP_H
#define RLIS_UAPI_HV_KVP_H

#include <linux/types.h>

#define RLIS_KVP_DEVICE			"/dev/vmbus/hv_kvp"

/* rlis_kvp_header.operation: what the host wants, or a registration. */
#define RLIS_KVP_OP_GET			0
#define RLIS_KVP_OP_SET			1
#define RLIS_KVP_OP_DELETE		2
#define RLIS_KVP_OP_ENUMERATE		3
#define RLIS_KVP_OP_GET_IP_INFO		4
#define RLIS_KVP_OP_SET_IP_INFO		5
/* Registration of a daemon without IP settings; has the value of GET_IP_INFO and is told apart by its place. */
#define RLIS_KVP_OP_REGISTER_LEGACY	4
#define RLIS_KVP_OP_REGISTER		100

/* rlis_kvp_header.pool */
#define RLIS_KVP_POOL_EXTERNAL		0
#define RLIS_KVP_POOL_GUEST		1
#define RLIS_KVP_POOL_AUTO		2
#define RLIS_KVP_POOL_AUTO_EXTERNAL	3
#define RLIS_KVP_POOL_AUTO_INTERNAL	4

/* rlis_kvp_pair.value_type; daemons see text only. */
#define RLIS_KVP_TYPE_TEXT		1

/* rlis_kvp_msg.error: the daemon's answer, a Windows HRESULT. */
#define RLIS_KVP_OK			0x00000000
#define RLIS_KVP_NO_MORE		0x80070103	/* no such key, or no pair of this index */
#define RLIS_KVP_FAILED			0x80004005
#define RLIS_KVP_NOT_SUPPORTED		0x80070032
#define RLIS_KVP_BAD_ARGUMENT		0x80070057
#define RLIS_KVP_NO_ADAPTER		0x80041002

#define RLIS_KVP_KEY_SIZE		512
#define RLIS_KVP_VALUE_SIZE		2048

/* Text is UTF-8 and ends with a NUL; the sizes count it. */
struct rlis_kvp_header {
	__u8	operation;
	__u8	pool;
	__u16	zero;
} __attribute__((packed));

struct rlis_kvp_pair {
	__u32	value_type;
	__u32	key_size;
	__u32	value_size;
	__u8	key[RLIS_KVP_KEY_SIZE];
	__u8	value[RLIS_KVP_VALUE_SIZE];
} __attribute__((packed));

struct rlis_kvp_enumerate {
	__u32	index;
	struct rlis_kvp_pair pair;
} __attribute__((packed));

struct rlis_kvp_delete {
	__u32	key_size;
	__u8	key[RLIS_KVP_KEY_SIZE];
} __attribute__((packed));

struct rlis_kvp_ip {
	__u8	adapter[256];		/* {GUID} of the device, or MAC address */
	__u8	address_family;		/* bit 0: IPv4, bit 1: IPv6 */
	__u8	dhcp;
	__u8	addresses[2048];	/* separated by semicolons, as all that follow */
	__u8	netmasks[2048];
	__u8	gateways[1024];
	__u8	name_servers[2048];
} __attribute__((packed));

struct rlis_kvp_msg {
	union {
		struct rlis_kvp_header header;	/* to the daemon, and in registrations */
		__u32 error;			/* in the daemon's answers */
	};
	union {
		struct rlis_kvp_pair get;	/* GET: key filled in; SET: key and value */
		struct rlis_kvp_pair set;
		struct rlis_kvp_enumerate enumerate;
		struct rlis_kvp_delete delete_key;
		struct rlis_kvp_ip ip;
		__u8 version[512];		/* answer to a registration: "3.1" */
		__u8 size[7428];
	};
} __attribute__((packed));

#endif /* RLIS_UAPI_HV_KVP_H */
