// SPDX-License-Identifier: GPL-2.0
/*
 * The host's side of a channel: reads what the guest puts into its ring, and writes into the other one.
 *
 * Strict about the guest: what a guest must not send is logged, counted as a violation and not executed.
 * Nothing here sleeps, so that it can run in a softirq.
 */
#include <linux/module.h>

#include "hv_loop.h"

/* Whether more than TOTAL bytes are free in the inbound ring. If not, the guest is asked to signal once they are. */
static bool room_in(struct hv_ring_buffer_info *rbi, u32 start, u32 read, u32 total)
{
	u32 room = start >= read ? rbi->ring_datasize - (start - read) : read - start;

	if (room > total)
		return true;
	WRITE_ONCE(rbi->ring_buffer->pending_send_sz, total);
	/* What is waited for, before another look: it may have been read meanwhile. */
	virt_mb();
	read = READ_ONCE(rbi->ring_buffer->read_index);
	room = start >= read ? rbi->ring_datasize - (start - read) : read - start;
	return room > total;
}

static bool room_for_answer(struct loop_channel *lc)
{
	struct hv_ring_buffer_info *rbi = &lc->ch.inbound;
	u32 read = READ_ONCE(rbi->ring_buffer->read_index);

	/* An index that is none is told of with the answer. */
	return read >= rbi->ring_datasize || room_in(rbi, rbi->ring_buffer->write_index, read, LOOP_ANSWER_MAX);
}

/* Puts a packet of LEN payload bytes into the inbound ring; the caller holds reply_lock. */
int loop_ring_reply(struct loop_channel *lc, u64 trans_id, u16 type, const void *payload, u32 len, u16 len8,
		    u16 offset8)
{
	struct hv_ring_buffer_info *rbi = &lc->ch.inbound;
	struct vmpacket_descriptor desc = { .type = type, .trans_id = trans_id };
	u32 total = sizeof(desc) + ALIGN(len, 8) + sizeof(u64), start, read, at;
	u8 *data = rbi->ring_buffer->buffer;
	u64 trailer;

	desc.offset8 = offset8;
	desc.len8 = len8;
	start = rbi->ring_buffer->write_index;
	read = READ_ONCE(rbi->ring_buffer->read_index);
	if (read >= rbi->ring_datasize) {
		violation(lc, "inbound read index %u beyond the ring", read);
		return -EIO;
	}
	if (!room_in(rbi, start, read, total))
		return -EAGAIN;
	WRITE_ONCE(rbi->ring_buffer->pending_send_sz, 0);
	/* The data is mapped twice in a row. */
	memcpy(data + start, &desc, sizeof(desc));
	memcpy(data + start + sizeof(desc), payload, len);
	memset(data + start + sizeof(desc) + len, 0, ALIGN(len, 8) - len);
	trailer = (u64)start << 32;
	memcpy(data + start + total - sizeof(u64), &trailer, sizeof(u64));
	at = start + total;
	if (at >= rbi->ring_datasize)
		at -= rbi->ring_datasize;
	/* The packet before the index that announces it. */
	virt_store_release(&rbi->ring_buffer->write_index, at);
	/* The index before a look at whether the guest wants to be told. */
	virt_mb();
	if (!READ_ONCE(rbi->ring_buffer->interrupt_mask) && start == READ_ONCE(rbi->ring_buffer->read_index))
		loop_raise_guest(lc);
	return 0;
}

/* The host has a read index of its own: what lies in shared memory may be anything. */
static u32 to_read(struct loop_channel *lc)
{
	struct hv_ring_buffer_info *rbi = &lc->ch.outbound;
	/* The index before the packets that it announces. */
	u32 read = lc->host_read, write = virt_load_acquire(&rbi->ring_buffer->write_index);

	if (write >= rbi->ring_datasize)
		return 0;

	return write >= read ? write - read : rbi->ring_datasize - read + write;
}

static bool is_storage(const struct loop_dev *dev)
{
	return dev->class != LOOP_NET && dev->class != LOOP_BALLOON;
}

