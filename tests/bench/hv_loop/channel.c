// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's side of a channel: what hv_vmbus offers to drivers for a channel, with the same contract.
 */
#include <linux/cpu.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "hv_loop.h"

/* ---- interrupt lines ---- */

static void irq_local(struct irq_work *work)
{
	struct loop_irq *irq = container_of(work, struct loop_irq, local);

	irq->handler(irq);
}

static void irq_remote(void *info)
{
	struct loop_irq *irq = info;

	clear_bit(0, &irq->busy);
	/* The bit before the work, so that what is raised from here on is seen again. */
	smp_mb__after_atomic();
	irq->handler(irq);
}

void loop_irq_init(struct loop_irq *irq, void (*handler)(struct loop_irq *irq))
{
	irq->handler = handler;
	irq->local = IRQ_WORK_INIT_HARD(irq_local);
	INIT_CSD(&irq->csd, irq_remote, irq);
}

/* Runs the handler on a CPU in hard interrupt context, as a real interrupt would. */
void loop_irq_raise(struct loop_irq *irq, int cpu)
{
	if (cpu == get_cpu() || !cpu_online(cpu)) {
		irq_work_queue(&irq->local);
	} else if (!test_and_set_bit(0, &irq->busy)) {
		if (smp_call_function_single_async(cpu, &irq->csd)) {
			clear_bit(0, &irq->busy);
			irq_work_queue(&irq->local);
		}
	}
	put_cpu();
}

void loop_irq_sync(struct loop_irq *irq)
{
	irq_work_sync(&irq->local);
	while (test_bit(0, &irq->busy))
		cpu_relax();
	/* The remote handler may still run, with interrupts off. */
	synchronize_rcu();
}

/* The channel's interrupt: schedules the driver's callback in the way that the driver chose. */
static void guest_isr(struct loop_irq *irq)
{
	struct loop_channel *lc = container_of(irq, struct loop_channel, guest_irq);
	struct vmbus_channel *ch = &lc->ch;
	/* Closing a channel waits for its interrupts, so what is called here stays until this returns. */
	void (*callback)(void *context) = READ_ONCE(ch->onchannel_callback);

	if (!callback)
		return;
	++ch->interrupts;
	switch (ch->callback_mode) {
	case HV_CALL_ISR:
		callback(ch->channel_callback_context);
		break;
	case HV_CALL_BATCHED:
		hv_begin_read(&ch->inbound);
		fallthrough;
	case HV_CALL_DIRECT:
		tasklet_schedule(&ch->callback_event);
		break;
	}
}

void loop_raise_guest(struct loop_channel *lc)
{
	loop_irq_raise(&lc->guest_irq, READ_ONCE(lc->ch.target_cpu));
}

static void on_event(unsigned long data)
{
	struct vmbus_channel *ch = (struct vmbus_channel *)data;
	void (*callback)(void *context) = READ_ONCE(ch->onchannel_callback);

	if (!callback)
		return;
	callback(ch->channel_callback_context);
	if (ch->callback_mode != HV_CALL_BATCHED)
		return;
	if (hv_end_read(&ch->inbound)) {
		hv_begin_read(&ch->inbound);
		tasklet_schedule(&ch->callback_event);
	}
}

void loop_channel_setup(struct loop_channel *lc)
{
	struct vmbus_channel *ch = &lc->ch;

	spin_lock_init(&ch->sched_lock);
	init_completion(&ch->rescind_event);
	INIT_LIST_HEAD(&ch->sc_list);
	mutex_init(&ch->inbound.ring_buffer_mutex);
	mutex_init(&ch->outbound.ring_buffer_mutex);
	tasklet_init(&ch->callback_event, on_event, (unsigned long)ch);
	ch->max_pkt_size = VMBUS_DEFAULT_MAX_PKT_SIZE;
	/* The name misleads: this is a channel that may be opened. */
	ch->state = CHANNEL_OPEN_STATE;
	loop_irq_init(&lc->guest_irq, guest_isr);
}

/* ---- open and close ---- */

