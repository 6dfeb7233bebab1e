// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's helpers (inline functions and macros as functions that Rust can call) for the kept part of the
 * kernel crate, from the portable tree's helpers/, and own ones where a target's C API differs.
 */

#include <linux/compiler_types.h>

#define __rust_helper

/* The order that these name is less than what older kernels' only function gives. */
#include <linux/atomic.h>
#ifndef RLIS_HAVE_ATOMIC_ADD_NEGATIVE_ORDERS
#define atomic_add_negative_acquire atomic_add_negative
#define atomic_add_negative_release atomic_add_negative
#define atomic_add_negative_relaxed atomic_add_negative
#define atomic64_add_negative_acquire atomic64_add_negative
#define atomic64_add_negative_release atomic64_add_negative
#define atomic64_add_negative_relaxed atomic64_add_negative
#endif

#include "helpers/atomic.c"
#include "helpers/atomic_ext.c"
#include "helpers/barrier.c"
#include "helpers/bug.c"
#include "helpers/completion.c"
#include "helpers/cred.c"
#include "helpers/err.c"
#include "helpers/fs.c"
#include "helpers/mutex.c"
#include "helpers/page.c"
#include "helpers/poll.c"
#include "helpers/processor.c"
#include "helpers/rcu.c"
#include "helpers/refcount.c"
#include "helpers/signal.c"
#include "helpers/string.c"
#include "helpers/sync.c"
#include "helpers/task.c"
#include "helpers/time.c"
#include "helpers/uaccess.c"
#include "helpers/wait.c"
#include "helpers/workqueue.c"

#include <linux/device.h>
#include <linux/errname.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

#include "helpers_portable.h"

/*
 * Older kernels do not take an alignment or a node. The kernel crate's sizes are multiples of the alignment, with
 * which the slab's natural alignment suffices, and it never asks for a node.
 */
void *rust_helper_krealloc_node_align(const void *p, size_t size, unsigned long align,
				      gfp_t flags, int node);
void *rust_helper_krealloc_node_align(const void *p, size_t size, unsigned long align,
				      gfp_t flags, int node)
{
#ifdef RLIS_HAVE_KREALLOC_NODE_ALIGN
	return krealloc_node_align(p, size, align, flags, node);
#else
	return krealloc(p, size, flags);
#endif
}

void *rust_helper_portable_kvrealloc(const void *p, size_t old, size_t size, unsigned long align,
				     gfp_t flags, int node)
{
#if defined(RLIS_HAVE_KREALLOC_NODE_ALIGN)
	return kvrealloc_node_align(p, size, align, flags, node);
#elif defined(RLIS_HAVE_KVREALLOC_OLDSIZE)
	if (!size) {
		kvfree(p);
		return NULL;
	}
	return kvrealloc(p, old, size, flags);
#else
	return kvrealloc(p, size, flags);
#endif
}

void rust_helper___spin_lock_init(spinlock_t *lock, const char *name, struct lock_class_key *key);
void rust_helper___spin_lock_init(spinlock_t *lock, const char *name, struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
#ifdef CONFIG_PREEMPT_RT
	__spin_lock_init(lock, name, key, false);
#else
	__raw_spin_lock_init(spinlock_check(lock), name, key, LD_WAIT_CONFIG);
#endif
#else
	spin_lock_init(lock);
#endif
}

void rust_helper_spin_lock(spinlock_t *lock);
void rust_helper_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}

void rust_helper_spin_unlock(spinlock_t *lock);
void rust_helper_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

int rust_helper_spin_trylock(spinlock_t *lock);
int rust_helper_spin_trylock(spinlock_t *lock)
{
	return spin_trylock(lock);
}

void rust_helper_spin_assert_is_held(spinlock_t *lock);
void rust_helper_spin_assert_is_held(spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

/*
 * The kernel crate's SpinLockIrq counts how often interrupts were disabled, which kernels before 7.1 cannot. Here the
 * guard keeps the flags, so guards must be dropped in the reverse order of locking.
 */
unsigned long rust_helper_portable_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void rust_helper_portable_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

int rust_helper_portable_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	unsigned long saved;
	int locked;

	locked = spin_trylock_irqsave(lock, saved);
	*flags = saved;
	return locked;
}

/* The name of an error for logs, which show its number where this is NULL. */
const char *rust_helper_portable_errname(int err)
{
#if defined(RLIS_HAVE_EXPORT_errname) || !defined(CONFIG_SYMBOLIC_ERRNAME)
	return errname(err);
#else
	return NULL;
#endif
}

/* For the timer of a delayed work item. */
void rust_helper_portable_init_timer(struct timer_list *timer, void (*func)(struct timer_list *),
				     unsigned int flags, const char *name, struct lock_class_key *key)
{
#ifdef RLIS_HAVE_TIMER_INIT_KEY
	timer_init_key(timer, func, flags, name, key);
#else
	init_timer_key(timer, func, flags, name, key);
#endif
}

const char *rust_helper_dev_name(const struct device *dev);
const char *rust_helper_dev_name(const struct device *dev)
{
	return dev_name(dev);
}
