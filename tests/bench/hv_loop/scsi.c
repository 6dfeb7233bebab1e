// SPDX-License-Identifier: GPL-2.0
/*
 * The SCSI target: disks and DVD drives in memory, as a Hyper-V host presents them.
 */
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include <scsi/scsi_proto.h>

#include "hv_loop.h"

/* ---- disks ---- */

int loop_lun_add(struct loop_dev *dev, unsigned int lun, u64 mib, u32 block_size, bool dvd)
{
	struct loop_lun *l;

	if (lun >= LOOP_MAX_LUNS || !mib || mib > (64ULL << 20))
		return -EINVAL;
	l = &dev->luns[lun];
	if (l->present)
		return -EBUSY;
	l->dvd = dvd;
	l->block_size = dvd ? 2048 : block_size;
	l->blocks = (mib << 20) / l->block_size;
	l->capacity_changed = false;
	l->parameters_changed = false;
	/* Its properties before its presence. */
	smp_store_release(&l->present, true);
	return 0;
}

void loop_lun_remove(struct loop_dev *dev, unsigned int lun)
{
	if (lun < LOOP_MAX_LUNS)
		WRITE_ONCE(dev->luns[lun].present, false);
}

void loop_luns_free(struct loop_dev *dev)
{
	unsigned int i;

	for (i = 0; i < LOOP_MAX_LUNS; i++) {
		unsigned long at;
		struct page *page;

		xa_for_each(&dev->luns[i].pages, at, page)
			__free_page(page);
		xa_destroy(&dev->luns[i].pages);
	}
}

/* The page that holds page number AT of the disk; NULL if it was never written and CREATE is false. */
static struct page *lun_page(struct loop_lun *l, u64 at, bool create)
{
	struct page *page = xa_load(&l->pages, at), *other;

	if (page || !create)
		return page;
	page = alloc_page(GFP_ATOMIC | __GFP_ZERO);
	if (!page)
		return NULL;
	other = xa_cmpxchg(&l->pages, at, NULL, page, GFP_ATOMIC);
	if (!other)
		return page;
	__free_page(page);
	return xa_is_err(other) ? NULL : other;
}

/* ---- the guest's memory ---- */

/* Copies LEN bytes at AT of the guest's buffer. To the guest from FROM (NULL: zeros), or from the guest into TO. */
static void guest_copy(const struct loop_range *range, u32 at, void *to, const void *from, u32 len, bool write)
{
	while (len) {
		u32 pos = range->offset + at, in_page = offset_in_page(pos);
		u32 n = min_t(u32, len, PAGE_SIZE - in_page);
		u8 *map = kmap_local_pfn(range->pfn[pos >> PAGE_SHIFT]);

		if (!write)
			memcpy(to, map + in_page, n);
		else if (from)
			memcpy(map + in_page, from, n);
		else
			memset(map + in_page, 0, n);
		kunmap_local(map);
		at += n;
		len -= n;
		if (to)
			to += n;
		if (from)
			from += n;
	}
}

void loop_sense(struct loop_srb *srb, u8 key, u8 asc, u8 ascq)
{
	memset(srb->sense, 0, sizeof(srb->sense));
	srb->sense[0] = 0x70;
	srb->sense[2] = key;
	srb->sense[7] = LOOP_SENSE_LEN - 8;
	srb->sense[12] = asc;
	srb->sense[13] = ascq;
	srb->sense_length = LOOP_SENSE_LEN;
	srb->scsi_status = SAM_STAT_CHECK_CONDITION;
	srb->srb_status = SRB_ERROR | SRB_AUTOSENSE;
	srb->transfer_length = 0;
}

/* Answers with the first bytes of DATA, as many as were asked for. */
static void answer(struct loop_srb *srb, const struct loop_range *range, const void *data, u32 len, u32 allocation)
{
	u32 n = min3(len, allocation, range->len);

	guest_copy(range, 0, NULL, data, n, true);
	srb->transfer_length = cpu_to_le32(n);
}

