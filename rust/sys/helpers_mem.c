// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of memory management, as functions that Rust can call.
 */

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/page-flags.h>
#include <linux/sched.h>
#include <linux/vmstat.h>

#include "helpers_mem.h"

/* Says in meminfo and vmstat how much is with the host, where there is a line for that. */
static void balloon_count(struct page *page, long pages)
{
#ifdef RLIS_HAVE_NR_BALLOON_PAGES
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES, pages);
#endif
}

/*
 * Takes 2^ORDER pages from the kernel, without trying hard, and marks each as offline: nobody looks into it, not even a
 * dump. Each can be given back alone. Returns the number of the first, or 0.
 */
unsigned long rlis_helper_mem_balloon_take(unsigned int order)
{
	long pages = 1L << order;
	struct page *page;
	long i;

	page = alloc_pages(GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOMEMALLOC | __GFP_NOWARN, order);
	if (!page)
		return 0;
	if (order)
		split_page(page, order);
	for (i = 0; i < pages; i++)
		__SetPageOffline(page + i);
	/* They are of one zone. */
	adjust_managed_page_count(page, -pages);
	balloon_count(page, pages);
	return page_to_pfn(page);
}

void rlis_helper_mem_balloon_give_back(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);

	balloon_count(page, -1);
	adjust_managed_page_count(page, 1);
	__ClearPageOffline(page);
	__free_page(page);
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