static int ring_init(struct hv_ring_buffer_info *rbi, struct page *first, u32 pages, u32 pkt_size)
{
	u32 data = pages - 1, i;
	struct page **map = kcalloc(1 + 2 * data, sizeof(*map), GFP_KERNEL);

	if (!map)
		return -ENOMEM;
	/* The data follows itself, so that a packet is contiguous wherever it starts. */
	map[0] = first;
	for (i = 0; i < 2 * data; i++)
		map[1 + i] = first + 1 + i % data;
	rbi->ring_buffer = vmap(map, 1 + 2 * data, VM_MAP, PAGE_KERNEL);
	kfree(map);
	if (!rbi->ring_buffer)
		return -ENOMEM;
	memset(rbi->ring_buffer, 0, PAGE_SIZE);
	rbi->ring_buffer->feature_bits.value = 1;
	rbi->ring_size = pages << PAGE_SHIFT;
	rbi->ring_size_div10_reciprocal = reciprocal_value(rbi->ring_size / 10);
	rbi->ring_datasize = data << PAGE_SHIFT;
	rbi->priv_read_index = 0;
	spin_lock_init(&rbi->ring_lock);
	if (pkt_size) {
		rbi->pkt_buffer = kzalloc(pkt_size, GFP_KERNEL);
		if (!rbi->pkt_buffer)
			return -ENOMEM;
		rbi->pkt_buffer_size = pkt_size;
	}
	return 0;
}

static void ring_exit(struct hv_ring_buffer_info *rbi)
{
	mutex_lock(&rbi->ring_buffer_mutex);
	vunmap(rbi->ring_buffer);
	rbi->ring_buffer = NULL;
	mutex_unlock(&rbi->ring_buffer_mutex);
	kfree(rbi->pkt_buffer);
	rbi->pkt_buffer = NULL;
	rbi->pkt_buffer_size = 0;
}

int vmbus_alloc_ring(struct vmbus_channel *ch, u32 send_size, u32 recv_size)
{
	u32 pages = (send_size + recv_size) >> PAGE_SHIFT;

	if (send_size % PAGE_SIZE || recv_size % PAGE_SIZE || send_size < 2 * PAGE_SIZE || recv_size < 2 * PAGE_SIZE)
		return -EINVAL;
	ch->ringbuffer_page = alloc_pages(GFP_KERNEL | __GFP_ZERO, get_order(pages << PAGE_SHIFT));
	if (!ch->ringbuffer_page)
		return -ENOMEM;
	ch->ringbuffer_pagecount = pages;
	ch->ringbuffer_send_offset = send_size >> PAGE_SHIFT;
	return 0;
}
EXPORT_SYMBOL_GPL(vmbus_alloc_ring);

void vmbus_free_ring(struct vmbus_channel *ch)
{
	ring_exit(&ch->outbound);
	ring_exit(&ch->inbound);
	if (ch->ringbuffer_page)
		__free_pages(ch->ringbuffer_page, get_order(ch->ringbuffer_pagecount << PAGE_SHIFT));
	ch->ringbuffer_page = NULL;
}
EXPORT_SYMBOL_GPL(vmbus_free_ring);

int vmbus_connect_ring(struct vmbus_channel *ch, void (*callback)(void *context), void *context)
{
	struct loop_channel *lc = to_loop_channel(ch);
	int err;

	if (ch->rescind)
		return -ENODEV;
	if (ch->state != CHANNEL_OPEN_STATE)
		return -EINVAL;
	err = loop_requestor_init(ch);
	if (err)
		return err;
	err = ring_init(&ch->outbound, ch->ringbuffer_page, ch->ringbuffer_send_offset, 0) ?:
	      ring_init(&ch->inbound, ch->ringbuffer_page + ch->ringbuffer_send_offset,
			ch->ringbuffer_pagecount - ch->ringbuffer_send_offset, ch->max_pkt_size);
	if (err) {
		loop_requestor_exit(ch);
		return err;
	}
	lc->host_read = 0;
	clear_bit(0, &lc->rung);
	ch->onchannel_callback = callback;
	ch->channel_callback_context = context;
	ch->state = CHANNEL_OPENED_STATE;
	/* All of the above before the host looks at it. */
	smp_store_release(&lc->open, true);
	return 0;
}
EXPORT_SYMBOL_GPL(vmbus_connect_ring);

