// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of memory management, as functions that Rust can call.
 */

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/page-flags.h>
#include <linux/page_reporting.h>
#include <linux/pageblock-flags.h>
#include <linux/range.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/vmstat.h>

#include <asm/mshyperv.h>

#include "helpers_mem.h"

/* Says in meminfo and vmstat how much is with the host, where there is a line for that. */
static void balloon_count(struct page *page, long pages)
{
#ifdef RLIS_HAVE_NR_BALLOON_PAGES
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES, pages);
#endif
}

/*
 * Takes 2^ORDER pages from the kernel as one block, without trying hard, and marks each as offline: nobody looks into it, not even
 * a dump. Returns the number of the first, or 0. They are still to be counted.
 */
unsigned long rlis_helper_mem_balloon_take(unsigned int order)
{
	long pages = 1L << order;
	struct page *page;
	long i;

	page = alloc_pages(GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOMEMALLOC | __GFP_NOWARN, order);
	if (!page)
		return 0;
	for (i = 0; i < pages; i++)
		__SetPageOffline(page + i);
	return page_to_pfn(page);
}

bool rlis_helper_mem_same_zone(unsigned long pfn, unsigned long other)
{
	return page_zone(pfn_to_page(pfn)) == page_zone(pfn_to_page(other));
}

/* So many pages of the zone of page PFN are with the host. For the kernel this is dear, so it is done for many at once. */
void rlis_helper_mem_balloon_taken(unsigned long pfn, unsigned long pages)
{
	struct page *page = pfn_to_page(pfn);

	adjust_managed_page_count(page, -(long)pages);
	balloon_count(page, pages);
}

/* From now on each page of the block can be given back alone. */
void rlis_helper_mem_balloon_split(unsigned long pfn, unsigned int order)
{
	split_page(pfn_to_page(pfn), order);
}

/* Gives back a block as it was taken. */
void rlis_helper_mem_balloon_give_back_block(unsigned long pfn, unsigned int order)
{
	struct page *page = pfn_to_page(pfn);
	long pages = 1L << order, i;

	balloon_count(page, -pages);
	adjust_managed_page_count(page, pages);
	for (i = 0; i < pages; i++)
		__ClearPageOffline(page + i);
	__free_pages(page, order);
}

/* Gives back single pages that are neighbours. What is counted is counted once for all of a zone. */
void rlis_helper_mem_balloon_give_back(unsigned long pfn, unsigned long pages)
{
	unsigned long end = pfn + pages, at, next;

	for (at = pfn; at < end; at = next) {
		struct page *first = pfn_to_page(at);

		for (next = at + 1; next < end && page_zone(pfn_to_page(next)) == page_zone(first); next++)
			;
		balloon_count(first, -(long)(next - at));
		adjust_managed_page_count(first, next - at);
		for (; at < next; at++) {
			struct page *page = pfn_to_page(at);

			__ClearPageOffline(page);
			__free_page(page);
		}
	}
}

unsigned long rlis_helper_mem_total_pages(void)
{
	return totalram_pages();
}

long rlis_helper_mem_available_pages(void)
{
	return si_mem_available();
}

unsigned long rlis_helper_mem_committed_pages(void)
{
	return vm_memory_committed();
}

void rlis_helper_mem_pause(void)
{
	cond_resched();
}

/* ---- memory that is added ---------------------------------------------------------------------------- */

#define PAGES(bytes) ((bytes) >> PAGE_SHIFT)

#ifdef CONFIG_MEMORY_HOTPLUG

/* Pages of a memory block, 0 if memory cannot be added. */
unsigned long rlis_helper_mem_block_pages(void)
{
	return PAGES(memory_block_size_bytes());
}

/* The pages that can be mapped begin here, */
u64 rlis_helper_mem_pluggable_start(void)
{
	return PAGES(mhp_get_pluggable_range(true).start);
}

/* and end before this one. */
u64 rlis_helper_mem_pluggable_end(void)
{
	/* The range has its last byte in it. */
	return PAGES(mhp_get_pluggable_range(true).end) + 1;
}

/* Adds whole blocks to the kernel. Sleeps. */
int rlis_helper_mem_add(u64 start, u64 pages)
{
	u64 at = start << PAGE_SHIFT;

	return add_memory(memory_add_physaddr_to_nid(at), at, pages << PAGE_SHIFT, MHP_MERGE_RESOURCE);
}

/* Takes whole blocks from the kernel that are offline. Sleeps. */
int rlis_helper_mem_remove(u64 start, u64 pages)
{
#ifdef CONFIG_MEMORY_HOTREMOVE
	return remove_memory(start << PAGE_SHIFT, pages << PAGE_SHIFT);
#else
	return -EOPNOTSUPP;
#endif
}

