// SPDX-License-Identifier: GPL-2.0
/*
 * What pools of pages and XDP need, as functions that Rust can call.
 */

#include <linux/bpf_trace.h>
#include <linux/filter.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#if __has_include(<net/page_pool/helpers.h>)
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif
#include <net/xdp.h>

#include "helpers.h"
#include "helpers_net.h"

/* Pages that only the CPU writes: nothing is mapped for DMA. */
struct page_pool *rlis_helper_net_pool_create(void *device, struct napi_struct *napi,
					      unsigned int pages)
{
	struct page_pool_params params = {
		.order = 0,
		.pool_size = pages,
		.nid = NUMA_NO_NODE,
		.dev = device,
#ifdef RLIS_HAVE_PAGE_POOL_NAPI
		.napi = napi,
#endif
	};

	return page_pool_create(&params);
}

void *rlis_helper_net_page_address(struct page *page)
{
	return page_address(page);
}

struct page *rlis_helper_net_pool_alloc_page(struct page_pool *pool)
{
	return page_pool_dev_alloc_pages(pool);
}

/* A receive queue whose frames lie in pages of @pool, of which xdp_rxq_info_unreg() gives up its share. */
int rlis_helper_net_xdp_register(struct xdp_rxq_info *rxq, struct net_device *dev, u32 queue,
				 struct page_pool *pool)
{
	int err = xdp_rxq_info_reg(rxq, dev, queue, 0);

	if (err)
		return err;
	err = xdp_rxq_info_reg_mem_model(rxq, MEM_TYPE_PAGE_POOL, pool);
	if (err)
		xdp_rxq_info_unreg(rxq);
	return err;
}

/*
 * In a poll: copies a frame of at most RLIS_NET_XDP_ROOM bytes, which others may write to meanwhile, into @page, and returns what
 * @prog says of it.
 */
u32 rlis_helper_net_xdp_run(struct xdp_buff *xdp, const struct bpf_prog *prog,
			    struct xdp_rxq_info *rxq, struct page *page, const void *from, u32 len)
{
	xdp_init_buff(xdp, PAGE_SIZE, rxq);
	xdp_prepare_buff(xdp, page_address(page), XDP_PACKET_HEADROOM, len, true);
	copy_shared(xdp->data, from, len);
	return bpf_prog_run_xdp(prog, xdp);
}

/* A packet in the frame's own page, which goes back to its pool with it. NULL if there is no memory. */
struct sk_buff *rlis_helper_net_xdp_to_skb(const struct xdp_buff *xdp)
{
	struct sk_buff *skb = napi_build_skb(xdp->data_hard_start, xdp->frame_sz);

	if (unlikely(!skb))
		return NULL;
	skb_reserve(skb, xdp->data - xdp->data_hard_start);
	__skb_put(skb, xdp->data_end - xdp->data);
	if (xdp->data > xdp->data_meta)
		skb_metadata_set(skb, xdp->data - xdp->data_meta);
	skb_mark_for_recycle(skb);
	skb->dev = xdp->rxq->dev;
	return skb;
}

/* NULL if the program has left no room for it in front of the frame. */
struct xdp_frame *rlis_helper_net_xdp_to_frame(struct xdp_buff *xdp)
{
	return xdp_convert_buff_to_frame(xdp);
}

int rlis_helper_net_xdp_redirect(struct net_device *dev, struct xdp_buff *xdp,
				 const struct bpf_prog *prog)
{
	/* Some kernels want a program that could be written to. */
	return xdp_do_redirect(dev, xdp, (struct bpf_prog *)prog);
}

void rlis_helper_net_xdp_exception(struct net_device *dev, const struct bpf_prog *prog, u32 act)
{
	trace_xdp_exception(dev, prog, act);
}

void rlis_helper_net_xdp_unknown(struct net_device *dev, const struct bpf_prog *prog, u32 act)
{
	bpf_warn_invalid_xdp_action(dev, (struct bpf_prog *)prog, act);
}

/* In a poll of the pool's own instance. */
void rlis_helper_net_pool_recycle(struct page_pool *pool, struct page *page)
{
	page_pool_recycle_direct(pool, page);
}

u32 rlis_helper_net_xdp_frame_len(const struct xdp_frame *frame)
{
	return frame->len;
}

const void *rlis_helper_net_xdp_frame_data(const struct xdp_frame *frame)
{
	return frame->data;
}

