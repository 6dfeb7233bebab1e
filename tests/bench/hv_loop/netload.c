// SPDX-License-Identifier: GPL-2.0
/*
 * A load of frames in both directions, from inside the kernel: what the guest's time is spent on is the driver and the
 * layers that it calls. What the host takes is counted apart, by host_work().
 */
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/vmalloc.h>

#include <net/ip.h>
#include <net/xdp.h>

#include "netvsp.h"

#define NET_BATCH_MAX	64
#define TCP_MSS		1448
#define XDP_BULK	16
/* From a guest to its host and back: addresses that nobody has. */
#define GUEST		0x0a000002
#define HOST		0x0a000001

/* Ethernet, IPv4 and UDP or TCP in front of a frame of BYTES; returns their length. */
static u32 put_headers(u8 *at, u32 bytes, bool tcp, const u8 *to, const u8 *from, u32 source, u32 dest)
{
	u32 len = ETH_HLEN + sizeof(struct iphdr) + (tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr));
	struct ethhdr *eth = (struct ethhdr *)at;
	struct iphdr *ip = (struct iphdr *)(eth + 1);

	memset(at, 0, len);
	ether_addr_copy(eth->h_dest, to);
	ether_addr_copy(eth->h_source, from);
	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = htons(bytes - ETH_HLEN);
	ip->frag_off = htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	ip->saddr = htonl(source);
	ip->daddr = htonl(dest);
	ip_send_check(ip);
	if (tcp) {
		struct tcphdr *th = (struct tcphdr *)(ip + 1);

		th->source = htons(5001);
		th->dest = htons(5001);
		th->doff = sizeof(*th) / 4;
		th->ack = 1;
		th->window = htons(0xffff);
	} else {
		struct udphdr *uh = (struct udphdr *)(ip + 1);

		uh->source = htons(5001);
		uh->dest = htons(5001);
		uh->len = htons(bytes - ETH_HLEN - sizeof(*ip));
	}
	return len;
}

/* ---- frames of the guest ---- */

/* A frame as the stack hands it over: its checksum is left to the card, and its segmentation, if it is long. */
static struct sk_buff *make_skb(struct net_device *ndev, u32 bytes, struct page *page)
{
	bool large = bytes > ndev->mtu + ETH_HLEN;
	u32 linear = large ? ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr) : bytes, left, part;
	struct sk_buff *skb = alloc_skb(LL_RESERVED_SPACE(ndev) + linear, GFP_KERNEL);
	struct iphdr *ip;
	int i;

	if (!skb)
		return NULL;
	skb_reserve(skb, LL_RESERVED_SPACE(ndev));
	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	skb_set_transport_header(skb, ETH_HLEN + sizeof(*ip));
	memset(skb_put(skb, linear), 0, linear);
	put_headers(skb->data, bytes, large, (const u8[]){ 0, 0x15, 0x5d, 0xff, 0xff, 0 }, ndev->dev_addr, GUEST, HOST);
	for (i = 0, left = bytes - linear; left; i++, left -= part) {
		part = min_t(u32, left, PAGE_SIZE);
		get_page(page);
		skb_add_rx_frag(skb, i, page, 0, part, PAGE_SIZE);
	}
	ip = ip_hdr(skb);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	if (large) {
		skb->csum_offset = offsetof(struct tcphdr, check);
		tcp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, bytes - ETH_HLEN - sizeof(*ip), IPPROTO_TCP, 0);
		skb_shinfo(skb)->gso_size = TCP_MSS;
		skb_shinfo(skb)->gso_segs = DIV_ROUND_UP(bytes - linear, TCP_MSS);
		skb_shinfo(skb)->gso_type = SKB_GSO_TCPV4;
	} else {
		skb->csum_offset = offsetof(struct udphdr, check);
		udp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, bytes - ETH_HLEN - sizeof(*ip), IPPROTO_UDP, 0);
	}
	skb->dev = ndev;
	skb->protocol = htons(ETH_P_IP);
	skb_set_queue_mapping(skb, 0);
	return skb;
}