int rlis_helper_mem_hooks_set(void (*online)(struct page *page, unsigned int order),
			      struct notifier_block *notifier)
{
	int ret = register_memory_notifier(notifier);

	if (ret)
		return ret;
	ret = set_online_page_callback(online);
	if (ret)
		unregister_memory_notifier(notifier);
	return ret;
}

/* Both wait for calls that are under way. */
void rlis_helper_mem_hooks_restore(void (*online)(struct page *page, unsigned int order),
				   struct notifier_block *notifier)
{
	restore_online_page_callback(online);
	unregister_memory_notifier(notifier);
}

void rlis_helper_mem_bring_online(u64 start, unsigned int order)
{
	generic_online_page(pfn_to_page(start), order);
}

/* 0: brings memory online or takes it offline, 1: has brought it online or not taken it offline, 2: the reverse, 3: none. */
u32 rlis_helper_mem_event(unsigned long action)
{
	switch (action) {
	case MEM_GOING_ONLINE:
	case MEM_GOING_OFFLINE:
		return 0;
	case MEM_ONLINE:
	case MEM_CANCEL_OFFLINE:
		return 1;
	case MEM_OFFLINE:
	case MEM_CANCEL_ONLINE:
		return 2;
	default:
		return 3;
	}
}

/* The pages that a memory notifier's DATA is about. */
void rlis_helper_mem_event_pages(const void *data, u64 *start, u64 *end)
{
	const struct memory_notify *notify = data;

	*start = notify->start_pfn;
	*end = notify->start_pfn + notify->nr_pages;
}

#else

unsigned long rlis_helper_mem_block_pages(void)
{
	return 0;
}

u64 rlis_helper_mem_pluggable_start(void)
{
	return 0;
}

u64 rlis_helper_mem_pluggable_end(void)
{
	return 0;
}

int rlis_helper_mem_add(u64 start, u64 pages)
{
	return -EOPNOTSUPP;
}

int rlis_helper_mem_remove(u64 start, u64 pages)
{
	return -EOPNOTSUPP;
}

int rlis_helper_mem_hooks_set(void (*online)(struct page *page, unsigned int order),
			      struct notifier_block *notifier)
{
	return -EOPNOTSUPP;
}

void rlis_helper_mem_hooks_restore(void (*online)(struct page *page, unsigned int order),
				   struct notifier_block *notifier)
{
}

void rlis_helper_mem_bring_online(u64 start, unsigned int order)
{
}

u32 rlis_helper_mem_event(unsigned long action)
{
	return 3;
}

void rlis_helper_mem_event_pages(const void *data, u64 *start, u64 *end)
{
	*start = 0;
	*end = 0;
}

#endif

u64 rlis_helper_mem_page_number(struct page *page)
{
	return page_to_pfn(page);
}

/* ---- a file in debugfs --------------------------------------------------------------------------------- */

struct debug_file {
	void (*show)(void *data, struct seq_file *to);
	void *data;
	struct dentry *dentry;
};