int vmbus_open(struct vmbus_channel *ch, u32 send_size, u32 recv_size, void *userdata, u32 userdatalen,
	       void (*callback)(void *context), void *context)
{
	int err;

	if (userdatalen > MAX_USER_DEFINED_BYTES)
		return -EINVAL;
	err = vmbus_alloc_ring(ch, send_size, recv_size);
	if (err)
		return err;
	err = vmbus_connect_ring(ch, callback, context);
	if (err)
		vmbus_free_ring(ch);
	return err;
}
EXPORT_SYMBOL_GPL(vmbus_open);

void vmbus_reset_channel_cb(struct vmbus_channel *ch)
{
	unsigned long flags;

	/* A callback that runs ends first; afterwards none starts. */
	tasklet_disable(&ch->callback_event);
	spin_lock_irqsave(&ch->sched_lock, flags);
	ch->onchannel_callback = NULL;
	spin_unlock_irqrestore(&ch->sched_lock, flags);
	ch->sc_creation_callback = NULL;
	tasklet_enable(&ch->callback_event);
}
EXPORT_SYMBOL_GPL(vmbus_reset_channel_cb);

void loop_close_now(struct loop_channel *lc)
{
	struct vmbus_channel *ch = &lc->ch;

	vmbus_reset_channel_cb(ch);
	if (ch->state != CHANNEL_OPENED_STATE)
		return;
	loop_host_close(lc);
	loop_irq_sync(&lc->guest_irq);
	tasklet_kill(&ch->callback_event);
	ch->state = CHANNEL_OPEN_STATE;
	vmbus_free_ring(ch);
	loop_requestor_exit(ch);
	if (lc->dev->class == LOOP_NET && !lc->index)
		loop_net_closed(lc->dev);
	if (lc->dev->class == LOOP_BALLOON)
		loop_balloon_closed(lc->dev);
}

int vmbus_disconnect_ring(struct vmbus_channel *ch)
{
	struct loop_channel *lc = to_loop_channel(ch), *sub;
	struct loop_dev *dev = lc->dev;

	if (ch->primary_channel)
		return -EINVAL;
	cancel_work_sync(&dev->offer_work);
	/* Closing the primary takes back the sub-channels, which the host withdraws. */
	for (;;) {
		mutex_lock(&dev->lock);
		sub = NULL;
		if (dev->n_channels > 1) {
			sub = dev->channels[--dev->n_channels];
			dev->channels[dev->n_channels] = NULL;
			list_del(&sub->ch.sc_list);
		}
		mutex_unlock(&dev->lock);
		if (!sub)
			break;
		loop_close_now(sub);
		loop_channel_free(sub);
	}
	loop_close_now(lc);
	dev->init_state = 0;
	return 0;
}
EXPORT_SYMBOL_GPL(vmbus_disconnect_ring);

void vmbus_close(struct vmbus_channel *ch)
{
	vmbus_disconnect_ring(ch);
}
EXPORT_SYMBOL_GPL(vmbus_close);

/* ---- guest to host ---- */

/*
 * Whether the host has no use for a signal: it was signalled before and has not begun to read, does not want to be, or has
 * read all there is.
 */
static bool is_needless(struct loop_channel *lc)
{
	struct hv_ring_buffer *ring = lc->ch.outbound.ring_buffer;

	return test_and_set_bit(0, &lc->rung) || READ_ONCE(ring->interrupt_mask) ||
	       READ_ONCE(ring->read_index) == READ_ONCE(ring->write_index);
}

void vmbus_setevent(struct vmbus_channel *ch)
{
	struct loop_channel *lc = to_loop_channel(ch);

	++ch->sig_events;
	if (READ_ONCE(lc->open) && is_needless(lc))
		lc->needless++;
	loop_doorbell(lc);
}
EXPORT_SYMBOL_GPL(vmbus_setevent);

void vmbus_set_event(struct vmbus_channel *ch)
{
	vmbus_setevent(ch);
}
EXPORT_SYMBOL_GPL(vmbus_set_event);

static u32 ring_put(struct hv_ring_buffer_info *rbi, u32 at, const void *from, u32 len)
{
	memcpy((u8 *)rbi->ring_buffer->buffer + at, from, len);
	at += len;
	return at >= rbi->ring_datasize ? at - rbi->ring_datasize : at;
}

