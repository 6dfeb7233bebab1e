/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/vmbus/hv_vss: file systems are frozen and thawed on request of the host. See Documentation/char-devices.md.
 *
 * The same bytes as struct hv_vss_msg of <linux/hyperv.h>; a program written for that needs no change.
 */
#ifndef RLIS_UAPI_HV_VSS_H
#define RLIS_UAPI_HV_VSS_H

#include <linux/types.h>

#define RLIS_VSS_DEVICE			"/dev/vmbus/hv_vss"

/* rlis_vss_msg.operation */
#define RLIS_VSS_OP_HOT_BACKUP		2	/* can this machine be backed up while it runs? */
#define RLIS_VSS_OP_FREEZE		5
#define RLIS_VSS_OP_THAW		6
#define RLIS_VSS_OP_REGISTER_LEGACY	128	/* not answered */
#define RLIS_VSS_OP_REGISTER		129	/* answered with four bytes: this number as __u32 */

/* rlis_vss_msg.error: the daemon's answer, a Windows HRESULT. */
#define RLIS_VSS_OK			0x00000000
#define RLIS_VSS_FAILED			0x80004005

struct rlis_vss_msg {
	union {
		struct {
			__u8	operation;
			__u8	zero[7];
		} __attribute__((packed)) request;	/* to the daemon, and in registrations */
		__u32	error;				/* in the daemon's answers */
	};
	__u32	flags;					/* not used by daemons */
} __attribute__((packed));

#endif /* RLIS_UAPI_HV_VSS_H */
