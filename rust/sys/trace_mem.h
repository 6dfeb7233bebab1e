/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoint hyperv:balloon_status, with the name, fields and format that the kernel's own hv_balloon has: programs read it.
 * When it is called is in rust/hv/mem/trace.rs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hyperv

#if !defined(RLIS_SYS_TRACE_MEM_H) || defined(TRACE_HEADER_MULTI_READ)
#define RLIS_SYS_TRACE_MEM_H

#include <linux/tracepoint.h>
#include <linux/types.h>

/* What the host is told, and what of this guest's memory is where; all in pages. */
TRACE_EVENT(balloon_status,
	TP_PROTO(u64 available, u64 committed, unsigned long vm_memory_committed,
		 unsigned long pages_ballooned, unsigned long pages_added,
		 unsigned long pages_onlined),
	TP_ARGS(available, committed, vm_memory_committed, pages_ballooned, pages_added, pages_onlined),
	TP_STRUCT__entry(
		__field(u64, available)
		__field(u64, committed)
		__field(unsigned long, vm_memory_committed)
		__field(unsigned long, pages_ballooned)
		__field(unsigned long, pages_added)
		__field(unsigned long, pages_onlined)
	),
	TP_fast_assign(
		__entry->available = available;
		__entry->committed = committed;
		__entry->vm_memory_committed = vm_memory_committed;
		__entry->pages_ballooned = pages_ballooned;
		__entry->pages_added = pages_added;
		__entry->pages_onlined = pages_onlined;
	),
	TP_printk("available %lld, committed %lld; vm_memory_committed %ld;"
		  " pages_ballooned %ld, pages_added %ld, pages_onlined %ld",
		  __entry->available, __entry->committed, __entry->vm_memory_committed,
		  __entry->pages_ballooned, __entry->pages_added, __entry->pages_onlined)
);

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace_mem
#endif

#include <trace/define_trace.h>
