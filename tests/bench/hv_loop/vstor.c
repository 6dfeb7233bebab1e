// SPDX-License-Identifier: GPL-2.0
/*
 * The storage host: speaks VSTOR, carries requests out or has the SCSI target do it, and misbehaves on demand.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include <scsi/scsi_proto.h>

#include "hv_loop.h"

/* ---- replies, and what is held back ---- */

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
	if (loop_ring_reply(lc, trans_id, VM_PKT_COMP, vstor, sizeof(*vstor), words, 2) == -EAGAIN)
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

/* Sends the replies that are due, and carries out what was held back until now. */
void loop_vstor_send_held(struct loop_channel *lc)
{
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

/* A host ends what it has before it lets go of the channel; a withdrawal ends it in another way. */
void loop_vstor_end_held(struct loop_channel *lc)
{
	struct loop_held *held, *next;

	list_for_each_entry_safe(held, next, &lc->held, list) {
		if (!lc->ch.rescind)
			carry_out(lc, held);
		kfree(held);
	}
	INIT_LIST_HEAD(&lc->held);
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

/* For how many milliseconds the host is to stop reading, once; 0 if it is not. */
u32 loop_vstor_stall(struct loop_channel *lc)
{
	struct loop_dev *dev = lc->dev;
	u32 stall;

	if (likely(!READ_ONCE(dev->faults_armed)) || !dev->faults.stall_ms)
		return 0;
	stall = xchg(&dev->faults.stall_ms, 0);
	dev->faults_armed = faults_left(&dev->faults);
	return stall;
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
		loop_ring_reply(lc, trans_id, VM_PKT_COMP, vstor, 8, 3, 2);
	if (take(&f->bad_header))
		/* Its length field is cut off by the bus's own check, at what the ring holds. */
		loop_ring_reply(lc, trans_id ^ 0x5a5a, VM_PKT_COMP, vstor, sizeof(*vstor), 0xffff, 0xfff0);
	if (take(&f->unsolicited)) {
		struct loop_vstor odd = { };

		for (id = 0; id < 20; id++) {
			odd.operation = cpu_to_le32(id == VSTOR_ENUMERATE_BUS || id == VSTOR_REMOVE_DEVICE ? 99 : id);
			loop_ring_reply(lc, 0, VM_PKT_DATA_INBAND, &odd, sizeof(odd), 10, 2);
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
void loop_vstor_packet(struct loop_channel *lc, u8 *pkt, u32 len)
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
		err = loop_ring_reply(lc, 0, VM_PKT_DATA_INBAND, &vstor, sizeof(vstor), 10, 2);
	spin_unlock_irqrestore(&lc->reply_lock, flags);
	return err;
}
