// SPDX-License-Identifier: GPL-2.0
/*
 * The dynamic memory host: negotiates, takes pages from the guest and gives them back.
 *
 * The pages stay where they are. What the guest says that it gives is checked, and remembered until it is given back.
 */
#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "hv_loop.h"

enum {
	DM_VERSION_REQUEST = 1,
	DM_VERSION_RESPONSE = 2,
	DM_CAPABILITIES_REPORT = 3,
	DM_CAPABILITIES_RESPONSE = 4,
	DM_STATUS_REPORT = 5,
	DM_BALLOON_REQUEST = 6,
	DM_BALLOON_RESPONSE = 7,
	DM_UNBALLOON_REQUEST = 8,
	DM_UNBALLOON_RESPONSE = 9,
};

/* A message of 4096 bytes has a header, two words, and these. */
#define DM_MESSAGE	4096
#define DM_RANGES	((DM_MESSAGE - 16) / sizeof(__le64))
/* Pages of a guest with 4 GiB; modules are not told how many there are. */
#define DM_PAGES	(1UL << 20)
/* Ranges that are remembered: pages of 512 MiB that have no neighbours. */
#define DM_MOST		131072
#define DM_BLOCK	9	/* order of 2 MiB */

/* All messages of the protocol fit; what the two words mean depends on the type. */
struct dm_message {
	__le16 type, size;
	__le32 trans_id;
	__le32 word[2];
	__le64 range[];
} __packed;

struct loop_balloon {
	spinlock_t lock;
	unsigned long *given;		/* a bit for each page of the guest */
	u64 *ranges;			/* first page in the lower 40 bits, count above */
	u32 n_ranges;
	u64 taken;			/* pages */
	u32 trans_id;			/* of the request under way; 0: none */
	struct completion answered;
	struct list_head held;		/* pages that nobody else shall have */
};

int loop_balloon_init(struct loop_dev *dev)
{
	struct loop_balloon *b = kzalloc(sizeof(*b), GFP_KERNEL);

	if (!b)
		return -ENOMEM;
	dev->balloon = b;
	spin_lock_init(&b->lock);
	init_completion(&b->answered);
	INIT_LIST_HEAD(&b->held);
	b->given = kvcalloc(BITS_TO_LONGS(DM_PAGES), sizeof(long), GFP_KERNEL);
	b->ranges = kvmalloc_array(DM_MOST, sizeof(*b->ranges), GFP_KERNEL);
	return b->given && b->ranges ? 0 : -ENOMEM;
}

static void release_held(struct loop_balloon *b)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &b->held, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

void loop_balloon_exit(struct loop_dev *dev)
{
	struct loop_balloon *b = dev->balloon;

	if (!b)
		return;
	release_held(b);
	kvfree(b->given);
	kvfree(b->ranges);
	kfree(b);
}

/* A driver that goes has its pages back, as with a host. */
void loop_balloon_closed(struct loop_dev *dev)
{
	struct loop_balloon *b = dev->balloon;
	unsigned long flags;

	if (!b)
		return;
	spin_lock_irqsave(&b->lock, flags);
	bitmap_zero(b->given, DM_PAGES);
	b->n_ranges = 0;
	b->taken = 0;
	b->trans_id = 0;
	spin_unlock_irqrestore(&b->lock, flags);
	complete(&b->answered);
}

static int send(struct loop_channel *lc, const struct dm_message *message)
{
	u32 len = ALIGN(le16_to_cpu(message->size), 8), head = sizeof(struct vmpacket_descriptor);
	unsigned long flags;
	u64 start;
	int err;

	local_irq_save(flags);
	start = get_cycles();
	spin_lock(&lc->reply_lock);
	err = lc->open ? loop_ring_reply(lc, 0, VM_PKT_DATA_INBAND, message, len, (head + len) >> 3, head >> 3) : -ENODEV;
	spin_unlock(&lc->reply_lock);
	lc->host_cycles += get_cycles() - start;
	local_irq_restore(flags);
	return err;
}