static void serve(struct loop_channel *lc)
{
	struct hv_ring_buffer_info *rbi = &lc->ch.outbound;
	bool storage = is_storage(lc->dev);
	u32 avail, len, read, stall;

	/* With what vmbus_connect_ring() has set up. */
	if (!smp_load_acquire(&lc->open))
		return;
	clear_bit(0, &lc->rung);
	stall = storage ? loop_vstor_stall(lc) : 0;
	if (unlikely(stall)) {
		WRITE_ONCE(rbi->ring_buffer->interrupt_mask, 1);
		mod_delayed_work(system_highpri_wq, &lc->timer, msecs_to_jiffies(stall));
		return;
	}
	do {
		/* While this runs, new requests need no signal. */
		WRITE_ONCE(rbi->ring_buffer->interrupt_mask, 1);
		/* The mask before a look at the ring. */
		virt_mb();
		while ((avail = to_read(lc)) && READ_ONCE(lc->open) && !lc->ch.rescind) {
			/* Without room for an answer the guest has to wait; it signals when it has made some. */
			if (!storage && !room_for_answer(lc))
				return;
			read = lc->host_read;
			if (avail < sizeof(struct vmpacket_descriptor)) {
				violation(lc, "%u bytes in the ring", avail);
				return;
			}
			memcpy(lc->pkt, rbi->ring_buffer->buffer + read, sizeof(struct vmpacket_descriptor));
			len = ((struct vmpacket_descriptor *)lc->pkt)->len8 << 3;
			if (len < sizeof(struct vmpacket_descriptor) || len > avail - sizeof(u64) || len > LOOP_PKT_MAX) {
				violation(lc, "packet of %u bytes, %u in the ring", len, avail);
				return;
			}
			memcpy(lc->pkt, rbi->ring_buffer->buffer + read, len);
			read += len + sizeof(u64);
			if (read >= rbi->ring_datasize)
				read -= rbi->ring_datasize;
			lc->host_read = read;
			/* The packet was copied before its room is given back. */
			virt_store_release(&rbi->ring_buffer->read_index, read);
			if (storage)
				loop_vstor_packet(lc, lc->pkt, len);
			else if (lc->dev->class == LOOP_NET)
				loop_net_packet(lc, lc->pkt, len);
			else
				loop_balloon_packet(lc, lc->pkt, len);
		}
		WRITE_ONCE(rbi->ring_buffer->interrupt_mask, 0);
		/* The mask before a last look at the ring. */
		virt_mb();
	} while (to_read(lc) && READ_ONCE(lc->open) && !lc->ch.rescind);
}

static void host_work(struct work_struct *work)
{
	struct loop_channel *lc = container_of(work, struct loop_channel, host_work);
	unsigned long flags;
	u64 start;

	if (is_storage(lc->dev)) {
		serve(lc);
		return;
	}
	/* What the host takes is no cost of the guest's: it is counted apart, so no interrupt of the guest's gets in. */
	local_irq_save(flags);
	start = get_cycles();
	serve(lc);
	lc->host_cycles += get_cycles() - start;
	local_irq_restore(flags);
}

static void timer_work(struct work_struct *work)
{
	struct loop_channel *lc = container_of(work, struct loop_channel, timer.work);

	loop_vstor_send_held(lc);
	/* After a stall, or for a reply that found no room. */
	queue_work(loop_host_wq, &lc->host_work);
}

static void doorbell_isr(struct loop_irq *irq)
{
	struct loop_channel *lc = container_of(irq, struct loop_channel, doorbell);

	lc->doorbells++;
	if (lc->open)
		queue_work(loop_host_wq, &lc->host_work);
}

/* The guest signals the channel. */
void loop_doorbell(struct loop_channel *lc)
{
	loop_irq_raise(&lc->doorbell, READ_ONCE(lc->ch.target_cpu));
}

void loop_host_setup(struct loop_channel *lc)
{
	spin_lock_init(&lc->reply_lock);
	INIT_LIST_HEAD(&lc->held);
	INIT_WORK(&lc->host_work, host_work);
	INIT_DELAYED_WORK(&lc->timer, timer_work);
	loop_irq_init(&lc->doorbell, doorbell_isr);
}

void loop_host_close(struct loop_channel *lc)
{
	unsigned long flags;

	spin_lock_irqsave(&lc->reply_lock, flags);
	lc->open = false;
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	loop_irq_sync(&lc->doorbell);
	cancel_delayed_work_sync(&lc->timer);
	cancel_work_sync(&lc->host_work);
	cancel_delayed_work_sync(&lc->timer);
	loop_vstor_end_held(lc);
}