static int ring_send(struct vmbus_channel *ch, struct vmpacket_descriptor *desc, u32 desc_len, const void *payload,
		     u32 payload_len, u64 requestid, u64 *trans_id)
{
	struct hv_ring_buffer_info *rbi = &ch->outbound;
	u32 length = ALIGN(desc_len + payload_len, sizeof(u64)), total = length + sizeof(u64);
	u32 pad = length - desc_len - payload_len;
	u32 read, start, at, room;
	u64 trailer, zero = 0, id = requestid;
	unsigned long flags;

	desc->offset8 = desc_len >> 3;
	desc->len8 = length >> 3;
	if (ch->rescind)
		return -ENODEV;

	if (!spin_trylock_irqsave(&rbi->ring_lock, flags)) {
		to_loop_channel(ch)->lock_contended++;	/* a statistic: races on it are harmless */
		spin_lock_irqsave(&rbi->ring_lock, flags);
	}
	read = READ_ONCE(rbi->ring_buffer->read_index);
	start = READ_ONCE(rbi->ring_buffer->write_index);
	if (read >= rbi->ring_datasize || start >= rbi->ring_datasize) {
		spin_unlock_irqrestore(&rbi->ring_lock, flags);
		return -EIO;
	}
	room = start >= read ? rbi->ring_datasize - (start - read) : read - start;
	if (room <= total) {
		++ch->out_full_total;
		if (!ch->out_full_flag) {
			++ch->out_full_first;
			ch->out_full_flag = true;
		}
		spin_unlock_irqrestore(&rbi->ring_lock, flags);
		return -EAGAIN;
	}
	ch->out_full_flag = false;
	if (desc->flags == VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED && ch->next_request_id_callback) {
		id = ch->next_request_id_callback(ch, requestid);
		if (id == VMBUS_RQST_ERROR) {
			spin_unlock_irqrestore(&rbi->ring_lock, flags);
			return -EAGAIN;
		}
	}
	desc->trans_id = id;
	if (trans_id)
		*trans_id = id;
	at = ring_put(rbi, start, desc, desc_len);
	at = ring_put(rbi, at, payload, payload_len);
	at = ring_put(rbi, at, &zero, pad);
	trailer = (u64)start << 32;
	at = ring_put(rbi, at, &trailer, sizeof(trailer));
	/* The packet before the index that announces it. */
	virt_mb();
	WRITE_ONCE(rbi->ring_buffer->write_index, at);
	spin_unlock_irqrestore(&rbi->ring_lock, flags);

	/* The host needs a signal if it had emptied the ring before this packet. */
	virt_mb();
	if (!READ_ONCE(rbi->ring_buffer->interrupt_mask)) {
		/* The mask before the index, the other way round than the host writes them. */
		virt_rmb();
		if (start == READ_ONCE(rbi->ring_buffer->read_index)) {
			++ch->intr_out_empty;
			vmbus_setevent(ch);
		}
	}
	return ch->rescind ? -ENODEV : 0;
}

int vmbus_sendpacket_getid(struct vmbus_channel *ch, void *buffer, u32 len, u64 requestid, u64 *trans_id,
			   enum vmbus_packet_type type, u32 flags)
{
	struct vmpacket_descriptor desc = { .type = type, .flags = flags };

	return ring_send(ch, &desc, sizeof(desc), buffer, len, requestid, trans_id);
}
EXPORT_SYMBOL_GPL(vmbus_sendpacket_getid);

int vmbus_sendpacket(struct vmbus_channel *ch, void *buffer, u32 len, u64 requestid, enum vmbus_packet_type type,
		     u32 flags)
{
	return vmbus_sendpacket_getid(ch, buffer, len, requestid, NULL, type, flags);
}
EXPORT_SYMBOL_GPL(vmbus_sendpacket);

int vmbus_sendpacket_mpb_desc(struct vmbus_channel *ch, struct vmbus_packet_mpb_array *desc, u32 desc_size,
			      void *buffer, u32 bufferlen, u64 requestid)
{
	desc->type = VM_PKT_DATA_USING_GPA_DIRECT;
	desc->flags = VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED;
	desc->reserved = 0;
	return ring_send(ch, (struct vmpacket_descriptor *)desc, desc_size, buffer, bufferlen, requestid, NULL);
}
EXPORT_SYMBOL_GPL(vmbus_sendpacket_mpb_desc);