/* Sends a list as the stack does: checked, under the queue's lock, MORE: another follows at once. */
static int send_list(struct net_device *ndev, struct sk_buff *skb, bool more)
{
	struct netdev_queue *txq = netdev_get_tx_queue(ndev, 0);
	struct sk_buff *next;
	int tries = 0;

	while (skb) {
		if (netif_xmit_frozen_or_stopped(txq)) {
			if (++tries > 1000)
				break;
			/* What is under way comes back. */
			HARD_TX_UNLOCK(ndev, txq);
			local_bh_enable();
			cond_resched();
			local_bh_disable();
			HARD_TX_LOCK(ndev, txq, smp_processor_id());
			continue;
		}
		next = skb->next;
		skb_mark_not_on_list(skb);
		if (netdev_start_xmit(skb, ndev, txq, more || next) != NETDEV_TX_OK) {
			skb->next = next;
			if (++tries > 1000)
				break;
			continue;
		}
		skb = next;
	}
	if (!skb)
		return 0;
	kfree_skb_list(skb);
	return -ETIMEDOUT;
}

static int send_batch(struct net_device *ndev, struct sk_buff **skbs, u32 n, u32 burst)
{
	struct netdev_queue *txq = netdev_get_tx_queue(ndev, 0);
	struct sk_buff *skb;
	bool again = false;
	int err = 0;
	u32 i;

	local_bh_disable();
	for (i = 0; i < n; i++) {
		skb = validate_xmit_skb_list(skbs[i], ndev, &again);
		if (i % burst == 0)
			HARD_TX_LOCK(ndev, txq, smp_processor_id());
		err = err ?: send_list(ndev, skb, i % burst != burst - 1 && i != n - 1);
		if (i % burst == burst - 1 || i == n - 1)
			HARD_TX_UNLOCK(ndev, txq);
	}
	local_bh_enable();
	return err;
}

/* A frame as a program redirects it from another card, in a page of its own. */
static struct xdp_frame *make_xdp(struct net_device *ndev, u32 bytes)
{
	struct xdp_frame *frame = (struct xdp_frame *)get_zeroed_page(GFP_KERNEL);

	if (!frame)
		return NULL;
	frame->data = (u8 *)frame + XDP_PACKET_HEADROOM;
	frame->len = bytes;
	frame->headroom = XDP_PACKET_HEADROOM - sizeof(*frame);
	frame->mem_type = MEM_TYPE_PAGE_SHARED;
	frame->dev_rx = ndev;
	frame->frame_sz = PAGE_SIZE;
	put_headers(frame->data, bytes, false, (const u8[]){ 0, 0x15, 0x5d, 0xff, 0xff, 0 }, ndev->dev_addr, GUEST, HOST);
	return frame;
}

/* As XDP does, which hands over up to 16 at once. */
static int redirect_batch(struct net_device *ndev, struct xdp_frame **frames, u32 n)
{
	u32 i, k, part;
	int taken, err = 0;

	local_bh_disable();
	for (i = 0; i < n; i += part) {
		part = min_t(u32, n - i, XDP_BULK);
		taken = ndev->netdev_ops->ndo_xdp_xmit(ndev, part, frames + i, XDP_XMIT_FLUSH);
		for (k = max(taken, 0); k < part; k++) {
			xdp_return_frame(frames[i + k]);
			err = -EIO;
		}
	}
	local_bh_enable();
	return err;
}

/* Waits until host and guest have read all that the other has written. */
static int wait_quiet(struct loop_channel *lc)
{
	struct hv_ring_buffer *in = lc->ch.inbound.ring_buffer, *out = lc->ch.outbound.ring_buffer;
	unsigned long limit = jiffies + 5 * HZ;

	while (READ_ONCE(lc->host_read) != READ_ONCE(out->write_index) ||
	       READ_ONCE(in->read_index) != READ_ONCE(in->write_index) || READ_ONCE(lc->dev->net->held)) {
		if (time_after(jiffies, limit))
			return -ETIMEDOUT;
		cond_resched();
	}
	return 0;
}

/* ---- frames of the host ---- */

/* Where they end: in a handler, or in a socket. */
struct sink {
	u64 frames, bytes;
	struct socket *sock;
};

/* Behind the driver and GRO, in front of the protocols. */
static rx_handler_result_t sink_frame(struct sk_buff **pskb)
{
	struct sink *sink = rcu_dereference((*pskb)->dev->rx_handler_data);

	sink->frames++;
	sink->bytes += (*pskb)->len + ETH_HLEN;
	consume_skb(*pskb);
	return RX_HANDLER_CONSUMED;
}

