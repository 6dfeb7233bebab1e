/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers_mem.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_MEM_H
#define RLIS_SYS_HELPERS_MEM_H

#ifndef RLIS_SAFE
#define RLIS_SAFE
#endif

#include <linux/types.h>

struct notifier_block;
struct page;
struct seq_file;

unsigned long rlis_helper_mem_balloon_take(unsigned int order);
bool rlis_helper_mem_same_zone(unsigned long pfn, unsigned long other);
void rlis_helper_mem_balloon_taken(unsigned long pfn, unsigned long pages);
void rlis_helper_mem_balloon_split(unsigned long pfn, unsigned int order);
void rlis_helper_mem_balloon_give_back_block(unsigned long pfn, unsigned int order);
void rlis_helper_mem_balloon_give_back(unsigned long pfn, unsigned long pages);
RLIS_SAFE unsigned long rlis_helper_mem_total_pages(void);
RLIS_SAFE long rlis_helper_mem_available_pages(void);
RLIS_SAFE unsigned long rlis_helper_mem_committed_pages(void);
RLIS_SAFE void rlis_helper_mem_pause(void);

RLIS_SAFE unsigned long rlis_helper_mem_block_pages(void);
RLIS_SAFE u64 rlis_helper_mem_pluggable_start(void);
RLIS_SAFE u64 rlis_helper_mem_pluggable_end(void);
RLIS_SAFE int rlis_helper_mem_add(u64 start, u64 pages);
RLIS_SAFE int rlis_helper_mem_remove(u64 start, u64 pages);
int rlis_helper_mem_hooks_set(void (*online)(struct page *page, unsigned int order),
			      struct notifier_block *notifier);
void rlis_helper_mem_hooks_restore(void (*online)(struct page *page, unsigned int order),
				   struct notifier_block *notifier);
u64 rlis_helper_mem_page_number(struct page *page);
void rlis_helper_mem_bring_online(u64 start, unsigned int order);
RLIS_SAFE u32 rlis_helper_mem_event(unsigned long action);
void rlis_helper_mem_event_pages(const void *data, u64 *start, u64 *end);

RLIS_SAFE void rlis_helper_trace_balloon_status(u64 available, u64 committed, unsigned long vm_committed,
						unsigned long ballooned, unsigned long added, unsigned long onlined);

void *rlis_helper_debug_file_new(const char *name, void (*show)(void *data, struct seq_file *to), void *data);
void rlis_helper_debug_file_remove(void *file);
void rlis_helper_debug_file_write(struct seq_file *to, const u8 *text, size_t len);

RLIS_SAFE bool rlis_helper_mem_takes_cold_discard(void);
u64 rlis_helper_mem_hint(u64 control, const u64 *input, u32 words);

int rlis_helper_mem_reporting_new(int (*report)(void *data, const u64 *blocks, size_t count), void *data, void **reporting);
void rlis_helper_mem_reporting_remove(void *reporting);
RLIS_SAFE u32 rlis_helper_mem_reporting_order(void);
RLIS_SAFE u32 rlis_helper_mem_report_large_only(void);

#endif