static void read_write(struct loop_lun *l, struct loop_srb *srb, const struct loop_range *range, u64 lba, u32 blocks,
		       bool write)
{
	u64 at, end;
	u32 done = 0;

	if (lba > l->blocks || blocks > l->blocks - lba) {
		loop_sense(srb, ILLEGAL_REQUEST, 0x21, 0);
		return;
	}
	if ((u64)blocks * l->block_size != range->len || srb->data_in != !write) {
		pr_err_ratelimited("hv_loop: violation: %u blocks in %u bytes, direction %u\n", blocks, range->len, srb->data_in);
		loop_sense(srb, ILLEGAL_REQUEST, 0x24, 0);
		return;
	}
	if (write && l->dvd) {
		loop_sense(srb, DATA_PROTECT, 0x27, 0);
		return;
	}
	at = lba * l->block_size;
	end = at + range->len;
	while (at < end) {
		u32 in_page = at & ~PAGE_MASK, n = min_t(u64, end - at, PAGE_SIZE - in_page);
		struct page *page = lun_page(l, at >> PAGE_SHIFT, write);

		if (page) {
			u8 *data = page_address(page) + in_page;

			guest_copy(range, done, write ? data : NULL, data, n, !write);
		} else if (write) {
			loop_sense(srb, MEDIUM_ERROR, 0x0c, 0);
			return;
		}
		if (!page)
			guest_copy(range, done, NULL, NULL, n, true);
		at += n;
		done += n;
	}
}

/* Deallocated blocks read as zeros. The memory stays until the module goes, so that readers need no lock. */
static void zero_blocks(struct loop_lun *l, u64 lba, u64 blocks)
{
	u64 at = lba * l->block_size, end = at + blocks * l->block_size;

	while (at < end) {
		u32 in_page = at & ~PAGE_MASK, n = min_t(u64, end - at, PAGE_SIZE - in_page);
		struct page *page = lun_page(l, at >> PAGE_SHIFT, false);

		if (page)
			memset(page_address(page) + in_page, 0, n);
		at += n;
	}
}

static void unmap(struct loop_lun *l, struct loop_srb *srb, const struct loop_range *range)
{
	u8 list[8 + 16 * 64];
	u32 len = min_t(u32, range->len, sizeof(list)), i, n;

	if (len < 8)
		return;
	guest_copy(range, 0, list, NULL, len, false);
	n = min_t(u32, get_unaligned_be16(list + 2) / 16, (len - 8) / 16);
	for (i = 0; i < n; i++) {
		u64 lba = get_unaligned_be64(list + 8 + 16 * i);
		u32 blocks = get_unaligned_be32(list + 16 + 16 * i);

		if (lba > l->blocks || blocks > l->blocks - lba) {
			loop_sense(srb, ILLEGAL_REQUEST, 0x21, 0);
			return;
		}
		zero_blocks(l, lba, blocks);
	}
}

static void write_same(struct loop_lun *l, struct loop_srb *srb, const struct loop_range *range, u64 lba, u32 blocks)
{
	u8 zero[64], block[64];
	u32 at;

	if (lba > l->blocks || blocks > l->blocks - lba) {
		loop_sense(srb, ILLEGAL_REQUEST, 0x21, 0);
		return;
	}
	memset(zero, 0, sizeof(zero));
	for (at = 0; at < range->len && at < l->block_size; at += sizeof(block)) {
		guest_copy(range, at, block, NULL, sizeof(block), false);
		if (memcmp(block, zero, sizeof(block))) {
			loop_sense(srb, ILLEGAL_REQUEST, 0x26, 0);
			return;
		}
	}
	zero_blocks(l, lba, blocks);
}

/* ---- inquiry and mode ---- */