static int debug_file_show(struct seq_file *to, void *offset)
{
	struct debug_file *file = to->private;

	file->show(file->data, to);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(debug_file);

/* Makes a file for root to read, of which SHOW writes the text. NULL if there is no debugfs, or no memory. Sleeps. */
void *rlis_helper_debug_file_new(const char *name, void (*show)(void *data, struct seq_file *to), void *data)
{
	struct debug_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return NULL;
	file->show = show;
	file->data = data;
	file->dentry = debugfs_create_file(name, 0444, NULL, file, &debug_file_fops);
	if (IS_ERR(file->dentry)) {
		kfree(file);
		return NULL;
	}
	return file;
}

/* Waits for who reads it. Sleeps. */
void rlis_helper_debug_file_remove(void *file)
{
	debugfs_remove(((struct debug_file *)file)->dentry);
	kfree(file);
}

void rlis_helper_debug_file_write(struct seq_file *to, const u8 *text, size_t len)
{
	seq_write(to, text, len);
}

/* ---- hints for the hypervisor -------------------------------------------------------------------------- */

/*
 * Whether the hypervisor takes hints that free memory is of no use, and is to be given any: not by a root partition or one that is
 * nested, whose memory is another's, nor where free pages have to keep a pattern. Sleeps.
 */
bool rlis_helper_mem_takes_cold_discard(void)
{
#ifdef RLIS_HAVE_ROOT_PARTITION_FUNCTION
	bool root = hv_root_partition();
#else
	bool root = hv_root_partition;
#endif
	/* Older kernels run such a root partition no better than another. */
#ifdef RLIS_HAVE_NESTED
	bool nested = hv_nested;
#else
	bool nested = false;
#endif

	if (root || nested || page_poisoning_enabled_static())
		return false;
	return hv_query_ext_cap(HV_EXT_CAPABILITY_MEMORY_COLD_DISCARD_HINT);
}

/*
 * Makes a hypercall whose input is INPUT, of no more than a page. Any context. Where this CPU has no page for it the result is that of
 * a hypercall which found no memory.
 */
u64 rlis_helper_mem_hint(u64 control, const u64 *input, u32 words)
{
	u64 result = HV_STATUS_INSUFFICIENT_MEMORY;
	unsigned long flags;
	u64 *page;

	local_irq_save(flags);
	page = *this_cpu_ptr(hyperv_pcpu_input_arg);
	if (page) {
		memcpy(page, input, words * sizeof(*input));
		result = hv_do_hypercall(control, page, NULL);
	}
	local_irq_restore(flags);
	return result;
}

#ifdef RLIS_HAVE_EXPORT_page_reporting_register

/* It has no header. Older kernels do not export it, and take their blocks of pages where a driver names no order, as here. */
#ifdef RLIS_HAVE_EXPORT_page_reporting_order
extern unsigned int page_reporting_order;
#endif

/* Where the kernel chooses the smallest blocks. */
#ifndef PAGE_REPORTING_ORDER_UNSPECIFIED
#define PAGE_REPORTING_ORDER_UNSPECIFIED 0
#endif

struct reporting {
	struct page_reporting_dev_info info;
	int (*report)(void *data, const u64 *blocks, size_t count);
	void *data;
};

static int reporting_report(struct page_reporting_dev_info *info, struct scatterlist *list, unsigned int entries)
{
	struct reporting *reporting = container_of(info, struct reporting, info);
	/* Of each block, its first page and how many there are. */
	u64 blocks[2 * PAGE_REPORTING_CAPACITY];
	struct scatterlist *entry;
	unsigned int i;

	if (WARN_ON_ONCE(entries > PAGE_REPORTING_CAPACITY))
		return -EINVAL;
	for_each_sg(list, entry, entries, i) {
		blocks[2 * i] = page_to_pfn(sg_page(entry));
		blocks[2 * i + 1] = PAGES(entry->length);
	}
	return reporting->report(reporting->data, blocks, entries);
}

/*
 * From now on REPORT is told of free pages, in process context and never twice at a time; the kernel does not use them until it
 * returns. What it is told of is told again only if it fails, or after the pages were in use. Sleeps.
 */
int rlis_helper_mem_reporting_new(int (*report)(void *data, const u64 *blocks, size_t count), void *data, void **reporting)
{
	struct reporting *new = kzalloc(sizeof(*new), GFP_KERNEL);
	int ret;

	if (!new)
		return -ENOMEM;
	new->info.report = reporting_report;
	new->info.order = PAGE_REPORTING_ORDER_UNSPECIFIED;
	new->report = report;
	new->data = data;
	ret = page_reporting_register(&new->info);
	if (ret) {
		kfree(new);
		return ret;
	}
	*reporting = new;
	return 0;
}

/* Waits for a report that is under way. Sleeps. */
void rlis_helper_mem_reporting_remove(void *reporting)
{
	page_reporting_unregister(&((struct reporting *)reporting)->info);
	kfree(reporting);
}

/* Smaller blocks than those of so many pages, as a power of two, are not reported. */
u32 rlis_helper_mem_reporting_order(void)
{
#ifdef RLIS_HAVE_EXPORT_page_reporting_order
	return READ_ONCE(page_reporting_order);
#else
	return pageblock_order;
#endif
}

/* From now on nothing below the kernel's blocks of pages, of 2 MiB or more, is reported. Returns the order of these. */
u32 rlis_helper_mem_report_large_only(void)
{
#ifdef RLIS_HAVE_EXPORT_page_reporting_order
	WRITE_ONCE(page_reporting_order, pageblock_order);
#endif
	return pageblock_order;
}

#else

int rlis_helper_mem_reporting_new(int (*report)(void *data, const u64 *blocks, size_t count), void *data, void **reporting)
{
	return -EOPNOTSUPP;
}

void rlis_helper_mem_reporting_remove(void *reporting)
{
}

u32 rlis_helper_mem_reporting_order(void)
{
	return 0;
}

u32 rlis_helper_mem_report_large_only(void)
{
	return 0;
}

#endif
