// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the network headers, as functions that Rust can call.
 */

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/netpoll.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ip6_checksum.h>
#include <net/sch_generic.h>
#if __has_include(<net/page_pool/helpers.h>)
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif

#if __has_include(<net/netdev_lock.h>)
#include <net/netdev_lock.h>
#else
/* Kernels before 6.15 have no lock of an interface beside the RTNL. */
static inline void netdev_lock_ops(struct net_device *dev) {}
static inline void netdev_unlock_ops(struct net_device *dev) {}
#endif

#include "helpers.h"
#include "helpers_net.h"

void rlis_helper_net_set_parent(struct net_device *dev, void *parent)
{
	SET_NETDEV_DEV(dev, (struct device *)parent);
}

void rlis_helper_net_set_address(struct net_device *dev, const u8 *address)
{
	eth_hw_addr_set(dev, address);
}

bool rlis_helper_net_is_registered(const struct net_device *dev)
{
	return dev->reg_state == NETREG_REGISTERED;
}

bool rlis_helper_net_has_carrier(const struct net_device *dev)
{
	return netif_carrier_ok(dev);
}

bool rlis_helper_net_has_multicast(struct net_device *dev)
{
	return !netdev_mc_empty(dev);
}

void rlis_helper_net_tx_disable(struct net_device *dev)
{
	netif_tx_disable(dev);
}

void rlis_helper_net_tx_wake_all(struct net_device *dev)
{
	netif_tx_wake_all_queues(dev);
}

/* With softirqs disabled. */
void rlis_helper_net_tx_lock(struct netdev_queue *queue)
{
	__netif_tx_lock(queue, smp_processor_id());
}

void rlis_helper_net_tx_unlock(struct netdev_queue *queue)
{
	__netif_tx_unlock(queue);
}

void rlis_helper_net_tx_stop(struct netdev_queue *queue)
{
	netif_tx_stop_queue(queue);
	/* What is read after this is read after the queue was stopped; pairs with tx_is_stopped. */
	smp_mb();
}

void rlis_helper_net_tx_start(struct netdev_queue *queue)
{
	netif_tx_start_queue(queue);
}

bool rlis_helper_net_tx_is_stopped(const struct netdev_queue *queue)
{
	/* Whoever stops the queue after this sees what was written before; pairs with tx_stop. */
	smp_mb();
	return netif_tx_queue_stopped(queue);
}

void rlis_helper_net_napi_add(struct net_device *dev, struct napi_struct *napi,
			      int (*poll)(struct napi_struct *napi, int budget))
{
	netif_napi_add(dev, napi, poll);
}

/* After napi_schedule_prep(). From a task, the softirq that was raised runs at once: nothing else would look at it. */
void rlis_helper_net_napi_schedule(struct napi_struct *napi)
{
	if (irqs_disabled()) {
		__napi_schedule_irqoff(napi);
		return;
	}
	__napi_schedule(napi);
	if (!in_interrupt()) {
		local_bh_disable();
		local_bh_enable();
	}
}

/* Waits for a grace period. */
void rlis_helper_net_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}

/* A frame that a queue of @dev has received. */
void rlis_helper_net_napi_receive(struct napi_struct *napi, struct sk_buff *skb, struct net_device *dev,
				  u16 queue)
{
	skb->protocol = eth_type_trans(skb, dev);
	skb_record_rx_queue(skb, queue);
	napi_gro_receive(napi, skb);
}

/* In a poll: a packet that is a copy of what lies in memory to which others may write meanwhile. */
struct sk_buff *rlis_helper_net_copy_frame(struct napi_struct *napi, const void *from, u32 len)
{
	struct sk_buff *skb = napi_alloc_skb(napi, len);

	if (likely(skb))
		copy_shared(__skb_put(skb, len), from, len);
	return skb;
}

void rlis_helper_net_free_skb(struct sk_buff *skb)
{
	dev_kfree_skb_any(skb);
}

/* Returns whether all data are in the linear part now. */
bool rlis_helper_net_linearize(struct sk_buff *skb)
{
	return skb_linearize(skb) == 0;
}

/* These fields lie in a group, whose place in the struct's Rust counterpart differs between kernels. */
void rlis_helper_net_set_checksum_good(struct sk_buff *skb)
{
	skb->ip_summed = CHECKSUM_UNNECESSARY;
}

