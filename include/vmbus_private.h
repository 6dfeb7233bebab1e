/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The types of hv_vmbus that are not in <linux/hyperv.h> and still known outside of the module: uio_hv_generic
 * and mshv_vtl use fields of the two objects below. Their layout is that of the kernel's private
 * drivers/hv/hyperv_vmbus.h (Linux 7.3, and 6.12 where that differs), which headers packages do not contain.
 *
 * What is new here is struct rlis_channel: a channel with the state that we need besides the public part.
 */
#ifndef RLIS_VMBUS_PRIVATE_H
#define RLIS_VMBUS_PRIVATE_H

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#ifndef RLIS_HAVE_HVHDK
/* Symbol versions depend on which types are complete, and older private headers included these. */
#include <linux/bitops.h>
#include <linux/tracepoint.h>
#include <asm/sync_bitops.h>
#endif

#ifndef MAX_PAGE_ORDER
/* Before 6.4 the first order that there is not, from then to 6.7 the last one. */
#define MAX_PAGE_ORDER (MAX_ORDER - 1)
#endif

#ifdef RLIS_HAVE_HVHDK
struct hv_monitor_page;
#else
/* In older kernels it is part of the private header, and what drivers see of vmbus_connection. */
union hv_monitor_trigger_group {
	u64 as_uint64;
	struct {
		u32 pending;
		u32 armed;
	};
};

struct hv_monitor_parameter {
	union hv_connection_id connectionid;
	u16 flagnumber;
	u16 rsvdz;
};

union hv_monitor_trigger_state {
	u32 asu32;
	struct {
		u32 group_enable:4;
		u32 rsvdz:28;
	};
};

struct hv_monitor_page {
	union hv_monitor_trigger_state trigger_state;
	u32 rsvdz1;
	union hv_monitor_trigger_group trigger_group[4];
	u64 rsvdz2[3];
	s32 next_checktime[4][32];
	u16 latency[4][32];
	u64 rsvdz3[32];
	struct hv_monitor_parameter parameter[4][32];
	u8 rsvdz4[1984];
};
#endif

/* Per CPU: the SynIC pages and the tasklet that handles messages. mshv_vtl reads the first two pointers. */
struct hv_per_cpu_context {
	void *hyp_synic_message_page;
	void *hyp_synic_event_page;
	void *para_synic_message_page;
	void *para_synic_event_page;
	void *post_msg_page;
	struct tasklet_struct msg_dpc;
};

struct hv_context {
	u64 guestid;
	struct hv_per_cpu_context __percpu *cpu_context;
	struct cpumask *hv_numa_map;
};

extern struct hv_context hv_context;

enum vmbus_connect_state {
	DISCONNECTED,
	CONNECTING,
	CONNECTED,
	DISCONNECTING
};

/* uio_hv_generic uses int_page, monitor_pages and channel_mutex, which protects every sc_list. */
struct vmbus_connection {
	u32 msg_conn_id;
	atomic_t offer_in_progress;
	enum vmbus_connect_state conn_state;
	atomic_t next_gpadl_handle;
	struct completion unload_event;
	void *int_page;
	void *send_int_page;
	void *recv_int_page;
	struct hv_monitor_page *monitor_pages[2];
	struct list_head chn_msg_list;
	spinlock_t channelmsg_lock;
	struct list_head chn_list;
	struct mutex channel_mutex;
	struct vmbus_channel **channels;
#ifdef RLIS_HAVE_MMAP_PREPARE_RING_BUFFER
	u32 relid_hiwater;
#endif
	struct workqueue_struct *work_queue;
	struct workqueue_struct *handle_primary_chan_wq;
	struct workqueue_struct *handle_sub_chan_wq;
	struct workqueue_struct *rescind_work_queue;
	bool ignore_any_offer_msg;
	atomic_t nr_chan_close_on_suspend;
	struct completion ready_for_suspend_event;
#ifdef RLIS_HAVE_HVHDK
	struct completion all_offers_delivered_event;
#else
	atomic_t nr_chan_fixup_on_resume;
	struct completion ready_for_resume_event;
#endif
};

extern struct vmbus_connection vmbus_connection;

/* Ours, as only newer kernels have a place for them above. */
extern struct completion rlis_all_offers_delivered;

/* Held while a channel moves to another CPU, one at a time. */
extern struct mutex rlis_retarget_mutex;

/* Exported functions and objects whose prototypes are in the private header too. */
struct vm_area_desc;
extern const struct vmbus_device vmbus_devs[];
int hv_post_message(union hv_connection_id connection_id, enum hv_message_type message_type,
		    void *payload, size_t payload_size);
void vmbus_isr(void);
bool vmbus_is_confidential(void);
void vmbus_device_unregister(struct hv_device *device_obj);
#ifdef RLIS_HAVE_MMAP_PREPARE_RING_BUFFER
typedef int (*rlis_map_ring_t)(struct vmbus_channel *channel, struct vm_area_desc *desc);
int hv_create_ring_sysfs(struct vmbus_channel *channel,
			 int (*hv_mmap_prepare_ring_buffer)(struct vmbus_channel *channel,
							    struct vm_area_desc *desc));
#else
typedef int (*rlis_map_ring_t)(struct vmbus_channel *channel, struct vm_area_struct *vma);
int hv_create_ring_sysfs(struct vmbus_channel *channel,
			 int (*hv_mmap_ring_buffer)(struct vmbus_channel *channel,
						    struct vm_area_struct *vma));
#endif
int hv_remove_ring_sysfs(struct vmbus_channel *channel);

/* The channel comes first: the two pointers are equal, and so is what kfree_rcu() frees. */
struct rlis_channel {
	struct vmbus_channel channel;
	struct work_struct rescind_work;
	/* Of a primary channel: sub-channels are handed to the driver one at a time. */
	struct mutex additions;
	/* Of a primary channel: files in sysfs of the device's channels are made and removed one channel at a time. */
	struct mutex files;
#ifndef RLIS_HAVE_RING_SYSFS
	/* Fields of newer channels. Here nobody sets them: uio_hv_generic makes the file "ring" by itself. */
	rlis_map_ring_t mmap_ring_buffer;
	bool ring_sysfs_visible;
#endif
	/* Calls the callback again: the host's index could not be, and no signal may come when it is right again. */
	struct timer_list look_again;
	/* When the log was told of that, in jiffies. */
	unsigned long told_index;
	/* The memory of both rings: the page list of rust/hv/bus/ring/pages.rs in a box, or NULL. */
	void *ring_memory;
	/* The same of a closed channel, for when its driver opens it again. */
	void *ring_kept;
	/* That lies in one piece, as the driver asked for; the driver wants it so for sub-channels, too. */
	bool ring_in_one_piece;
	/* Where the channel is in its life (rust/proto/vmbus/life.rs). state, rescind and probe_done follow from it. */
	u32 life;
	/* What is known of the CPU that gets the interrupts, besides target_cpu (rust/proto/vmbus/retarget.rs). */
	u32 opens;
	bool target_unsure;
	bool target_moving;
	bool target_unanswered;
};

/* The module parameter, in drivers/hv/vmbus/module_info.c. */
extern unsigned int rlis_vmbus_max_version;

#endif
