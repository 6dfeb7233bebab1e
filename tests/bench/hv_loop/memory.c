// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that drivers lend to the host (GPADLs), and request ids: what network drivers need of a bus beside channels.
 */
#include <linux/bitmap.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "hv_loop.h"

/* ---- GPADLs: the host is in the same kernel, so that it keeps the address ---- */

struct loop_gpadl {
	struct list_head list;
	u32 id, size;
	void *address;
};

/* The memory of a GPADL and its SIZE, or NULL. It stays until the guest tears the GPADL down. */
void *loop_gpadl_find(struct loop_dev *dev, u32 id, u32 *size)
{
	struct loop_gpadl *g;
	unsigned long flags;
	void *address = NULL;

	spin_lock_irqsave(&dev->gpadl_lock, flags);
	list_for_each_entry(g, &dev->gpadls, list) {
		if (g->id == id) {
			address = g->address;
			*size = g->size;
		}
	}
	spin_unlock_irqrestore(&dev->gpadl_lock, flags);
	return address;
}

int vmbus_establish_gpadl(struct vmbus_channel *ch, void *kbuffer, u32 size, struct vmbus_gpadl *gpadl)
{
	struct loop_dev *dev = to_loop_channel(ch)->dev;
	struct loop_gpadl *g;
	unsigned long flags;

	if (ch->rescind)
		return -ENODEV;
	if (!size || size % PAGE_SIZE || offset_in_page(kbuffer))
		return -EINVAL;
	g = kzalloc_obj(*g);
	if (!g)
		return -ENOMEM;
	g->address = kbuffer;
	g->size = size;
	spin_lock_irqsave(&dev->gpadl_lock, flags);
	g->id = ++dev->last_gpadl;
	list_add(&g->list, &dev->gpadls);
	spin_unlock_irqrestore(&dev->gpadl_lock, flags);
	gpadl->gpadl_handle = g->id;
	gpadl->buffer = kbuffer;
	gpadl->size = size;
	gpadl->decrypted = false;
	return 0;
}
EXPORT_SYMBOL_GPL(vmbus_establish_gpadl);

int vmbus_establish_gpadl_caller_decrypted(struct vmbus_channel *ch, void *kbuffer, u32 size, struct vmbus_gpadl *gpadl)
{
	return vmbus_establish_gpadl(ch, kbuffer, size, gpadl);
}
EXPORT_SYMBOL_GPL(vmbus_establish_gpadl_caller_decrypted);

int vmbus_teardown_gpadl(struct vmbus_channel *ch, struct vmbus_gpadl *gpadl)
{
	struct loop_dev *dev = to_loop_channel(ch)->dev;
	struct loop_gpadl *g, *next;
	unsigned long flags;
	int err = -EINVAL;

	spin_lock_irqsave(&dev->gpadl_lock, flags);
	list_for_each_entry_safe(g, next, &dev->gpadls, list) {
		if (g->id != gpadl->gpadl_handle)
			continue;
		list_del(&g->list);
		kfree(g);
		err = 0;
	}
	spin_unlock_irqrestore(&dev->gpadl_lock, flags);
	if (dev->class == LOOP_NET)
		loop_net_taken_back(to_loop_channel(ch), gpadl->gpadl_handle);
	gpadl->gpadl_handle = 0;
	return err;
}
EXPORT_SYMBOL_GPL(vmbus_teardown_gpadl);

void loop_gpadls_free(struct loop_dev *dev)
{
	struct loop_gpadl *g, *next;

	list_for_each_entry_safe(g, next, &dev->gpadls, list)
		kfree(g);
}

void *vmbus_alloc_buffer(struct vmbus_channel *ch, u32 size, struct page ***chunks, u32 *chunk_cnt)
{
	*chunks = NULL;
	*chunk_cnt = 0;
	return vzalloc(size);
}
EXPORT_SYMBOL_GPL(vmbus_alloc_buffer);

void vmbus_free_buffer(void *addr, struct page **chunks, u32 chunk_cnt)
{
	vfree(addr);
}
EXPORT_SYMBOL_GPL(vmbus_free_buffer);

/* ---- request ids: a free list in the array that holds the addresses of those in use, as in hv_vmbus ---- */

int loop_requestor_init(struct vmbus_channel *ch)
{
	struct vmbus_requestor *rq = &ch->requestor;
	u32 i;

	if (!ch->rqstor_size)
		return 0;
	rq->req_arr = kvcalloc(ch->rqstor_size, sizeof(*rq->req_arr), GFP_KERNEL);
	rq->req_bitmap = bitmap_zalloc(ch->rqstor_size, GFP_KERNEL);
	if (!rq->req_arr || !rq->req_bitmap) {
		loop_requestor_exit(ch);
		return -ENOMEM;
	}
	for (i = 0; i < ch->rqstor_size; i++)
		rq->req_arr[i] = i + 1;
	rq->size = ch->rqstor_size;
	rq->next_request_id = 0;
	spin_lock_init(&rq->req_lock);
	return 0;
}

void loop_requestor_exit(struct vmbus_channel *ch)
{
	struct vmbus_requestor *rq = &ch->requestor;

	kvfree(rq->req_arr);
	bitmap_free(rq->req_bitmap);
	rq->req_arr = NULL;
	rq->req_bitmap = NULL;
	rq->size = 0;
}

u64 vmbus_next_request_id(struct vmbus_channel *ch, u64 rqst_addr)
{
	struct vmbus_requestor *rq = &ch->requestor;
	unsigned long flags;
	u64 id;

	if (!ch->rqstor_size)
		return VMBUS_NO_RQSTOR;
	spin_lock_irqsave(&rq->req_lock, flags);
	id = rq->next_request_id;
	if (id >= rq->size) {
		spin_unlock_irqrestore(&rq->req_lock, flags);
		return VMBUS_RQST_ERROR;
	}
	rq->next_request_id = rq->req_arr[id];
	rq->req_arr[id] = rqst_addr;
	bitmap_set(rq->req_bitmap, id, 1);
	spin_unlock_irqrestore(&rq->req_lock, flags);
	/* 0 is for what nobody asked for. */
	return id + 1;
}
EXPORT_SYMBOL_GPL(vmbus_next_request_id);

u64 vmbus_request_addr(struct vmbus_channel *ch, u64 trans_id)
{
	struct vmbus_requestor *rq = &ch->requestor;
	u64 addr = VMBUS_RQST_ERROR, slot = trans_id - 1;
	unsigned long flags;

	if (!ch->rqstor_size)
		return VMBUS_NO_RQSTOR;
	spin_lock_irqsave(&rq->req_lock, flags);
	if (trans_id && slot < rq->size && test_bit(slot, rq->req_bitmap)) {
		addr = rq->req_arr[slot];
		rq->req_arr[slot] = rq->next_request_id;
		rq->next_request_id = slot;
		bitmap_clear(rq->req_bitmap, slot, 1);
	}
	spin_unlock_irqrestore(&rq->req_lock, flags);
	return addr;
}
EXPORT_SYMBOL_GPL(vmbus_request_addr);
