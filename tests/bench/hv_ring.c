// SPDX-License-Identifier: GPL-2.0
/*
 * Measures what the bus costs its drivers: a packet sent, a packet received, an interrupt brought to a callback.
 *
 * It needs no host. hv_vmbus is loaded without its init function (scripts/bench-ring takes that out of the file), so
 * that its code is there, and nothing else. This module makes what the code works on: a channel whose rings are its
 * own, a second one whose inbound ring is the first one's outbound ring, and a page of event flags. Everything goes
 * through the functions that hv_vmbus exports, so that any hv_vmbus can be measured; those and the objects that only
 * some modules may use are named by their addresses.
 *
 * The unit is ticks of the TSC, which are instructions where QEMU counts them (-icount shift=0). Each figure is the
 * least of many short rounds.
 */
#define pr_fmt(fmt) fmt

#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/msr.h>
#include <asm/sync_bitops.h>
#include <hyperv/hvhdk.h>

#include "../../include/vmbus_private.h"

#define SINT	2	/* VMBUS_MESSAGE_SINT, which no public header has */
#define BATCH	32
#define ROUNDS	400
#define PAGES	16	/* of data in a ring */
#define RELID	21
#define PAYLOAD	64

/* From /proc/kallsyms. */
static unsigned long isr, context, tasklet;
module_param(isr, ulong, 0400);
MODULE_PARM_DESC(isr, "address of vmbus_isr");
module_param(context, ulong, 0400);
MODULE_PARM_DESC(context, "address of hv_context");
module_param(tasklet, ulong, 0400);
MODULE_PARM_DESC(tasklet, "address of the function of a channel's tasklet");

struct bench {
	struct vmbus_channel *channel;
	/* Only its inbound ring is used. The bus's own type is longer than the public one. */
	struct vmbus_channel *back;
	struct vmbus_packet_mpb_array *desc;
	/* This CPU's page of event flags, of which there is one set a SINT. */
	union hv_synic_event_flags *events;
	u64 ids[BATCH];
	u8 payload[PAYLOAD];
	u8 buffer[256];
	u64 slots[BATCH];
	unsigned long bitmap;
	unsigned int called, failed;
};

static int send_inband(struct bench *b, unsigned int i)
{
	return vmbus_sendpacket(b->channel, b->payload, PAYLOAD, 0, VM_PKT_DATA_INBAND, 0);
}

static int send_with_id(struct bench *b, unsigned int i)
{
	return vmbus_sendpacket_getid(b->channel, b->payload, PAYLOAD, (unsigned long)b, &b->ids[i],
				      VM_PKT_DATA_INBAND, VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED);
}

static int take_id(struct bench *b, unsigned int i)
{
	return vmbus_request_addr(b->channel, b->ids[i]) == (unsigned long)b ? 0 : -EINVAL;
}

static int send_pages(struct bench *b, unsigned int i)
{
	return vmbus_sendpacket_mpb_desc(b->channel, b->desc,
					 offsetof(struct vmbus_packet_mpb_array, range.pfn_array) + sizeof(u64),
					 b->payload, PAYLOAD, (unsigned long)b);
}

/* It does not tell its ids; a batch takes all that there are. */
static int take_any_id(struct bench *b, unsigned int i)
{
	return vmbus_request_addr(b->channel, i + 1) == (unsigned long)b ? 0 : -EINVAL;
}

static int receive(struct bench *b, unsigned int i)
{
	u32 len;
	u64 id;
	int ret = vmbus_recvpacket(b->back, b->buffer, sizeof(b->buffer), &len, &id);

	return ret ?: len == PAYLOAD ? 0 : -EINVAL;
}

static int iterate(struct bench *b, unsigned int unused)
{
	struct vmpacket_descriptor *packet;
	unsigned int n = 0;

	foreach_vmbus_pkt(packet, b->back)
		n++;
	return n == BATCH ? 0 : -EINVAL;
}

static void on_event(void *context)
{
	struct bench *b = context;

	b->called++;
}

/* An event flag as the hypervisor sets it, and the interrupt. */
static int interrupt(struct bench *b, unsigned int i)
{
	unsigned int before = b->called;

	sync_set_bit(b->channel->offermsg.child_relid, b->events[SINT].flags);
	((void (*)(void))isr)();
	/* A tasklet runs when softirqs are handled, see round(). */
	return b->channel->callback_mode == HV_CALL_ISR && b->called != before + 1 ? -EINVAL : 0;
}

/* The same with the tasklet: it runs here, as softirqs were off. */
static int interrupt_and_tasklet(struct bench *b, unsigned int i)
{
	unsigned int before = b->called;

	local_bh_disable();
	local_irq_disable();
	interrupt(b, i);
	local_irq_enable();
	local_bh_enable();
	return b->called == before + 1 ? 0 : -EINVAL;
}

/* Drops what is in the ring, as the host would. */
static void drain(struct bench *b)
{
	struct vmpacket_descriptor *packet;

	foreach_vmbus_pkt(packet, b->back)
		;
}

struct row {
	const char *name;
	int (*before)(struct bench *b, unsigned int i);
	int (*step)(struct bench *b, unsigned int i);
	int (*after)(struct bench *b, unsigned int i);
	unsigned int steps;
	bool irqs;
};

static const struct row rows[] = {
	{ "send_64", NULL, send_inband, NULL, BATCH },
	{ "send_64_id", NULL, send_with_id, take_id, BATCH },
	{ "take_id", send_with_id, take_id, NULL, BATCH },
	{ "send_pages", NULL, send_pages, take_any_id, BATCH },
	{ "receive_64", send_inband, receive, NULL, BATCH },
	{ "iterate_64", send_inband, iterate, NULL, 1 },
	{ "dispatch_isr", NULL, interrupt, NULL, BATCH },
	{ "dispatch_batched", NULL, interrupt_and_tasklet, NULL, BATCH, true },
};