static void inquiry(struct loop_lun *l, unsigned int lun, struct loop_srb *srb, const struct loop_range *range)
{
	u32 allocation = get_unaligned_be16(srb->cdb + 3), len = 36;
	u8 page = srb->cdb[2], type = l->dvd ? 5 : 0, d[96] = { };

	if (!(srb->cdb[1] & 1)) {
		d[0] = type;
		d[1] = l->dvd ? 0x80 : 0;
		d[2] = 5;
		d[3] = 2;
		d[4] = 31;
		d[7] = 2;	/* tagged queueing */
		memcpy(d + 8, "Msft    ", 8);
		memcpy(d + 16, l->dvd ? "Virtual DVD-ROM " : "Virtual Disk    ", 16);
		memcpy(d + 32, "1.0 ", 4);
		answer(srb, range, d, len, allocation);
		return;
	}
	d[0] = type;
	d[1] = page;
	switch (page) {
	case 0x00:
		memcpy(d + 4, "\x00\x80\x83\xb0\xb1\xb2", 6);
		d[3] = 6;
		break;
	case 0x80:
		d[3] = 8;
		snprintf(d + 4, 9, "RLIS%04u", lun);
		break;
	case 0x83:
		d[3] = 20;
		d[4] = 1;	/* binary */
		d[5] = 3;	/* NAA */
		d[7] = 16;
		put_unaligned_be64(0x60022480000000ffULL, d + 8);
		put_unaligned_be64(0x524c495300000000ULL + lun, d + 16);
		break;
	case 0xb0:
		d[3] = 0x3c;
		put_unaligned_be16(1, d + 6);
		put_unaligned_be32(loop_max_transfer / l->block_size, d + 8);
		put_unaligned_be32(0xffffffff, d + 20);	/* blocks in one UNMAP */
		put_unaligned_be32(63, d + 24);		/* descriptors in one UNMAP */
		put_unaligned_be32(4096 / l->block_size, d + 28);
		put_unaligned_be64(0xffffff, d + 36);	/* blocks in one WRITE SAME */
		break;
	case 0xb1:
		d[3] = 0x3c;
		put_unaligned_be16(1, d + 4);	/* does not rotate */
		break;
	case 0xb2:
		d[3] = 4;
		d[5] = 0xe4;	/* UNMAP, WRITE SAME(16) with UNMAP, reads zeros */
		d[6] = 2;
		break;
	default:
		loop_sense(srb, ILLEGAL_REQUEST, 0x24, 0);
		return;
	}
	answer(srb, range, d, d[3] + 4, allocation);
}

static void mode_sense(struct loop_lun *l, struct loop_srb *srb, const struct loop_range *range, bool ten)
{
	u8 page = srb->cdb[2] & 0x3f, d[64] = { };
	u32 head = ten ? 8 : 4, len = head, allocation = ten ? get_unaligned_be16(srb->cdb + 7) : srb->cdb[4];

	if (page == 0x08 || page == 0x3f) {
		d[len] = 0x08;
		d[len + 1] = 0x12;
		d[len + 2] = 4;	/* write cache on */
		len += 0x14;
	} else if (page) {
		loop_sense(srb, ILLEGAL_REQUEST, 0x24, 0);
		return;
	}
	if (ten) {
		put_unaligned_be16(len - 2, d);
		d[3] = 0x10 | (l->dvd ? 0x80 : 0);	/* FUA and DPO; write protected */
	} else {
		d[0] = len - 1;
		d[2] = 0x10 | (l->dvd ? 0x80 : 0);
	}
	answer(srb, range, d, len, allocation);
}

static void report_luns(struct loop_dev *dev, struct loop_srb *srb, const struct loop_range *range)
{
	u8 d[8 + 8 * LOOP_MAX_LUNS] = { };
	u32 i, n = 0;

	for (i = 0; i < LOOP_MAX_LUNS; i++)
		if (READ_ONCE(dev->luns[i].present))
			put_unaligned_be16(i, d + 8 + 8 * n++);
	put_unaligned_be32(8 * n, d);
	answer(srb, range, d, 8 + 8 * n, get_unaligned_be32(srb->cdb + 6));
}

static void read_capacity(struct loop_lun *l, struct loop_srb *srb, const struct loop_range *range, bool sixteen)
{
	u8 d[32] = { };

	if (!sixteen) {
		put_unaligned_be32(min_t(u64, l->blocks - 1, 0xffffffff), d);
		put_unaligned_be32(l->block_size, d + 4);
		answer(srb, range, d, 8, 8);
		return;
	}
	put_unaligned_be64(l->blocks - 1, d);
	put_unaligned_be32(l->block_size, d + 8);
	d[13] = l->block_size == 512 ? 3 : 0;	/* 8 logical blocks in a physical one */
	if (!l->dvd)
		d[14] = 0xc0;	/* thin, unmapped blocks read as zeros */
	answer(srb, range, d, 32, get_unaligned_be32(srb->cdb + 10));
}