/* A frame with its Ethernet header, outside of a poll. */
void rlis_helper_net_receive(struct sk_buff *skb, struct net_device *dev)
{
	skb->protocol = eth_type_trans(skb, dev);
	local_bh_disable();
	netif_receive_skb(skb);
	local_bh_enable();
}

/* The header of the transport has to lie in the linear part, behind one of IP, and be one that belongs to @protocol. */
static __always_inline u8 checksum_protocol(const struct sk_buff *skb, int transport)
{
	int network = skb_network_offset(skb);
	u8 protocol;

	if (skb->protocol == htons(ETH_P_IP)) {
		if (network < 0 || network + (int)sizeof(struct iphdr) > transport)
			return 0;
		protocol = ip_hdr(skb)->protocol;
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		/* With extension headers the host is not asked. */
		if (network < 0 || network + (int)sizeof(struct ipv6hdr) != transport)
			return 0;
		protocol = ipv6_hdr(skb)->nexthdr;
	} else {
		return 0;
	}
	if (protocol == IPPROTO_TCP && skb->csum_offset == offsetof(struct tcphdr, check))
		return protocol;
	if (protocol == IPPROTO_UDP && skb->csum_offset == offsetof(struct udphdr, check))
		return protocol;
	return 0;
}

void rlis_helper_net_describe_tx(const struct sk_buff *skb, struct rlis_net_tx *tx)
{
	*tx = (struct rlis_net_tx) {
		.hash = skb->hash,
		.ipv6 = skb->protocol == htons(ETH_P_IPV6),
		.has_vlan = skb_vlan_tag_present(skb),
		.partial = skb->ip_summed == CHECKSUM_PARTIAL,
	};
	if (tx->has_vlan)
		tx->vlan = skb_vlan_tag_get(skb);
	if (tx->partial) {
		tx->transport = skb_checksum_start_offset(skb);
		tx->protocol = checksum_protocol(skb, tx->transport);
	}
	if (skb_is_gso(skb))
		tx->mss = skb_shinfo(skb)->gso_size;
}

/*
 * Makes the headers of a frame of TCP what the host wants that cuts it: no length, no checksum of IP, and in place of
 * TCP's the sum of the pseudo header without a length.
 */
int rlis_helper_net_prepare_lso(struct sk_buff *skb)
{
	if (skb->ip_summed != CHECKSUM_PARTIAL ||
	    checksum_protocol(skb, skb_checksum_start_offset(skb)) != IPPROTO_TCP ||
	    skb_checksum_start_offset(skb) != skb_transport_offset(skb))
		return -EINVAL;
	if (skb_cow_head(skb, 0))
		return -ENOMEM;
	if (skb->protocol == htons(ETH_P_IPV6)) {
		tcp_v6_gso_csum_prep(skb);
	} else {
		struct iphdr *ip = ip_hdr(skb);

		ip->tot_len = 0;
		ip->check = 0;
		tcp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, 0, IPPROTO_TCP, 0);
	}
	return 0;
}

/* Bits that say where the header of the transport begins. */
#define MAX_TRANSPORT_OFFSET 0x3ff

/*
 * What the device does with a frame: it does not cut one whose headers it cannot be told of, since there is another tag of a
 * VLAN or an extension header between them, or since they are too long. The checksum of a single segment is looked at when
 * it is sent.
 */
netdev_features_t rlis_helper_net_features_check(struct sk_buff *skb, struct net_device *dev,
						 netdev_features_t features)
{
	if (skb_is_gso(skb) && skb->ip_summed == CHECKSUM_PARTIAL) {
		int transport = skb_checksum_start_offset(skb);

		if (transport > MAX_TRANSPORT_OFFSET || !checksum_protocol(skb, transport))
			features &= ~(NETIF_F_CSUM_MASK | NETIF_F_GSO_MASK);
	}
	return vlan_features_check(skb, features);
}

/* Of a frame that is about to be sent; computed where the socket has not said it. */
u32 rlis_helper_net_flow_hash(struct sk_buff *skb)
{
	return skb_get_hash(skb);
}

/*
 * The same, but of the addresses alone for kinds of flows whose bit is not in @ports: 1 for TCP and 2 for UDP over IPv4, 4 and
 * 8 over IPv6.
 */
