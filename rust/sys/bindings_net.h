/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for the crate rlis_sys_net.
 */

/* First: an enum in it is forward-declared elsewhere, which bindgen would turn into two types. */
#include <linux/hrtimer_types.h>

#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#ifdef RLIS_HAVE_NETDEV_STAT_OPS
#include <net/netdev_queues.h>
#endif
#include <net/page_pool/helpers.h>
#include <net/page_pool/types.h>

#include "helpers_net.h"
