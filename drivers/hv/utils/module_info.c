// SPDX-License-Identifier: GPL-2.0
/*
 * What module! cannot say, and the proof that our user space headers describe the same bytes as the kernel's.
 */

#include <linux/build_bug.h>
#include <linux/hyperv.h>
#include <linux/module.h>
#include <linux/stddef.h>

#include "../../../include/uapi/rlis/hv_fcopy.h"
#include "../../../include/uapi/rlis/hv_kvp.h"
#include "../../../include/uapi/rlis/hv_vss.h"

MODULE_VERSION(RLIS_VERSION);

/* One of ours, and the kernel's of the same meaning. */
#define SAME(a, b) static_assert((a) == (b))

SAME(sizeof(struct rlis_kvp_msg), sizeof(struct hv_kvp_msg));
SAME(offsetof(struct rlis_kvp_msg, get.value), offsetof(struct hv_kvp_msg, body.kvp_get.data.value));
SAME(offsetof(struct rlis_kvp_msg, enumerate.pair), offsetof(struct hv_kvp_msg, body.kvp_enum_data.data));
SAME(offsetof(struct rlis_kvp_msg, delete_key.key), offsetof(struct hv_kvp_msg, body.kvp_delete.key));
SAME(offsetof(struct rlis_kvp_msg, ip.dhcp), offsetof(struct hv_kvp_msg, body.kvp_ip_val.dhcp_enabled));
SAME(offsetof(struct rlis_kvp_msg, ip.name_servers), offsetof(struct hv_kvp_msg, body.kvp_ip_val.dns_addr));
SAME(sizeof(struct rlis_kvp_ip), sizeof(struct hv_kvp_ipaddr_value));
SAME(RLIS_KVP_OP_REGISTER, KVP_OP_REGISTER1);
SAME(RLIS_KVP_NO_MORE, HV_S_CONT);

SAME(sizeof(struct rlis_vss_msg), sizeof(struct hv_vss_msg));
SAME(RLIS_VSS_OP_THAW, VSS_OP_THAW);
SAME(RLIS_VSS_OP_REGISTER, VSS_OP_REGISTER1);

SAME(sizeof(struct rlis_fcopy_start), sizeof(struct hv_start_fcopy));
SAME(offsetof(struct rlis_fcopy_start, copy_flags), offsetof(struct hv_start_fcopy, copy_flags));
SAME(sizeof(struct rlis_fcopy_write), sizeof(struct hv_do_fcopy));
SAME(offsetof(struct rlis_fcopy_write, data), offsetof(struct hv_do_fcopy, data));