/* Takes from the socket what has come there. */
static void empty_socket(struct sink *sink)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT };
	static u8 buffer[SZ_16K];
	struct kvec vec;
	int len;

	for (;;) {
		vec = (struct kvec) { buffer, sizeof(buffer) };
		len = kernel_recvmsg(sink->sock, &msg, &vec, 1, sizeof(buffer), MSG_DONTWAIT);
		if (len < 0)
			return;
		sink->frames++;
		sink->bytes += len + ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr);
	}
}

static int open_sink(struct net_device *ndev, struct sink *sink, bool socket)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(5001) };
	int err;

	if (socket) {
		err = sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &sink->sock);
		if (err)
			return err;
		err = kernel_bind(sink->sock, (struct sockaddr_unsized *)&name, sizeof(name));
		if (err)
			sock_release(sink->sock);
		return err;
	}
	rtnl_lock();
	err = netdev_rx_handler_register(ndev, sink_frame, sink);
	rtnl_unlock();
	return err;
}

static void close_sink(struct net_device *ndev, struct sink *sink)
{
	if (sink->sock) {
		sock_release(sink->sock);
		return;
	}
	rtnl_lock();
	netdev_rx_handler_unregister(ndev);
	rtnl_unlock();
}

static u32 put_info(u8 *at, u32 type, u32 value)
{
	struct rndis_info info = { cpu_to_le32(sizeof(info)), cpu_to_le32(type), cpu_to_le32(12), cpu_to_le32(value) };

	memcpy(at, &info, sizeof(info));
	return sizeof(info);
}

/*
 * A packet message with DATA bytes of a frame, and what a host says of it: that the checksums are right, with several
 * channels the hash, of a coalesced frame the place of this piece. Returns the message's length.
 */
static u32 put_message(u8 *m, u32 data, bool coalesced, u32 piece)
{
	u32 at = sizeof(struct rndis_packet);
	struct rndis_packet head = { .type = cpu_to_le32(RNDIS_PACKET), .info_offset = cpu_to_le32(at - 8) };

	/* TCP or UDP right, IP header right. */
	at += put_info(m + at, RNDIS_INFO_CHECKSUM, coalesced ? BIT(3) | BIT(5) : BIT(4) | BIT(5));
	if (loop_max_subchannels) {
		at += put_info(m + at, RNDIS_INFO_HASH_VALUE, 0x5a17c0de);
		at += put_info(m + at, RNDIS_INFO_HASH, 0x101);
	}
	if (coalesced)
		at += put_info(m + at, RNDIS_INFO_PACKET_ID | RNDIS_INFO_INTERNAL, 1 | piece << 8);
	head.info_len = cpu_to_le32(at - sizeof(head));
	head.data_offset = cpu_to_le32(at - 8);
	head.data_len = cpu_to_le32(data);
	head.len = cpu_to_le32(at + data);
	memcpy(m, &head, sizeof(head));
	return at;
}

/* Messages for one packet of RANGES, of frames of BYTES each, or of one that is coalesced from pieces of BYTES. */
static u8 *make_messages(struct net_device *ndev, u32 bytes, u32 ranges, bool coalesced, u32 *stride)
{
	const u8 host[ETH_ALEN] = { 0, 0x15, 0x5d, 0xff, 0xff, 0 };
	u8 *all, *m;
	u32 i, at;

	*stride = ALIGN(sizeof(struct rndis_packet) + 4 * sizeof(struct rndis_info) + bytes, 8);
	all = kvzalloc(*stride * ranges, GFP_KERNEL);
	for (i = 0; all && i < ranges; i++) {
		m = all + i * *stride;
		/* A part of several: 1, first: 2, last: 4. */
		at = put_message(m, bytes, coalesced, 1 | (i ? 0 : 2) | (i == ranges - 1 ? 4 : 0));
		if (!coalesced || !i)
			put_headers(m + at, coalesced ? bytes * ranges : bytes, coalesced, ndev->dev_addr, host, HOST, GUEST);
	}
	return all;
}

/* ---- loads ---- */

static void counters(struct loop_channel *lc, struct loop_net_result *r, int sign)
{
	r->host += sign * lc->host_cycles;
	r->signals += sign * lc->doorbells;
	r->interrupts += sign * lc->ch.interrupts;
	r->packets += sign * lc->requests;
}

static void drop(void *item, bool redirect)
{
	if (redirect)
		xdp_return_frame(item);
	else
		kfree_skb(item);
}