static void reply(struct loop_channel *lc, u16 type, __le32 trans_id, u32 word)
{
	const struct dm_message message = {
		.type = cpu_to_le16(type),
		.size = cpu_to_le16(sizeof(message)),
		.trans_id = trans_id,
		.word = { cpu_to_le32(word) },
	};

	/* It has room: the guest waits for this answer and has nothing else to read. */
	if (send(lc, &message))
		violation(lc, "no room for an answer");
}

/* Remembers what the guest gives. The caller holds b->lock. */
static void take(struct loop_channel *lc, struct loop_balloon *b, u64 range)
{
	u64 first = range & GENMASK_ULL(39, 0), count = range >> 40, page;

	if (!count || first >= DM_PAGES || count > DM_PAGES - first || b->n_ranges >= DM_MOST) {
		violation(lc, "%llu pages at %llx of %lx", count, first, DM_PAGES);
		return;
	}
	page = find_next_bit(b->given, first + count, first);
	if (page < first + count) {
		violation(lc, "page %llx is given twice", page);
		return;
	}
	bitmap_set(b->given, first, count);
	b->ranges[b->n_ranges++] = range;
	b->taken += count;
}

static void given(struct loop_channel *lc, const struct dm_message *message, u32 size)
{
	struct loop_balloon *b = lc->dev->balloon;
	u32 bits = le32_to_cpu(message->word[1]), n = bits >> 1, i;
	unsigned long flags;

	if (n > (size - sizeof(*message)) / sizeof(__le64)) {
		violation(lc, "%u ranges in %u bytes", n, size);
		return;
	}
	spin_lock_irqsave(&b->lock, flags);
	/* The C driver numbers its answers by itself, so that the id says nothing. */
	if (!b->trans_id) {
		violation(lc, "pages that were not asked for");
	} else {
		for (i = 0; i < n; i++)
			take(lc, b, le64_to_cpu(message->range[i]));
		if (!(bits & 1))
			complete(&b->answered);
	}
	spin_unlock_irqrestore(&b->lock, flags);
}

void loop_balloon_packet(struct loop_channel *lc, u8 *pkt, u32 len)
{
	struct vmpacket_descriptor *desc = (struct vmpacket_descriptor *)pkt;
	const struct dm_message *message;
	u32 offset = desc->offset8 << 3, size;

	lc->requests++;
	if (desc->type != VM_PKT_DATA_INBAND || offset < sizeof(*desc) || offset > len || len - offset < 8) {
		violation(lc, "packet type %u of %u bytes with data at %u", desc->type, len, offset);
		return;
	}
	message = (const struct dm_message *)(pkt + offset);
	size = le16_to_cpu(message->size);
	if (size > len - offset || size > DM_MESSAGE ||
	    size < (le16_to_cpu(message->type) == DM_UNBALLOON_RESPONSE ? 8 : sizeof(*message))) {
		violation(lc, "message %u of %u bytes in %u", le16_to_cpu(message->type), size, len - offset);
		return;
	}
	switch (le16_to_cpu(message->type)) {
	case DM_VERSION_REQUEST:
		reply(lc, DM_VERSION_RESPONSE, message->trans_id, 1);
		break;
	case DM_CAPABILITIES_REPORT:
		reply(lc, DM_CAPABILITIES_RESPONSE, message->trans_id, 1);
		break;
	case DM_STATUS_REPORT:
		break;
	case DM_BALLOON_RESPONSE:
		given(lc, message, size);
		break;
	case DM_UNBALLOON_RESPONSE:
		complete(&lc->dev->balloon->answered);
		break;
	default:
		violation(lc, "message %u", le16_to_cpu(message->type));
	}
}

/* Sends a message once it has room: the guest runs meanwhile. */
static int send_soon(struct loop_channel *lc, const struct dm_message *message)
{
	unsigned long end = jiffies + 10 * HZ;
	int err;

	while ((err = send(lc, message)) == -EAGAIN && time_before(jiffies, end))
		schedule();
	return err;
}