/* ---- host to guest ---- */

struct vmpacket_descriptor *hv_pkt_iter_first(struct vmbus_channel *ch)
{
	struct hv_ring_buffer_info *rbi = &ch->inbound;
	struct vmpacket_descriptor *shared, *copy = rbi->pkt_buffer;
	/* The index before the packets that it announces. */
	u32 write = virt_load_acquire(&rbi->ring_buffer->write_index);
	u32 avail = write >= rbi->priv_read_index ? write - rbi->priv_read_index :
						    rbi->ring_datasize - rbi->priv_read_index + write;
	u32 len, offset;

	if (avail < sizeof(*shared))
		return NULL;
	avail = min(avail, rbi->pkt_buffer_size);
	shared = (void *)rbi->ring_buffer->buffer + rbi->priv_read_index;
	len = READ_ONCE(shared->len8) << 3;
	offset = READ_ONCE(shared->offset8) << 3;
	if (len < sizeof(*shared) || len > avail)
		len = avail;
	if (offset < sizeof(*shared) || offset > len)
		offset = sizeof(*shared);
	memcpy(copy, shared, len);
	copy->len8 = len >> 3;
	copy->offset8 = offset >> 3;
	return copy;
}
EXPORT_SYMBOL_GPL(hv_pkt_iter_first);

struct vmpacket_descriptor *__hv_pkt_iter_next(struct vmbus_channel *ch, const struct vmpacket_descriptor *desc)
{
	struct hv_ring_buffer_info *rbi = &ch->inbound;

	rbi->priv_read_index += (desc->len8 << 3) + sizeof(u64);
	if (rbi->priv_read_index >= rbi->ring_datasize)
		rbi->priv_read_index -= rbi->ring_datasize;
	return hv_pkt_iter_first(ch);
}
EXPORT_SYMBOL_GPL(__hv_pkt_iter_next);

void hv_pkt_iter_close(struct vmbus_channel *ch)
{
	struct hv_ring_buffer_info *rbi = &ch->inbound;
	u32 before, freed, room, pending;

	/* All packets are read before their room is given back. */
	virt_rmb();
	before = rbi->ring_buffer->read_index;
	rbi->ring_buffer->read_index = rbi->priv_read_index;
	/* The host may wait for room: it is told when the room it waits for comes to be. */
	virt_mb();
	pending = READ_ONCE(rbi->ring_buffer->pending_send_sz);
	if (!pending)
		return;
	/* What the host waits for, before what there is. */
	virt_rmb();
	room = hv_get_bytes_to_write(rbi);
	freed = rbi->priv_read_index >= before ? rbi->priv_read_index - before :
						 rbi->ring_datasize - before + rbi->priv_read_index;
	if (room - freed > pending || room <= pending)
		return;
	++ch->intr_in_full;
	++ch->sig_events;
	loop_doorbell(to_loop_channel(ch));
}
EXPORT_SYMBOL_GPL(hv_pkt_iter_close);

static int receive(struct vmbus_channel *ch, void *buffer, u32 len, u32 *actual, u64 *id, bool raw)
{
	struct vmpacket_descriptor *desc;
	u32 skip, size;

	*actual = 0;
	*id = 0;
	if (!len)
		return -EINVAL;
	desc = hv_pkt_iter_first(ch);
	if (!desc)
		return 0;
	skip = raw ? 0 : desc->offset8 << 3;
	size = (desc->len8 << 3) - skip;
	*actual = size;
	*id = desc->trans_id;
	if (size > len)
		return -ENOBUFS;
	memcpy(buffer, (u8 *)desc + skip, size);
	__hv_pkt_iter_next(ch, desc);
	hv_pkt_iter_close(ch);
	return 0;
}

int vmbus_recvpacket(struct vmbus_channel *ch, void *buffer, u32 len, u32 *actual, u64 *id)
{
	return receive(ch, buffer, len, actual, id, false);
}
EXPORT_SYMBOL_GPL(vmbus_recvpacket);

int vmbus_recvpacket_raw(struct vmbus_channel *ch, void *buffer, u32 len, u32 *actual, u64 *id)
{
	return receive(ch, buffer, len, actual, id, true);
}
EXPORT_SYMBOL_GPL(vmbus_recvpacket_raw);
