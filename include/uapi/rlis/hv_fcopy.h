/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/vmbus/hv_fcopy: files that the host copies into the guest. See Documentation/char-devices.md.
 *
 * The same bytes as the structs of <linux/hyperv.h> and of hv_fcopy_daemon up to Linux 6.9.
 */
#ifndef RLIS_UAPI_HV_FCOPY_H
#define RLIS_UAPI_HV_FCOPY_H

#include <linux/types.h>

#define RLIS_FCOPY_DEVICE		"/dev/vmbus/hv_fcopy"

/* A daemon registers by writing one of these as __u32; the second is answered with the same four bytes. */
#define RLIS_FCOPY_REGISTER_LEGACY	0
#define RLIS_FCOPY_REGISTER		1

/* rlis_fcopy_header.operation */
#define RLIS_FCOPY_START		0	/* struct rlis_fcopy_start: create the file */
#define RLIS_FCOPY_WRITE		1	/* struct rlis_fcopy_write: write a fragment */
#define RLIS_FCOPY_COMPLETE		2	/* struct rlis_fcopy_header: close the file */
#define RLIS_FCOPY_CANCEL		3	/* struct rlis_fcopy_header: remove it */

/* rlis_fcopy_start.copy_flags */
#define RLIS_FCOPY_OVERWRITE		0x1
#define RLIS_FCOPY_CREATE_PATH		0x2

/* The daemon answers every operation with a __u32, a Windows HRESULT. */
#define RLIS_FCOPY_OK			0x00000000
#define RLIS_FCOPY_FAILED		0x80004005
#define RLIS_FCOPY_EXISTS		0x80070050
#define RLIS_FCOPY_DISK_FULL		0x80070070

struct rlis_fcopy_header {
	__u32	operation;
	__u8	unused[32];
} __attribute__((packed));

/* 1088 bytes; names are UTF-8 and end with a NUL. */
struct rlis_fcopy_start {
	struct rlis_fcopy_header header;
	__u8	file_name[520];
	__u8	path_name[520];
	__u32	copy_flags;
	__u64	file_size;
} __attribute__((packed));

/* 6196 bytes, whatever the fragment's size is. */
struct rlis_fcopy_write {
	struct rlis_fcopy_header header;
	__u32	pad;
	__u64	offset;
	__u32	size;
	__u8	data[6144];
} __attribute__((packed));

#endif /* RLIS_UAPI_HV_FCOPY_H */