/* All that were taken go back, in as many messages as it takes. */
static int give_back(struct loop_channel *lc, struct loop_balloon *b)
{
	struct dm_message *message = kzalloc(DM_MESSAGE, GFP_KERNEL);
	u32 at, n, i;
	int err = 0;

	if (!message)
		return -ENOMEM;
	message->type = cpu_to_le16(DM_UNBALLOON_REQUEST);
	message->trans_id = cpu_to_le32(b->trans_id);
	for (at = 0; at < b->n_ranges && !err; at += n) {
		n = min_t(u32, b->n_ranges - at, DM_RANGES);
		for (i = 0; i < n; i++)
			message->range[i] = cpu_to_le64(b->ranges[at + i]);
		message->size = cpu_to_le16(sizeof(*message) + n * sizeof(__le64));
		message->word[0] = cpu_to_le32(at + n < b->n_ranges);
		message->word[1] = cpu_to_le32(n);
		err = send_soon(lc, message);
	}
	kfree(message);
	return err;
}

/* Takes PAGES, or with 0 gives back all that were taken; RESULT has what it took, for each page. */
int loop_balloon_load(struct loop_dev *dev, u32 pages, struct loop_net_result *result)
{
	struct loop_channel *lc = dev->channels[0];
	struct loop_balloon *b = dev->balloon;
	static u32 trans_id = 0x1000;
	u64 start, host, taken;
	unsigned long flags;
	int err;

	if (!b || !lc || !lc->open)
		return -ENODEV;
	spin_lock_irqsave(&b->lock, flags);
	taken = b->taken;
	b->trans_id = ++trans_id;
	reinit_completion(&b->answered);
	spin_unlock_irqrestore(&b->lock, flags);
	start = get_cycles();
	host = lc->host_cycles;
	if (pages) {
		const struct dm_message message = {
			.type = cpu_to_le16(DM_BALLOON_REQUEST),
			.size = cpu_to_le16(sizeof(message)),
			.trans_id = cpu_to_le32(b->trans_id),
			.word = { cpu_to_le32(pages) },
		};

		err = send_soon(lc, &message);
	} else {
		err = b->n_ranges ? give_back(lc, b) : -ENOENT;
	}
	if (!err && !wait_for_completion_timeout(&b->answered, 60 * HZ))
		err = -ETIMEDOUT;
	*result = (struct loop_net_result) {
		.cycles = get_cycles() - start,
		.host = lc->host_cycles - host,
	};
	spin_lock_irqsave(&b->lock, flags);
	b->trans_id = 0;
	if (!pages && !err) {
		bitmap_zero(b->given, DM_PAGES);
		b->n_ranges = 0;
		b->taken = 0;
	}
	/* What the guest did not have is no failure, and shows. */
	result->frames = pages ? b->taken - taken : taken;
	spin_unlock_irqrestore(&b->lock, flags);
	return err ?: result->frames ? 0 : -ENOMEM;
}

/* Takes all blocks of 2 MiB that are free and lets every second page of them go; or with ON unset, all. */
int loop_balloon_fragment(struct loop_dev *dev, bool on)
{
	struct loop_balloon *b = dev->balloon;
	struct page *page, *next;
	LIST_HEAD(blocks);
	int i;

	if (!b)
		return -ENODEV;
	release_held(b);
	if (!on)
		return 0;
	while ((page = alloc_pages(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN, DM_BLOCK))) {
		split_page(page, DM_BLOCK);
		list_add(&page->lru, &blocks);
	}
	list_for_each_entry_safe(page, next, &blocks, lru) {
		list_del(&page->lru);
		for (i = 0; i < 1 << DM_BLOCK; i++) {
			if (i & 1)
				__free_page(page + i);
			else
				list_add(&page[i].lru, &b->held);
		}
	}
	return 0;
}
