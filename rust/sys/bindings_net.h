/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for the crate rlis_sys_net.
 */

/* First: an enum in it is forward-declared elsewhere, which bindgen would turn into two types. */
#if __has_include(<linux/hrtimer_types.h>)
#include <linux/hrtimer_types.h>
#else
#include <linux/hrtimer.h>
#endif

#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#ifdef RLIS_HAVE_NETDEV_STAT_OPS
#include <net/netdev_queues.h>
#endif
#if __has_include(<net/page_pool/helpers.h>)
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif

#include "helpers_net.h"
