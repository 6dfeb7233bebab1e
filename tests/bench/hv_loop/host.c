// SPDX-License-Identifier: GPL-2.0
/*
 * The host's side of a channel: reads requests, speaks VSTOR, sends completions, and misbehaves on demand.
 *
 * Strict about the guest: what a guest must not send is logged, counted as a violation and not executed.
 * Nothing here sleeps, so that it can run in a softirq.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include <scsi/scsi_proto.h>

#include "hv_loop.h"

#define violation(lc, fmt, ...)									\
do {												\
	(lc)->violations++;									\
	pr_err_ratelimited("hv_loop: violation on channel %u: " fmt "\n",			\
			   (lc)->ch.offermsg.child_relid, ##__VA_ARGS__);			\
} while (0)

/* ---- completions ---- */

/* Puts a packet of LEN payload bytes into the inbound ring; the caller holds reply_lock. */
static int ring_reply(struct loop_channel *lc, u64 trans_id, u16 type, const void *payload, u32 len, u16 len8, u16 offset8)
{
	struct hv_ring_buffer_info *rbi = &lc->ch.inbound;
	struct vmpacket_descriptor desc = { .type = type, .trans_id = trans_id };
	u32 total = sizeof(desc) + ALIGN(len, 8) + sizeof(u64), start, read, room, at;
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
	room = start >= read ? rbi->ring_datasize - (start - read) : read - start;
	if (room <= total) {
		/* The guest signals once that much is free; look again, it may have been read meanwhile. */
		WRITE_ONCE(rbi->ring_buffer->pending_send_sz, total);
		/* What is waited for, before another look. */
		virt_mb();
		read = READ_ONCE(rbi->ring_buffer->read_index);
		room = start >= read ? rbi->ring_datasize - (start - read) : read - start;
		if (room <= total)
			return -EAGAIN;
	}
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

/* RANGE: of a request that is still to be carried out; NULL if only the reply is late. The caller holds reply_lock. */
static int hold(struct loop_channel *lc, u64 trans_id, const struct loop_vstor *vstor, const struct loop_range *range, u32 ms)
{
	struct loop_held *held = kzalloc(struct_size(held, pfn, range ? range->pfns : 0), GFP_ATOMIC);

	if (!held)
		return -ENOMEM;
	held->trans_id = trans_id;
	held->due = jiffies + msecs_to_jiffies(ms);
	held->vstor = *vstor;
	if (range) {
		held->request = true;
		held->range = *range;
		held->range.pfn = held->pfn;
		memcpy(held->pfn, range->pfn, range->pfns * sizeof(u64));
	}
	list_add_tail(&held->list, &lc->held);
	mod_delayed_work(system_highpri_wq, &lc->timer, msecs_to_jiffies(ms));
	return 0;
}

/* Carries out what was held, if that is still to be done. */
static void carry_out(struct loop_channel *lc, struct loop_held *held)
{
	if (held->request)
		loop_scsi_execute(lc->dev, &held->vstor.srb, &held->range);
}

static void reply_locked(struct loop_channel *lc, u64 trans_id, const struct loop_vstor *vstor)
{
	u32 words = (sizeof(struct vmpacket_descriptor) + sizeof(*vstor)) >> 3;

	lc->replies++;
	if (ring_reply(lc, trans_id, VM_PKT_COMP, vstor, sizeof(*vstor), words, 2) == -EAGAIN)
		hold(lc, trans_id, vstor, NULL, 1);
}

static void reply(struct loop_channel *lc, u64 trans_id, const struct loop_vstor *vstor)
{
	unsigned long flags;

	spin_lock_irqsave(&lc->reply_lock, flags);
	if (lc->open)
		reply_locked(lc, trans_id, vstor);
	spin_unlock_irqrestore(&lc->reply_lock, flags);
}

static void send_held(struct work_struct *work)
{
	struct loop_channel *lc = container_of(work, struct loop_channel, timer.work);
	struct loop_held *held, *next;
	unsigned long flags, soonest = 0;
	LIST_HEAD(due);

	spin_lock_irqsave(&lc->reply_lock, flags);
	list_for_each_entry_safe(held, next, &lc->held, list) {
		if (time_after_eq(jiffies, held->due))
			list_move_tail(&held->list, &due);
		else if (!soonest || time_before(held->due, soonest))
			soonest = held->due;
	}
	if (soonest && lc->open)
		mod_delayed_work(system_highpri_wq, &lc->timer, max_t(long, 1, soonest - jiffies));
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	list_for_each_entry_safe(held, next, &due, list) {
		list_del(&held->list);
		carry_out(lc, held);
		reply(lc, held->trans_id, &held->vstor);
		kfree(held);
	}
}

/* ---- faults ---- */

static bool take(u32 *count)
{
	if (!*count)
		return false;
	--*count;
	return true;
}

static bool faults_left(const struct loop_faults *f)
{
	return f->lose || f->hold || f->duplicate || f->unknown || f->early || f->short_packet || f->bad_length ||
	       f->bad_header || f->error || f->slow || f->stall_ms || f->unsolicited;
}

/* A request that is answered wrongly. Returns whether the right completion is still to be sent. */
static bool misbehave(struct loop_channel *lc, u64 trans_id, struct loop_vstor *vstor)
{
	struct loop_faults *f = &lc->dev->faults;
	bool send = true;
	unsigned long flags;
	u64 id;

	spin_lock_irqsave(&lc->reply_lock, flags);
	spin_lock(&lc->dev->fault_lock);
	if (!lc->open)
		goto unlock;
	if (take(&f->unknown))
		reply_locked(lc, 0xdead0000beefULL, vstor);
	/* Tags are small numbers: some of these are idle, others are in use on other queues, one is this one's. */
	if (take(&f->early))
		for (id = 1; id < 2048; id += 97)
			if (id != trans_id)
				reply_locked(lc, id, vstor);
	if (take(&f->short_packet))
		ring_reply(lc, trans_id, VM_PKT_COMP, vstor, 8, 3, 2);
	if (take(&f->bad_header))
		/* Its length field is cut off by the bus's own check, at what the ring holds. */
		ring_reply(lc, trans_id ^ 0x5a5a, VM_PKT_COMP, vstor, sizeof(*vstor), 0xffff, 0xfff0);
	if (take(&f->unsolicited)) {
		struct loop_vstor odd = { };

		for (id = 0; id < 20; id++) {
			odd.operation = cpu_to_le32(id == VSTOR_ENUMERATE_BUS || id == VSTOR_REMOVE_DEVICE ? 99 : id);
			ring_reply(lc, 0, VM_PKT_DATA_INBAND, &odd, sizeof(odd), 10, 2);
		}
	}
	if (take(&f->bad_length)) {
		vstor->srb.transfer_length = cpu_to_le32(0xfffffff0);
		vstor->srb.sense_length = 0xff;
	}
	if (take(&f->duplicate)) {
		reply_locked(lc, trans_id, vstor);
	} else if (take(&f->lose)) {
		send = false;
	} else if (take(&f->slow)) {
		hold(lc, trans_id, vstor, NULL, f->slow_ms);
		send = false;
	}
	lc->dev->faults_armed = faults_left(f);
unlock:
	spin_unlock(&lc->dev->fault_lock);
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	return send;
}

/* Whether this request is carried out later. */
static bool held_back(struct loop_channel *lc, u64 trans_id, const struct loop_vstor *vstor, const struct loop_range *range)
{
	struct loop_faults *f = &lc->dev->faults;
	unsigned long flags;
	bool held = false;

	switch (vstor->srb.cdb[0]) {
	case READ_6: case WRITE_6: case READ_10: case WRITE_10: case READ_12: case WRITE_12: case READ_16: case WRITE_16:
		break;
	default:
		return false;
	}
	spin_lock_irqsave(&lc->reply_lock, flags);
	spin_lock(&lc->dev->fault_lock);
	if (lc->open && take(&f->hold))
		held = !hold(lc, trans_id, vstor, range, f->hold_ms);
	lc->dev->faults_armed = faults_left(f);
	spin_unlock(&lc->dev->fault_lock);
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	return held;
}

/* Whether this request gets the armed error status instead of being executed. */
static bool armed_error(struct loop_dev *dev, struct loop_srb *srb)
{
	struct loop_faults *f = &dev->faults;
	bool hit = false;
	unsigned long flags;

	spin_lock_irqsave(&dev->fault_lock, flags);
	if (f->error && (f->error_opcode > 0xff || f->error_opcode == srb->cdb[0])) {
		hit = take(&f->error);
		srb->transfer_length = 0;
		if (f->key || f->asc)
			loop_sense(srb, f->key, f->asc, f->ascq);
		srb->srb_status = f->srb_status;
		srb->scsi_status = f->scsi_status;
		dev->faults_armed = faults_left(f);
	}
	spin_unlock_irqrestore(&dev->fault_lock, flags);
	return hit;
}

/* ---- VSTOR ---- */

static bool init_order(struct loop_dev *dev, u32 op)
{
	switch (op) {
	case VSTOR_BEGIN_INIT:
		return dev->init_state == 0;
	case VSTOR_QUERY_VERSION:
		return dev->init_state == VSTOR_BEGIN_INIT;
	case VSTOR_QUERY_PROPERTIES:
		return dev->init_state == VSTOR_QUERY_VERSION;
	case VSTOR_FCHBA_DATA:
		return dev->class == LOOP_FC && dev->init_state == VSTOR_QUERY_PROPERTIES;
	case VSTOR_END_INIT:
		return dev->init_state == (dev->class == LOOP_FC ? VSTOR_FCHBA_DATA : VSTOR_QUERY_PROPERTIES);
	case VSTOR_CREATE_SUB_CHANNELS:
		return dev->init_state == VSTOR_END_INIT;
	}
	return true;
}

static void fill_wwn(struct loop_dev *dev, struct loop_wwn *wwn)
{
	memset(wwn, 0, sizeof(*wwn));
	wwn->primary_active = !(dev->wwn_generation & 1);
	put_unaligned_be64(0xc003ff0000000010ULL + dev->number, wwn->primary_port);
	put_unaligned_be64(0xc003ff0000000020ULL + dev->number, wwn->primary_node);
	put_unaligned_be64(0xc003ff0000000030ULL + dev->number, wwn->secondary_port);
	put_unaligned_be64(0xc003ff0000000040ULL + dev->number, wwn->secondary_node);
}

static void control(struct loop_channel *lc, u64 trans_id, struct loop_vstor *vstor)
{
	struct loop_dev *dev = lc->dev;
	u32 op = le32_to_cpu(vstor->operation);
	u16 want;

	if (lc->index) {
		violation(lc, "operation %u on a sub-channel", op);
		return;
	}
	vstor->operation = cpu_to_le32(VSTOR_COMPLETE_IO);
	vstor->status = 0;
	if (!init_order(dev, op)) {
		violation(lc, "operation %u after %u", op, dev->init_state);
		vstor->status = cpu_to_le32(0xc0000001);
		goto out;
	}
	switch (op) {
	case VSTOR_QUERY_VERSION:
		want = le16_to_cpu(vstor->version);
		if (want > loop_versions_from || (want != 0x0602 && want != 0x0600)) {
			vstor->status = cpu_to_le32(0xc00000bb);
			goto out;
		}
		dev->version = want;
		break;
	case VSTOR_QUERY_PROPERTIES:
		memset(&vstor->properties, 0, sizeof(vstor->properties));
		vstor->properties.max_channels = cpu_to_le16(loop_max_subchannels);
		vstor->properties.flags = cpu_to_le32(loop_max_subchannels && dev->class != LOOP_IDE ? 1 : 0);
		vstor->properties.max_transfer_bytes = cpu_to_le32(loop_max_transfer);
		break;
	case VSTOR_FCHBA_DATA:
		fill_wwn(dev, &vstor->wwn);
		break;
	case VSTOR_CREATE_SUB_CHANNELS:
		want = le16_to_cpu(vstor->sub_channels);
		if (want > loop_max_subchannels || want >= LOOP_MAX_CHANNELS) {
			violation(lc, "%u sub-channels asked for, %u granted", want, loop_max_subchannels);
			vstor->status = cpu_to_le32(0xc000000d);
			goto out;
		}
		reply(lc, trans_id, vstor);
		dev->sub_channels_wanted = want;
		schedule_work(&dev->offer_work);
		return;
	case VSTOR_BEGIN_INIT:
	case VSTOR_END_INIT:
		break;
	case VSTOR_RESET_BUS:
	case VSTOR_RESET_ADAPTER:
		/* As on hosts: it is answered, and that is all. */
		dev->resets++;
		goto out;
	default:
		violation(lc, "operation %u", op);
		vstor->status = cpu_to_le32(0xc00000bb);
		goto out;
	}
	dev->init_state = op;
out:
	reply(lc, trans_id, vstor);
}

static void execute(struct loop_channel *lc, u64 trans_id, struct loop_vstor *vstor, const struct loop_range *range)
{
	struct loop_dev *dev = lc->dev;
	struct loop_srb *srb = &vstor->srb;

	if (dev->init_state != VSTOR_END_INIT && dev->init_state != VSTOR_CREATE_SUB_CHANNELS) {
		violation(lc, "EXECUTE_SRB before END_INITIALIZATION");
		return;
	}
	if (le16_to_cpu(srb->length) != sizeof(*srb) || srb->cdb_length > 16 ||
	    le32_to_cpu(srb->transfer_length) != range->len) {
		violation(lc, "SRB of length %u, CDB length %u, transfer %u of %u bytes", le16_to_cpu(srb->length),
			  srb->cdb_length, le32_to_cpu(srb->transfer_length), range->len);
		return;
	}
	if (range->len > loop_max_transfer) {
		violation(lc, "transfer of %u bytes", range->len);
		return;
	}
	lc->requests++;
	lc->bytes += range->len;
	vstor->operation = cpu_to_le32(VSTOR_COMPLETE_IO);
	vstor->status = 0;
	srb->srb_status = SRB_SUCCESS;
	srb->scsi_status = 0;
	if (likely(!READ_ONCE(dev->faults_armed))) {
		loop_scsi_execute(dev, srb, range);
		reply(lc, trans_id, vstor);
		return;
	}
	if (held_back(lc, trans_id, vstor, range))
		return;
	if (!armed_error(dev, srb))
		loop_scsi_execute(dev, srb, range);
	if (misbehave(lc, trans_id, vstor))
		reply(lc, trans_id, vstor);
}

/* Checks a request as the guest sent it and works on it. LEN: bytes of the packet without its trailer. */
static void request(struct loop_channel *lc, u8 *pkt, u32 len)
{
	struct vmpacket_descriptor *desc = (struct vmpacket_descriptor *)pkt;
	struct vmdata_gpa_direct *direct = (struct vmdata_gpa_direct *)pkt;
	u32 offset = desc->offset8 << 3;
	struct loop_range range = { };
	struct loop_vstor vstor;

	if (offset < sizeof(*desc) || offset > len || len - offset < sizeof(vstor)) {
		violation(lc, "packet of %u bytes with data at %u", len, offset);
		return;
	}
	if (desc->type == VM_PKT_COMP)
		return;	/* an answer to an unsolicited packet needs nothing */
	if (!desc->trans_id || !(desc->flags & VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED)) {
		violation(lc, "no id or no completion flag");
		return;
	}
	memcpy(&vstor, pkt + offset, sizeof(vstor));
	if (desc->type == VM_PKT_DATA_USING_GPA_DIRECT) {
		if (offset < sizeof(*direct) || direct->range_cnt != 1) {
			violation(lc, "GPA direct packet with %u ranges, data at %u", direct->range_cnt, offset);
			return;
		}
		range.len = direct->range[0].byte_count;
		range.offset = direct->range[0].byte_offset;
		range.pfns = (offset - offsetof(struct vmdata_gpa_direct, range) - sizeof(struct gpa_range)) >> 3;
		range.pfn = direct->range[0].pfn_array;
		if (range.offset >= PAGE_SIZE || !range.len ||
		    range.pfns != HVPFN_UP((u64)range.offset + range.len)) {
			violation(lc, "range of %u bytes at %u with %u PFNs", range.len, range.offset, range.pfns);
			return;
		}
	} else if (desc->type != VM_PKT_DATA_INBAND) {
		violation(lc, "packet type %u", desc->type);
		return;
	}
	if (le32_to_cpu(vstor.operation) == VSTOR_EXECUTE_SRB)
		execute(lc, desc->trans_id, &vstor, &range);
	else
		control(lc, desc->trans_id, &vstor);
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

static void host_work(struct work_struct *work)
{
	struct loop_channel *lc = container_of(work, struct loop_channel, host_work);
	struct hv_ring_buffer_info *rbi = &lc->ch.outbound;
	u32 avail, len, read, stall;

	/* With what vmbus_connect_ring() has set up. */
	if (!smp_load_acquire(&lc->open))
		return;
	if (unlikely(READ_ONCE(lc->dev->faults_armed)) && lc->dev->faults.stall_ms) {
		stall = xchg(&lc->dev->faults.stall_ms, 0);
		if (stall) {
			WRITE_ONCE(rbi->ring_buffer->interrupt_mask, 1);
			mod_delayed_work(system_highpri_wq, &lc->timer, msecs_to_jiffies(stall));
			lc->dev->faults_armed = faults_left(&lc->dev->faults);
			return;
		}
	}
	do {
		/* While this runs, new requests need no signal. */
		WRITE_ONCE(rbi->ring_buffer->interrupt_mask, 1);
		/* The mask before a look at the ring. */
		virt_mb();
		while ((avail = to_read(lc)) && READ_ONCE(lc->open) && !lc->ch.rescind) {
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
			request(lc, lc->pkt, len);
		}
		WRITE_ONCE(rbi->ring_buffer->interrupt_mask, 0);
		/* The mask before a last look at the ring. */
		virt_mb();
	} while (to_read(lc) && READ_ONCE(lc->open) && !lc->ch.rescind);
}

static void timer_work(struct work_struct *work)
{
	struct loop_channel *lc = container_of(work, struct loop_channel, timer.work);

	send_held(work);
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
	struct loop_held *held, *next;
	unsigned long flags;

	spin_lock_irqsave(&lc->reply_lock, flags);
	lc->open = false;
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	loop_irq_sync(&lc->doorbell);
	cancel_delayed_work_sync(&lc->timer);
	cancel_work_sync(&lc->host_work);
	cancel_delayed_work_sync(&lc->timer);
	/* A host ends what it has before it lets go of the channel; a withdrawal ends it in another way. */
	list_for_each_entry_safe(held, next, &lc->held, list) {
		if (!lc->ch.rescind)
			carry_out(lc, held);
		kfree(held);
	}
	INIT_LIST_HEAD(&lc->held);
}

/* A message that the guest did not ask for. Returns -EINVAL if there is no channel to send it on. */
int loop_unsolicited(struct loop_dev *dev, u32 operation)
{
	struct loop_channel *lc = dev->channels[0];
	struct loop_vstor vstor = { .operation = cpu_to_le32(operation) };
	unsigned long flags;
	int err = -EINVAL;

	if (!lc)
		return err;
	if (operation == VSTOR_FCHBA_DATA) {
		dev->wwn_generation++;
		fill_wwn(dev, &vstor.wwn);
	}
	spin_lock_irqsave(&lc->reply_lock, flags);
	if (lc->open)
		err = ring_reply(lc, 0, VM_PKT_DATA_INBAND, &vstor, sizeof(vstor), 10, 2);
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	return err;
}