/* Executes the CDB of SRB and fills in its result. */
void loop_scsi_execute(struct loop_dev *dev, struct loop_srb *srb, const struct loop_range *range)
{
	const u8 *cdb = srb->cdb;
	u8 target = dev->class == LOOP_IDE ? dev->hv.dev_instance.b[4] : 0;
	struct loop_lun *l = srb->lun < LOOP_MAX_LUNS ? &dev->luns[srb->lun] : NULL;
	/* Its presence before its properties. */
	bool there = l && srb->path == 0 && srb->target == target && smp_load_acquire(&l->present);

	if (srb->path || srb->target != target) {
		/* No such target; a scan asks for all of them. */
		if (cdb[0] != INQUIRY) {
			loop_sense(srb, ILLEGAL_REQUEST, 0x25, 0);
			return;
		}
	} else if (!there && cdb[0] != INQUIRY && !(cdb[0] == REPORT_LUNS && !srb->lun)) {
		srb->srb_status = SRB_INVALID_LUN;
		srb->transfer_length = 0;
		return;
	}
	if (!there && cdb[0] == INQUIRY) {
		static const u8 nothing[36] = { 0x7f, 0, 5, 2, 31 };

		answer(srb, range, nothing, sizeof(nothing), cdb[4]);
		return;
	}
	if (there && cdb[0] != INQUIRY && cdb[0] != REPORT_LUNS && unlikely(l->capacity_changed || l->parameters_changed)) {
		if (xchg(&l->capacity_changed, false)) {
			loop_sense(srb, UNIT_ATTENTION, 0x2a, 0x09);
			return;
		}
		if (xchg(&l->parameters_changed, false)) {
			loop_sense(srb, UNIT_ATTENTION, 0x3f, 0x01);
			return;
		}
	}

	switch (cdb[0]) {
	case READ_6:
	case WRITE_6:
		read_write(l, srb, range, get_unaligned_be24(cdb + 1) & 0x1fffff, cdb[4] ?: 256, cdb[0] == WRITE_6);
		break;
	case READ_10:
	case WRITE_10:
		read_write(l, srb, range, get_unaligned_be32(cdb + 2), get_unaligned_be16(cdb + 7), cdb[0] == WRITE_10);
		break;
	case READ_12:
	case WRITE_12:
		read_write(l, srb, range, get_unaligned_be32(cdb + 2), get_unaligned_be32(cdb + 6), cdb[0] == WRITE_12);
		break;
	case READ_16:
	case WRITE_16:
		read_write(l, srb, range, get_unaligned_be64(cdb + 2), get_unaligned_be32(cdb + 10), cdb[0] == WRITE_16);
		break;
	case TEST_UNIT_READY:
	case START_STOP:
	case ALLOW_MEDIUM_REMOVAL:
	case SYNCHRONIZE_CACHE:
	case SYNCHRONIZE_CACHE_16:
	case VERIFY:
		break;
	case INQUIRY:
		inquiry(l, srb->lun, srb, range);
		break;
	case REPORT_LUNS:
		report_luns(dev, srb, range);
		break;
	case READ_CAPACITY:
		read_capacity(l, srb, range, false);
		break;
	case SERVICE_ACTION_IN_16:
		if ((cdb[1] & 0x1f) == SAI_READ_CAPACITY_16)
			read_capacity(l, srb, range, true);
		else
			loop_sense(srb, ILLEGAL_REQUEST, 0x24, 0);
		break;
	case MODE_SENSE:
		mode_sense(l, srb, range, false);
		break;
	case MODE_SENSE_10:
		mode_sense(l, srb, range, true);
		break;
	case UNMAP:
		unmap(l, srb, range);
		break;
	case WRITE_SAME_16:
		write_same(l, srb, range, get_unaligned_be64(cdb + 2), get_unaligned_be32(cdb + 10));
		break;
	case WRITE_SAME:
		write_same(l, srb, range, get_unaligned_be32(cdb + 2), get_unaligned_be16(cdb + 7));
		break;
	default:
		loop_sense(srb, ILLEGAL_REQUEST, 0x20, 0);
	}
}
