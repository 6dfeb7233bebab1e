// SPDX-License-Identifier: GPL-2.0
/*
 * Defines the tracepoint of dynamic memory, and makes a function of it that Rust can call.
 */

#define CREATE_TRACE_POINTS
#include "trace_mem.h"

#include "helpers_mem.h"

void rlis_helper_trace_balloon_status(u64 available, u64 committed, unsigned long vm_committed, unsigned long ballooned,
				      unsigned long added, unsigned long onlined)
{
	trace_balloon_status(available, committed, vm_committed, ballooned, added, onlined);
}
