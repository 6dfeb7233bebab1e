/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of what helpers.c adds to the kernel's own helpers, and shims for functions that a target may lack.
 * The RLIS_HAVE_ macros come from scripts/kernel-features, which asks the target's headers.
 */
#ifndef RLIS_HELPERS_PORTABLE_H
#define RLIS_HELPERS_PORTABLE_H

#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/types.h>
#include <linux/vmalloc.h>

/*
 * Never defined: kernels before 6.18 do not export a function that grows a vmalloc area, and newer ones have a macro of
 * this name. A driver that used VVec or VBox would fail to link with it.
 */
#undef vrealloc_node_align
void *vrealloc_node_align(const void *p, size_t size, unsigned long align, gfp_t flags, int nid);

/* Older kernels want to know how large the memory is that @p points to; 0 if @p is NULL. A @size of 0 frees it. */
void *rust_helper_portable_kvrealloc(const void *p, size_t old, size_t size, unsigned long align,
				     gfp_t flags, int node);
const char *rust_helper_portable_errname(int err);
unsigned long rust_helper_portable_spin_lock_irqsave(spinlock_t *lock);
void rust_helper_portable_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
int rust_helper_portable_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void rust_helper_portable_init_timer(struct timer_list *timer, void (*func)(struct timer_list *),
				     unsigned int flags, const char *name, struct lock_class_key *key);

#endif
