/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers_net.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_NET_H
#define RLIS_SYS_HELPERS_NET_H

#include <linux/if_ether.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#if __has_include(<net/page_pool/helpers.h>)
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif

#include "helpers_net_xdp.h"

#ifndef RLIS_SAFE
#define RLIS_SAFE
#endif

/* What a frame to be sent has beside its bytes. */
struct rlis_net_tx {
	/* Bytes in front of the TCP or UDP header, if @protocol says that there is one to be worked on. */
	u32 transport;
	/* Of the flow; 0 if it has none. */
	u32 hash;
	/* Bytes of data in a segment, if the frame is to be cut; else 0. */
	u16 mss;
	/* Tag control information, if @has_vlan. */
	u16 vlan;
	/* IPPROTO_TCP or IPPROTO_UDP, or 0. */
	u8 protocol;
	bool ipv6;
	bool has_vlan;
	/* Somebody has to fill in the checksum. */
	bool partial;
};

/* Bytes that follow each other in physical memory. */
struct rlis_net_range {
	u64 pfn;
	/* In the lower half how many, above it where in that page. */
	u64 described;
};

/* Describes bytes that follow each other. Offsets of fragments may exceed a page where one lies in a compound page. */
static __always_inline void describe_range(struct rlis_net_range *range, u64 pfn, unsigned int offset,
					   unsigned int len)
{
	range->pfn = pfn + (offset >> PAGE_SHIFT);
	range->described = (u64)offset_in_page(offset) << 32 | len;
}

/* How many words describe where a frame lies, and how many ranges. */
struct rlis_net_pages {
	u32 words;
	u32 ranges;
};

void rlis_helper_net_set_parent(struct net_device *dev, void *parent);
void rlis_helper_net_set_address(struct net_device *dev, const u8 *address);
bool rlis_helper_net_is_registered(const struct net_device *dev);
bool rlis_helper_net_has_carrier(const struct net_device *dev);
bool rlis_helper_net_has_multicast(struct net_device *dev);
void rlis_helper_net_tx_lock(struct netdev_queue *queue);
void rlis_helper_net_tx_unlock(struct netdev_queue *queue);
void rlis_helper_net_tx_disable(struct net_device *dev);
void rlis_helper_net_tx_wake_all(struct net_device *dev);
void rlis_helper_net_tx_stop(struct netdev_queue *queue);
void rlis_helper_net_tx_start(struct netdev_queue *queue);
bool rlis_helper_net_tx_is_stopped(const struct netdev_queue *queue);

void rlis_helper_net_napi_add(struct net_device *dev, struct napi_struct *napi,
			      int (*poll)(struct napi_struct *napi, int budget));
void rlis_helper_net_napi_schedule(struct napi_struct *napi);
void rlis_helper_net_napi_del(struct napi_struct *napi);
void rlis_helper_net_napi_receive(struct napi_struct *napi, struct sk_buff *skb, struct net_device *dev,
				  u16 queue);
struct sk_buff *rlis_helper_net_copy_frame(struct napi_struct *napi, const void *from, u32 len);

void rlis_helper_net_free_skb(struct sk_buff *skb);
bool rlis_helper_net_linearize(struct sk_buff *skb);
void rlis_helper_net_set_checksum_good(struct sk_buff *skb);
void rlis_helper_net_receive(struct sk_buff *skb, struct net_device *dev);
void rlis_helper_net_tx_timestamp(struct sk_buff *skb);
struct rlis_net_pages rlis_helper_net_pages(const struct sk_buff *skb, u64 *words, u32 room, u32 most);
void rlis_helper_net_add_rx_frag(struct sk_buff *skb, int index, struct page *page, int offset,
				 int len, unsigned int truesize);
void rlis_helper_net_mark_for_recycle(struct sk_buff *skb);
void rlis_helper_net_set_vlan(struct sk_buff *skb, u16 tci);
void rlis_helper_net_set_hash(struct sk_buff *skb, u32 hash, bool l4);
void rlis_helper_net_describe_tx(const struct sk_buff *skb, struct rlis_net_tx *tx);
int rlis_helper_net_prepare_lso(struct sk_buff *skb);
netdev_features_t rlis_helper_net_features_check(struct sk_buff *skb, struct net_device *dev,
						 netdev_features_t features);
u32 rlis_helper_net_flow_hash(struct sk_buff *skb);
u32 rlis_helper_net_flow_hash_of(struct sk_buff *skb, u32 ports);
void rlis_helper_net_consume_skb(struct sk_buff *skb);
bool rlis_helper_net_xmit_more(void);
bool rlis_helper_net_bql_sent(struct netdev_queue *queue, u32 bytes);
void rlis_helper_net_test_xmit(struct sk_buff *skb, struct net_device *dev, u16 index, bool more);
void rlis_helper_net_bql_completed(struct netdev_queue *queue, u32 packets, u32 bytes);
void rlis_helper_net_bql_reset(struct netdev_queue *queue);
bool rlis_helper_net_rxfh_is_configured(const struct net_device *dev);
void rlis_helper_net_grow_frag(struct sk_buff *skb, int index, u32 len);
void rlis_helper_net_fix_ip_checksum(struct sk_buff *skb);

/* What the host and the driver know a virtual function by. */
struct rlis_net_function {
	/* The name of its PCI slot, a number in decimal. */
	u32 serial;
	u8 permanent[ETH_ALEN];
	u8 address[ETH_ALEN];
};

void rlis_helper_net_count_lower(struct net_device *dev);
void rlis_helper_net_fetch_lower(const struct net_device *dev, struct rtnl_link_stats64 *sum);
void rlis_helper_net_fetch_lower_of_cpu(const struct net_device *dev, u32 cpu, struct rtnl_link_stats64 *into);
bool rlis_helper_net_is_function(struct net_device *dev, struct rlis_net_function *function);
void rlis_helper_net_mark_lower(struct net_device *lower);
bool rlis_helper_net_same_namespace(const struct net_device *a, const struct net_device *b);
int rlis_helper_net_move_to_namespace_of(struct net_device *lower, struct net_device *upper);
struct net_device *rlis_helper_net_next_in_first_namespace(struct net_device *dev);
void rlis_helper_net_hold(struct net_device *dev);
void rlis_helper_net_put(struct net_device *dev);
struct net_device *rlis_helper_net_notified(void *info);
struct net_device *rlis_helper_net_rx_upper(const struct sk_buff *skb);
struct sk_buff *rlis_helper_net_to_upper(struct sk_buff *skb, struct net_device *upper);
u16 rlis_helper_net_select_lower(struct sk_buff *skb, struct net_device *lower,
				 struct net_device *below);
bool rlis_helper_net_can_forward(const struct net_device *upper, const struct net_device *lower);
bool rlis_helper_net_forward(struct sk_buff *skb, struct net_device *upper,
			     struct net_device *lower);
void rlis_helper_net_sync_addresses(struct net_device *lower, struct net_device *upper, bool lock);
void rlis_helper_net_lower_features(struct net_device *lower, netdev_features_t wanted);
int rlis_helper_net_lower_address(struct net_device *lower, const u8 *address);

struct page_pool *rlis_helper_net_pool_create(void *device, struct napi_struct *napi,
					      unsigned int pages);
void *rlis_helper_net_page_address(struct page *page);
struct page *rlis_helper_net_pool_alloc_page(struct page_pool *pool);

#endif
