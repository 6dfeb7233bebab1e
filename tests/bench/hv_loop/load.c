// SPDX-License-Identifier: GPL-2.0
/*
 * A load of reads, from inside the kernel: what it costs beside the driver is small and the same for every driver.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "hv_loop.h"

struct load_slot {
	struct llist_node free;
	struct bio *bio;
	struct load_job *job;
	struct page *pages[];
};

/* One thread on one CPU that keeps a number of reads under way. */
struct load_job {
	struct task_struct *task;
	struct block_device *bdev;
	unsigned int bytes, depth;
	u64 count, random, errors;
	sector_t sectors;
	struct llist_head free;
	wait_queue_head_t wait;
	atomic_t under_way;
	struct completion done;
	struct load_slot **slots;
};

static void read_done(struct bio *bio)
{
	struct load_slot *slot = bio->bi_private;
	struct load_job *job = slot->job;

	if (bio->bi_status)
		job->errors++;
	llist_add(&slot->free, &job->free);
	atomic_dec(&job->under_way);
	wake_up(&job->wait);
}

static void submit(struct load_slot *slot)
{
	struct load_job *job = slot->job;
	unsigned int i, pages = DIV_ROUND_UP(job->bytes, PAGE_SIZE);
	struct bio *bio = slot->bio;

	/* xorshift: the same blocks for every driver */
	job->random ^= job->random << 13;
	job->random ^= job->random >> 7;
	job->random ^= job->random << 17;
	bio_reset(bio, job->bdev, REQ_OP_READ);
	bio->bi_iter.bi_sector = job->random % (job->sectors / (job->bytes >> 9)) * (job->bytes >> 9);
	bio->bi_private = slot;
	bio->bi_end_io = read_done;
	for (i = 0; i < pages; i++)
		__bio_add_page(bio, slot->pages[i], min_t(unsigned int, PAGE_SIZE, job->bytes - i * PAGE_SIZE), 0);
	atomic_inc(&job->under_way);
	submit_bio(bio);
}

static int load_thread(void *data)
{
	struct load_job *job = data;
	struct llist_node *ready;
	struct load_slot *slot, *next;
	struct blk_plug plug;
	u64 left = job->count;

	while (left) {
		wait_event(job->wait, !llist_empty(&job->free));
		ready = llist_del_all(&job->free);
		blk_start_plug(&plug);
		llist_for_each_entry_safe(slot, next, ready, free) {
			if (!left)
				break;
			left--;
			submit(slot);
		}
		blk_finish_plug(&plug);
	}
	wait_event(job->wait, !atomic_read(&job->under_way));
	complete(&job->done);
	/* Until it is told to stop, so that its task stays. */
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static void job_free(struct load_job *job)
{
	unsigned int i, k, pages = DIV_ROUND_UP(job->bytes, PAGE_SIZE);

	for (i = 0; job->slots && i < job->depth && job->slots[i]; i++) {
		for (k = 0; k < pages; k++)
			if (job->slots[i]->pages[k])
				__free_page(job->slots[i]->pages[k]);
		if (job->slots[i]->bio)
			bio_uninit(job->slots[i]->bio);
		kfree(job->slots[i]->bio);
		kfree(job->slots[i]);
	}
	kfree(job->slots);
}

/*
 * Pages of which no two are neighbours in the order of the bio: how many segments a request has, and so what it costs, does not
 * depend on what was free.
 */
static bool pages_init(struct load_slot *slot, unsigned int count)
{
	unsigned int k, order = get_order(count * PAGE_SIZE);
	struct page *block = alloc_pages(GFP_KERNEL, order);

	if (!block)
		return false;
	split_page(block, order);
	for (k = 0; k < count; k++)
		slot->pages[count - 1 - k] = block + k;
	for (; k < 1U << order; k++)
		__free_page(block + k);
	return true;
}

static int job_init(struct load_job *job, struct block_device *bdev, unsigned int bytes, unsigned int depth, u64 count,
		    unsigned int number)
{
	unsigned int i, pages = DIV_ROUND_UP(bytes, PAGE_SIZE);
	struct load_slot *slot;

	job->bdev = bdev;
	job->bytes = bytes;
	job->depth = depth;
	job->count = count;
	job->random = 0x9e3779b97f4a7c15ULL * (number + 1);
	job->sectors = bdev_nr_sectors(bdev);
	init_llist_head(&job->free);
	init_waitqueue_head(&job->wait);
	init_completion(&job->done);
	if (job->sectors < bytes >> 9)
		return -EINVAL;
	job->slots = kcalloc(depth, sizeof(*job->slots), GFP_KERNEL);
	if (!job->slots)
		return -ENOMEM;
	for (i = 0; i < depth; i++) {
		slot = kzalloc(struct_size(slot, pages, pages), GFP_KERNEL);
		if (!slot)
			return -ENOMEM;
		job->slots[i] = slot;
		slot->job = job;
		slot->bio = bio_kmalloc(pages, GFP_KERNEL);
		if (!slot->bio)
			return -ENOMEM;
		bio_init(slot->bio, bdev, bio_inline_vecs(slot->bio), pages, REQ_OP_READ);
		if (!pages_init(slot, pages))
			return -ENOMEM;
		llist_add(&slot->free, &job->free);
	}
	return 0;
}

/*
 * Reads COUNT times BYTES at random places of the disk PATH, with DEPTH requests under way on each of the first CPUS
 * CPUs. Returns the time in nanoseconds, or an error.
 */
s64 loop_load(const char *path, unsigned int bytes, unsigned int depth, u64 count, unsigned int cpus)
{
	struct load_job *jobs;
	struct file *file;
	unsigned int i, n = 0;
	u64 errors = 0;
	ktime_t start;
	s64 result;

	if (!bytes || bytes % 512 || bytes > 1 << 20 || !depth || depth > 256 || !count || !cpus || cpus > num_online_cpus())
		return -EINVAL;
	file = bdev_file_open_by_path(path, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	jobs = kcalloc(cpus, sizeof(*jobs), GFP_KERNEL);
	result = jobs ? 0 : -ENOMEM;
	for (i = 0; i < cpus && !result; i++, n++) {
		result = job_init(&jobs[i], file_bdev(file), bytes, depth, count, i);
		if (result)
			continue;
		jobs[i].task = kthread_create_on_cpu(load_thread, &jobs[i], i, "hv_loop_load/%u");
		if (IS_ERR(jobs[i].task)) {
			result = PTR_ERR(jobs[i].task);
			jobs[i].task = NULL;
		}
	}
	if (!result) {
		start = ktime_get();
		for (i = 0; i < cpus; i++)
			wake_up_process(jobs[i].task);
		for (i = 0; i < cpus; i++)
			wait_for_completion(&jobs[i].done);
		result = ktime_to_ns(ktime_sub(ktime_get(), start));
	}
	/* The last completions may still be about to wake the threads up. */
	synchronize_rcu();
	for (i = 0; i < n; i++) {
		if (jobs[i].task)
			kthread_stop(jobs[i].task);
		errors += jobs[i].errors;
		job_free(&jobs[i]);
	}
	kfree(jobs);
	fput(file);
	return errors ? -EIO : result;
}
