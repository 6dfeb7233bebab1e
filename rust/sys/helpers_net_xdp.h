/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers_net_xdp.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_NET_XDP_H
#define RLIS_SYS_HELPERS_NET_XDP_H

#include <linux/bpf.h>
#include <linux/netdevice.h>
#if __has_include(<net/page_pool/helpers.h>)
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif
#include <net/xdp.h>

struct rlis_net_range;

enum rlis_net_xdp_sizes {
	/* Bytes of the longest frame that a program can be shown in a page: with room in front of it, and behind it. */
	RLIS_NET_XDP_ROOM = PAGE_SIZE - XDP_PACKET_HEADROOM -
			    SKB_DATA_ALIGN(sizeof(struct skb_shared_info)),
};

int rlis_helper_net_xdp_register(struct xdp_rxq_info *rxq, struct net_device *dev, u32 queue,
				 struct page_pool *pool);
u32 rlis_helper_net_xdp_run(struct xdp_buff *xdp, const struct bpf_prog *prog,
			    struct xdp_rxq_info *rxq, struct page *page, const void *from, u32 len);
struct sk_buff *rlis_helper_net_xdp_to_skb(const struct xdp_buff *xdp);
struct xdp_frame *rlis_helper_net_xdp_to_frame(struct xdp_buff *xdp);
int rlis_helper_net_xdp_redirect(struct net_device *dev, struct xdp_buff *xdp,
				 const struct bpf_prog *prog);
void rlis_helper_net_xdp_exception(struct net_device *dev, const struct bpf_prog *prog, u32 act);
void rlis_helper_net_xdp_unknown(struct net_device *dev, const struct bpf_prog *prog, u32 act);
void rlis_helper_net_pool_recycle(struct page_pool *pool, struct page *page);

u32 rlis_helper_net_xdp_frame_len(const struct xdp_frame *frame);
const void *rlis_helper_net_xdp_frame_data(const struct xdp_frame *frame);
void rlis_helper_net_xdp_frame_range(const struct xdp_frame *frame, struct rlis_net_range *range);
u16 rlis_helper_net_xdp_queue(const struct net_device *dev);
int rlis_helper_net_xdp_forward(struct net_device *lower, int n, struct xdp_frame **frames,
				u32 flags);

bool rlis_helper_net_bpf_is_program(const struct netdev_bpf *bpf);
struct bpf_prog *rlis_helper_net_bpf_program(const struct netdev_bpf *bpf);
void rlis_helper_net_bpf_refuse(const struct netdev_bpf *bpf, const char *text);
bool rlis_helper_net_bpf_supported(const struct net_device *dev);
int rlis_helper_net_bpf_propagate(struct net_device *dev, struct bpf_prog *prog);

struct bpf_prog *rlis_helper_net_test_program(u32 act);
u64 rlis_helper_net_test_program_references(const struct bpf_prog *prog);
void rlis_helper_net_test_program_free(struct bpf_prog *prog);
int rlis_helper_net_test_bpf(struct net_device *dev, struct bpf_prog *prog, const char **text);
int rlis_helper_net_test_xdp_xmit(struct net_device *dev, struct xdp_frame **frames, int n);
struct xdp_frame *rlis_helper_net_test_frame(u32 len, u8 byte);

#endif