static void run(struct bench *b, const struct row *row)
{
	u64 best = U64_MAX, start, ticks;
	unsigned long flags;
	unsigned int n, i;

	b->failed = 0;
	set_channel_read_mode(b->channel, row->step == interrupt ? HV_CALL_ISR : HV_CALL_BATCHED);
	for (n = 0; n < ROUNDS; n++) {
		for (i = 0; row->before && i < BATCH; i++)
			b->failed += !!row->before(b, i);
		preempt_disable();
		local_irq_save(flags);
		if (row->irqs)
			local_irq_enable();
		start = rdtsc_ordered();
		for (i = 0; i < row->steps; i++)
			b->failed += !!row->step(b, i);
		ticks = rdtsc_ordered() - start;
		local_irq_restore(flags);
		preempt_enable();
		best = min(best, ticks);
		for (i = 0; row->after && i < BATCH; i++)
			b->failed += !!row->after(b, i);
		drain(b);
	}
	if (b->failed)
		pr_err("rlis-check: bench_%s FAIL %u steps failed\n", row->name, b->failed);
	else
		pr_info("rlis-bench: %s %llu\n", row->name, best * 10 / BATCH);
}

/* A ring as the bus maps it: the header page, then the data twice. Not freed: the guest ends after the run. */
static int make_ring(struct hv_ring_buffer_info *info)
{
	struct page *pages[1 + 2 * PAGES];
	unsigned int i;

	for (i = 0; i <= PAGES; i++) {
		pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pages[i])
			return -ENOMEM;
		if (i)
			pages[PAGES + i] = pages[i];
	}
	info->ring_buffer = vmap(pages, ARRAY_SIZE(pages), VM_MAP, PAGE_KERNEL);
	info->pkt_buffer = kzalloc(PAGE_SIZE, GFP_KERNEL);
	if (!info->ring_buffer || !info->pkt_buffer)
		return -ENOMEM;
	info->ring_size = (1 + PAGES) * PAGE_SIZE;
	info->ring_datasize = PAGES * PAGE_SIZE;
	info->pkt_buffer_size = PAGE_SIZE;
	info->ring_buffer->feature_bits.feat_pending_send_sz = 1;
	/* As while the other side reads: it is not signalled. */
	info->ring_buffer->interrupt_mask = 1;
	spin_lock_init(&info->ring_lock);
	mutex_init(&info->ring_buffer_mutex);
	return 0;
}

static struct vmbus_channel *make_channel(struct bench *b)
{
	/* The bus's own type is longer than the public one. */
	struct vmbus_channel *channel = kzalloc(sizeof(*channel) + 512, GFP_KERNEL);
	unsigned int i;

	if (!channel || make_ring(&channel->outbound) || make_ring(&channel->inbound))
		return NULL;
	spin_lock_init(&channel->sched_lock);
	tasklet_init(&channel->callback_event, (void (*)(unsigned long))tasklet, (unsigned long)channel);
	channel->offermsg.child_relid = RELID;
	channel->state = CHANNEL_OPENED_STATE;
	channel->onchannel_callback = on_event;
	channel->channel_callback_context = b;
	channel->max_pkt_size = PAGE_SIZE;
	channel->next_request_id_callback = vmbus_next_request_id;
	channel->request_addr_callback = vmbus_request_addr;
	channel->rqstor_size = BATCH;
	channel->requestor.req_arr = b->slots;
	channel->requestor.req_bitmap = &b->bitmap;
	channel->requestor.size = BATCH;
	for (i = 0; i < BATCH; i++)
		b->slots[i] = i + 1;
	spin_lock_init(&channel->requestor.req_lock);
	return channel;
}

/* What an interrupt looks at. */
static int make_interrupts(struct bench *b)
{
	struct hv_context *c = (struct hv_context *)context;
	struct hv_per_cpu_context *cpu;

	c->cpu_context = alloc_percpu(struct hv_per_cpu_context);
	vmbus_connection.channels = kcalloc(2048, sizeof(*vmbus_connection.channels), GFP_KERNEL);
	if (!c->cpu_context || !vmbus_connection.channels)
		return -ENOMEM;
	cpu = per_cpu_ptr(c->cpu_context, 0);
	cpu->hyp_synic_message_page = (void *)get_zeroed_page(GFP_KERNEL);
	cpu->hyp_synic_event_page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!cpu->hyp_synic_message_page || !cpu->hyp_synic_event_page)
		return -ENOMEM;
	b->events = cpu->hyp_synic_event_page;
	vmbus_connection.channels[RELID] = b->channel;
	vmbus_connection.relid_hiwater = RELID;
	return 0;
}

static int __init bench_init(void)
{
	static struct bench bench;
	struct bench *b = &bench;
	unsigned int i;

	if (!isr || !context || !tasklet)
		return -EINVAL;
	b->channel = make_channel(b);
	b->back = make_channel(b);
	b->desc = (void *)get_zeroed_page(GFP_KERNEL);
	if (!b->channel || !b->back || !b->desc || make_interrupts(b))
		return -ENOMEM;
	b->back->inbound.ring_buffer = b->channel->outbound.ring_buffer;
	b->desc->rangecount = 1;
	b->desc->range.len = PAGE_SIZE;
	b->desc->range.pfn_array[0] = virt_to_hvpfn(b->desc);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		run(b, &rows[i]);
	return 0;
}

module_init(bench_init);
MODULE_DESCRIPTION("Measures what the VMBus driver costs a packet and an interrupt");
MODULE_LICENSE("GPL");