void rlis_helper_net_xdp_frame_range(const struct xdp_frame *frame, struct rlis_net_range *range)
{
	phys_addr_t start = virt_to_phys(frame->data);

	describe_range(range, start >> PAGE_SHIFT, offset_in_page(start), frame->len);
}

/* With softirqs disabled: the queue that this CPU sends frames through. */
u16 rlis_helper_net_xdp_queue(const struct net_device *dev)
{
	return smp_processor_id() % max(READ_ONCE(dev->real_num_tx_queues), 1u);
}

/* Gives frames to the lower interface, which does with them as ndo_xdp_xmit says. */
int rlis_helper_net_xdp_forward(struct net_device *lower, int n, struct xdp_frame **frames,
				u32 flags)
{
	if (!lower->netdev_ops->ndo_xdp_xmit)
		return -EOPNOTSUPP;
	return lower->netdev_ops->ndo_xdp_xmit(lower, n, frames, flags);
}

bool rlis_helper_net_bpf_is_program(const struct netdev_bpf *bpf)
{
	return bpf->command == XDP_SETUP_PROG;
}

struct bpf_prog *rlis_helper_net_bpf_program(const struct netdev_bpf *bpf)
{
	return bpf->prog;
}

/* @text stays where it is. */
void rlis_helper_net_bpf_refuse(const struct netdev_bpf *bpf, const char *text)
{
	if (bpf->extack)
		bpf->extack->_msg = text;
}

bool rlis_helper_net_bpf_supported(const struct net_device *dev)
{
	return dev->netdev_ops->ndo_bpf;
}

/* With the RTNL held. If it succeeds, the interface has the caller's reference to the program. */
int rlis_helper_net_bpf_propagate(struct net_device *dev, struct bpf_prog *prog)
{
	struct netdev_bpf bpf = { .command = XDP_SETUP_PROG };

	bpf.prog = prog;
#ifdef RLIS_HAVE_XDP_PROPAGATE
	return dev_xdp_propagate(dev, &bpf);
#else
	return dev->netdev_ops->ndo_bpf(dev, &bpf);
#endif
}

#if IS_ENABLED(CONFIG_KUNIT)
/* For tests: a program that returns @act, with one reference, which test_program_free() expects to be the last one. */
struct bpf_prog *rlis_helper_net_test_program(u32 act)
{
	struct sock_filter insns[] = { BPF_STMT(BPF_RET | BPF_K, act) };
	struct sock_fprog_kern filter = { .len = ARRAY_SIZE(insns), .filter = insns };
	struct bpf_prog *prog;

	if (bpf_prog_create(&prog, &filter))
		return NULL;
	atomic64_set(&prog->aux->refcnt, 1);
	return prog;
}

u64 rlis_helper_net_test_program_references(const struct bpf_prog *prog)
{
	return atomic64_read(&prog->aux->refcnt);
}

void rlis_helper_net_test_program_free(struct bpf_prog *prog)
{
	bpf_prog_destroy(prog);
}

/* As the stack does when a user attaches a program, which has taken a reference for it. */
int rlis_helper_net_test_bpf(struct net_device *dev, struct bpf_prog *prog, const char **text)
{
	struct netlink_ext_ack extack = { };
	struct netdev_bpf bpf = { .command = XDP_SETUP_PROG };
	int err;

	bpf.prog = prog;
	bpf.extack = &extack;
	if (prog)
		bpf_prog_inc(prog);
	err = dev->netdev_ops->ndo_bpf(dev, &bpf);
	if (err && prog)
		bpf_prog_put(prog);
	*text = extack._msg;
	return err;
}

int rlis_helper_net_test_xdp_xmit(struct net_device *dev, struct xdp_frame **frames, int n)
{
	int sent;

	local_bh_disable();
	sent = dev->netdev_ops->ndo_xdp_xmit(dev, n, frames, XDP_XMIT_FLUSH);
	local_bh_enable();
	return sent;
}

/* A frame in a page of its own, as programs redirect it. */
struct xdp_frame *rlis_helper_net_test_frame(u32 len, u8 byte)
{
	void *page = (void *)get_zeroed_page(GFP_KERNEL);
	struct xdp_rxq_info rxq = { .mem = { .type = MEM_TYPE_PAGE_SHARED } };
	struct xdp_buff xdp;

	if (!page)
		return NULL;
	xdp_init_buff(&xdp, PAGE_SIZE, &rxq);
	xdp_prepare_buff(&xdp, page, XDP_PACKET_HEADROOM, len, true);
	memset(xdp.data, byte, len);
	return xdp_convert_buff_to_frame(&xdp);
}
#endif