u32 rlis_helper_net_flow_hash_of(struct sk_buff *skb, u32 ports)
{
	struct flow_keys keys;
	u32 kind = 0;

	if (skb_flow_dissect_flow_keys(skb, &keys, 0)) {
		bool ipv6 = keys.basic.n_proto == htons(ETH_P_IPV6);

		if (ipv6 || keys.basic.n_proto == htons(ETH_P_IP)) {
			if (keys.basic.ip_proto == IPPROTO_TCP)
				kind = ipv6 ? 4 : 1;
			else if (keys.basic.ip_proto == IPPROTO_UDP)
				kind = ipv6 ? 8 : 2;
		}
	}
	if (!kind || kind & ports)
		return skb_get_hash(skb);
	keys.ports.ports = 0;
	keys.tags.flow_label = 0;
	/* The device is told this hash. */
	__skb_set_sw_hash(skb, flow_hash_from_keys(&keys), false);
	return skb->hash;
}

/* Of a frame that was sent, so that nobody takes it for a lost one. */
void rlis_helper_net_consume_skb(struct sk_buff *skb)
{
	dev_consume_skb_any(skb);
}

bool rlis_helper_net_xmit_more(void)
{
	return netdev_xmit_more();
}

/* Of a frame in its transmit function. Returns whether the device is to be told now; if not, another frame follows at once. */
bool rlis_helper_net_bql_sent(struct netdev_queue *queue, u32 bytes)
{
	return __netdev_tx_sent_queue(queue, bytes, netdev_xmit_more());
}

#if IS_ENABLED(CONFIG_KUNIT)
/* For tests: gives a frame to the transmit function, as the stack does; @more: another follows at once. */
void rlis_helper_net_test_xmit(struct sk_buff *skb, struct net_device *dev, u16 index, bool more)
{
	struct netdev_queue *queue = netdev_get_tx_queue(dev, index);

	skb_set_queue_mapping(skb, index);
	local_bh_disable();
	__netif_tx_lock(queue, smp_processor_id());
	netdev_start_xmit(skb, dev, queue, more);
	__netif_tx_unlock(queue);
	local_bh_enable();
}
#endif

void rlis_helper_net_bql_completed(struct netdev_queue *queue, u32 packets, u32 bytes)
{
	netdev_tx_completed_queue(queue, packets, bytes);
}

void rlis_helper_net_bql_reset(struct netdev_queue *queue)
{
	netdev_tx_reset_queue(queue);
}

bool rlis_helper_net_rxfh_is_configured(const struct net_device *dev)
{
	return netif_is_rxfh_configured(dev);
}

/* The last fragment has room for so many bytes more, which count as its memory already. */
void rlis_helper_net_grow_frag(struct sk_buff *skb, int index, u32 len)
{
	skb_frag_size_add(&skb_shinfo(skb)->frags[index], len);
	skb->len += len;
	skb->data_len += len;
}

/* Of a frame that begins at skb->data: the checksum of the IPv4 header is made right, as the device found its parts. */
void rlis_helper_net_fix_ip_checksum(struct sk_buff *skb)
{
	struct iphdr *ip = (struct iphdr *)(skb->data + ETH_HLEN);

	if (skb_headlen(skb) < ETH_HLEN + sizeof(*ip) ||
	    ((struct ethhdr *)skb->data)->h_proto != htons(ETH_P_IP) ||
	    ip->ihl < 5 || skb_headlen(skb) < ETH_HLEN + ip->ihl * 4)
		return;
	ip->check = 0;
	ip->check = ip_fast_csum(ip, ip->ihl);
}

void rlis_helper_net_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

/* Describes a range as struct hv_mpb_array does; returns where the next one goes. */
static __always_inline u64 *put_range(u64 *next, u64 pfn, u32 offset, u32 len)
{
	u32 left;

	/* Offsets of fragments may exceed a page where one lies in a compound page. */
	pfn += offset >> PAGE_SHIFT;
	offset = offset_in_page(offset);
	*next++ = (u64)offset << 32 | len;
	*next++ = pfn;
	for (left = offset + len; unlikely(left > PAGE_SIZE); left -= PAGE_SIZE)
		*next++ = ++pfn;
	return next;
}