static void *make(struct net_device *ndev, const struct loop_net_load *load, struct page *page)
{
	struct sk_buff *first, *clone;

	if (load->redirect)
		return make_xdp(ndev, load->bytes);
	first = make_skb(ndev, load->bytes, page);
	if (!first || !load->clone)
		return first;
	/* As TCP does, which keeps the original. */
	clone = skb_clone(first, GFP_KERNEL);
	consume_skb(first);
	return clone;
}

static int send(struct loop_channel *lc, struct net_device *ndev, const struct loop_net_load *load, struct loop_net_result *r)
{
	u64 left = load->count, frames = lc->frames, bytes = lc->bytes, start;
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	void *items[NET_BATCH_MAX];
	u32 n, i;
	int err = page ? 0 : -ENOMEM;

	if (load->redirect && (!ndev->netdev_ops->ndo_xdp_xmit || load->bytes > PAGE_SIZE / 2))
		err = -EOPNOTSUPP;

	while (left && !err) {
		n = min_t(u64, left, load->batch);
		for (i = 0; i < n; i++) {
			items[i] = make(ndev, load, page);
			if (!items[i]) {
				while (i--)
					drop(items[i], load->redirect);
				err = -ENOMEM;
				goto out;
			}
		}
		counters(lc, r, -1);
		start = get_cycles();
		err = load->redirect ? redirect_batch(ndev, (struct xdp_frame **)items, n) :
				       send_batch(ndev, (struct sk_buff **)items, n, load->burst);
		err = err ?: wait_quiet(lc);
		r->cycles += get_cycles() - start;
		counters(lc, r, 1);
		left -= n;
		cond_resched();
	}
out:
	if (page)
		put_page(page);
	r->frames = load->count;
	/* Whoever segments, nothing is lost. */
	if (!err && (lc->frames - frames < load->count || lc->bytes - bytes < load->count * load->bytes))
		err = -EIO;
	return err;
}

static int take(struct loop_channel *lc, struct net_device *ndev, const struct loop_net_load *load, struct loop_net_result *r)
{
	u64 left = load->count, expected = load->coalesced ? load->count / load->ranges : load->count, start, host;
	struct sink sink = { };
	unsigned long flags;
	int err = 0;
	u8 *messages;
	u32 len, n;

	messages = make_messages(ndev, load->bytes, load->ranges, load->coalesced, &len);
	if (!messages)
		return -ENOMEM;
	err = open_sink(ndev, &sink, load->socket);
	if (err) {
		kvfree(messages);
		return err;
	}
	while (left && !err) {
		counters(lc, r, -1);
		start = get_cycles();
		/* The guest's interrupt comes when all are there. */
		local_irq_save(flags);
		host = get_cycles();
		for (n = 0; n < load->batch && left && !err; n += load->ranges, left -= load->ranges)
			err = loop_net_receive(lc, messages, len, load->ranges, false);
		r->host += get_cycles() - host;
		local_irq_restore(flags);
		err = err ?: wait_quiet(lc);
		if (sink.sock)
			empty_socket(&sink);
		r->cycles += get_cycles() - start;
		counters(lc, r, 1);
		cond_resched();
	}
	close_sink(ndev, &sink);
	kvfree(messages);
	r->frames = expected;
	if (!err && sink.frames != (load->dropped ? 0 : expected))
		err = -EIO;
	if (!err && !load->dropped && sink.bytes != load->count * load->bytes)
		err = -EIO;
	return err;
}

/* Runs a load over the primary channel of a card that is up. The kernel has one CPU online, or the figures mean nothing. */
int loop_net_load(struct loop_dev *dev, const struct loop_net_load *load, struct loop_net_result *result)
{
	struct loop_channel *lc = dev->channels[0];
	struct net_device *ndev;
	int err = -ENETDOWN;

	if (dev->class != LOOP_NET || load->bytes < ETH_ZLEN || load->bytes > SZ_64K || !load->count || !load->batch ||
	    load->batch > NET_BATCH_MAX || !load->burst || !load->ranges || load->ranges > load->batch ||
	    load->count % load->ranges)
		return -EINVAL;
	ndev = dev_get_by_name(&init_net, load->name);
	if (!ndev)
		return -ENODEV;
	memset(result, 0, sizeof(*result));
	if (!load->sends && load->bytes > dev->net->frame)
		err = -EMSGSIZE;
	else if (lc && lc->open && dev->net->filter && netif_running(ndev))
		err = load->sends ? send(lc, ndev, load, result) : take(lc, ndev, load, result);
	dev_put(ndev);
	return err;
}