/*
 * Describes where a frame lies in physical memory, as the ranges of a packet of VMBus, one behind the other. Nothing if there are
 * more than @most, or if @room words may not be enough.
 */
struct rlis_net_pages rlis_helper_net_pages(const struct sk_buff *skb, u64 *words, u32 room, u32 most)
{
	const struct skb_shared_info *shared = skb_shinfo(skb);
	const skb_frag_t *frag = shared->frags, *end = frag + shared->nr_frags;
	struct rlis_net_pages pages = { };
	u32 pieces = 1 + shared->nr_frags;
	u64 *next = words;

	/* A range takes a word, one for the page it begins in, one for that it ends in, and one for each whole page between. */
	BUILD_BUG_ON(PAGE_SIZE != 4096);
	if (pieces > most || 3 * pieces + (skb->len >> PAGE_SHIFT) > room)
		return pages;
	if (skb_headlen(skb)) {
		phys_addr_t start = virt_to_phys(skb->data);

		next = put_range(next, start >> PAGE_SHIFT, offset_in_page(start), skb_headlen(skb));
		pages.ranges++;
	}
	for (; frag < end; frag++) {
		if (!skb_frag_size(frag))
			continue;
		next = put_range(next, page_to_pfn(skb_frag_page(frag)), skb_frag_off(frag), skb_frag_size(frag));
		pages.ranges++;
	}
	pages.words = next - words;
	return pages;
}

void rlis_helper_net_add_rx_frag(struct sk_buff *skb, int index, struct page *page, int offset,
				 int len, unsigned int truesize)
{
	skb_add_rx_frag(skb, index, page, offset, len, truesize);
}

void rlis_helper_net_mark_for_recycle(struct sk_buff *skb)
{
	skb_mark_for_recycle(skb);
}

void rlis_helper_net_set_vlan(struct sk_buff *skb, u16 tci)
{
	__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), tci);
}

void rlis_helper_net_set_hash(struct sk_buff *skb, u32 hash, bool l4)
{
	if (skb->dev->features & NETIF_F_RXHASH)
		skb_set_hash(skb, hash, l4 ? PKT_HASH_TYPE_L4 : PKT_HASH_TYPE_L3);
}

/* Before the interface is registered: the stack counts what passes through it from and to a lower one. */
void rlis_helper_net_count_lower(struct net_device *dev)
{
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
}

void rlis_helper_net_fetch_lower(const struct net_device *dev, struct rtnl_link_stats64 *sum)
{
	dev_fetch_sw_netstats(sum, dev->tstats);
}

/* The same, of one CPU; nothing of one that there cannot be. */
void rlis_helper_net_fetch_lower_of_cpu(const struct net_device *dev, u32 cpu, struct rtnl_link_stats64 *into)
{
	const struct pcpu_sw_netstats *stats;
	unsigned int start;

	if (cpu >= nr_cpu_ids || !cpu_possible(cpu))
		return;
	stats = per_cpu_ptr(dev->tstats, cpu);
	do {
		start = u64_stats_fetch_begin(&stats->syncp);
		into->rx_packets = u64_stats_read(&stats->rx_packets);
		into->rx_bytes = u64_stats_read(&stats->rx_bytes);
		into->tx_packets = u64_stats_read(&stats->tx_packets);
		into->tx_bytes = u64_stats_read(&stats->tx_bytes);
	} while (u64_stats_fetch_retry(&stats->syncp, start));
}

/*
 * Whether @dev can be the virtual function of a card: an Ethernet interface of a PCI device, whose slot the host has given a
 * number. What has a card's address since it stands upon it, such as a VLAN, is none.
 */
bool rlis_helper_net_is_function(struct net_device *dev, struct rlis_net_function *function)
{
	struct device *parent = dev->dev.parent;
	struct pci_dev *pdev;

	if (dev->type != ARPHRD_ETHER || dev->addr_len != ETH_ALEN || is_vlan_dev(dev) ||
	    netif_is_bond_master(dev))
		return false;
	if (!parent || !dev_is_pci(parent))
		return false;
	pdev = to_pci_dev(parent);
	if (!pdev->slot || kstrtou32(pci_slot_name(pdev->slot), 10, &function->serial))
		return false;
	ether_addr_copy(function->permanent, dev->perm_addr);
	ether_addr_copy(function->address, dev->dev_addr);
	return true;
}

void rlis_helper_net_mark_lower(struct net_device *lower)
{
	lower->flags |= IFF_SLAVE;
	/* No addresses of IPv6 of its own. For older kernels that follows from the first. */
#ifdef IFF_NO_ADDRCONF
	lower->priv_flags |= IFF_NO_ADDRCONF;
#endif
}

bool rlis_helper_net_same_namespace(const struct net_device *a, const struct net_device *b)
{
	return net_eq(dev_net(a), dev_net(b));
}

int rlis_helper_net_move_to_namespace_of(struct net_device *lower, struct net_device *upper)
{
	return dev_change_net_namespace(lower, dev_net(upper), "eth%d");
}

/* The interface after @dev in the namespace that drivers register in, or the first one. */
struct net_device *rlis_helper_net_next_in_first_namespace(struct net_device *dev)
{
	return dev ? next_net_device(dev) : first_net_device(&init_net);
}

void rlis_helper_net_hold(struct net_device *dev)
{
	dev_hold(dev);
}

void rlis_helper_net_put(struct net_device *dev)
{
	dev_put(dev);
}

struct net_device *rlis_helper_net_notified(void *info)
{
	return netdev_notifier_info_to_dev(info);
}

/* In a receive handler: the interface that it was registered with. */
struct net_device *rlis_helper_net_rx_upper(const struct sk_buff *skb)
{
	return rcu_dereference(skb->dev->rx_handler_data);
}

/* A frame that a lower interface has received becomes one of the upper one; NULL if there is no memory for it. */
struct sk_buff *rlis_helper_net_to_upper(struct sk_buff *skb, struct net_device *upper)
{
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (!skb)
		return NULL;
	skb->dev = upper;
	dev_sw_netstats_rx_add(upper, skb->len);
	return skb;
}

/* Has the lower interface choose a queue of its own, which it gets back in forward(). */
u16 rlis_helper_net_select_lower(struct sk_buff *skb, struct net_device *lower,
				 struct net_device *below)
{
	const struct net_device_ops *ops = lower->netdev_ops;
	u16 queue;

	if (ops->ndo_select_queue)
		queue = ops->ndo_select_queue(lower, skb, below);
	else
		queue = netdev_pick_tx(lower, skb, NULL);
	qdisc_skb_cb(skb)->slave_dev_queue_mapping = queue;
	return queue;
}

bool rlis_helper_net_can_forward(const struct net_device *upper, const struct net_device *lower)
{
	return netif_running(lower) && netif_carrier_ok(lower) &&
	       !netpoll_tx_running((struct net_device *)upper);
}

/* Sends a frame of the upper interface through the lower one, which has it then. Returns whether it was taken. */
bool rlis_helper_net_forward(struct sk_buff *skb, struct net_device *upper,
			     struct net_device *lower)
{
	unsigned int len = skb->len;
	int result;

	skb->dev = lower;
	skb_record_rx_queue(skb, qdisc_skb_cb(skb)->slave_dev_queue_mapping);
	result = dev_queue_xmit(skb);
	if (result != NET_XMIT_SUCCESS && result != NET_XMIT_CN)
		return false;
	dev_sw_netstats_tx_add(upper, 1, len);
	return true;
}

/* The lower interface receives what the upper one wants; @lock unless the lock of the upper one's addresses is held. */
void rlis_helper_net_sync_addresses(struct net_device *lower, struct net_device *upper, bool lock)
{
	if (lock)
		netif_addr_lock_bh(upper);
	dev_uc_sync(lower, upper);
	dev_mc_sync(lower, upper);
	if (lock)
		netif_addr_unlock_bh(upper);
}

void rlis_helper_net_lower_features(struct net_device *lower, netdev_features_t wanted)
{
	netdev_lock_ops(lower);
	lower->wanted_features = wanted;
	netdev_update_features(lower);
	netdev_unlock_ops(lower);
}

int rlis_helper_net_lower_address(struct net_device *lower, const u8 *address)
{
	/* Kernels differ in which of the two structures this is called; both begin like this. */
	struct sockaddr_storage storage = { .ss_family = ARPHRD_ETHER };

	memcpy(((struct sockaddr *)&storage)->sa_data, address, ETH_ALEN);
	return dev_set_mac_address(lower, (void *)&storage, NULL);
}
