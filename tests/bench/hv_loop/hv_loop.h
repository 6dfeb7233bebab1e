/* SPDX-License-Identifier: GPL-2.0 */
/*
 * hv_loop: a test-only stand-in for hv_vmbus that plays the host's side inside the kernel.
 *
 * It exports the C API of <linux/hyperv.h> that drivers of storage, network and dynamic memory use, offers storage
 * controllers, network cards and the memory device, and answers them from memory. A driver runs over it unchanged, in any virtual machine, without a
 * hypervisor's exits.
 *
 *   bus.c      the bus, its devices, driver registration, offers and rescinds
 *   channel.c  the guest's side of a channel: rings, packets, interrupts
 *   memory.c   GPADLs and request ids
 *   host.c     the host's side of a channel: reads what the guest sends, writes answers
 *   vstor.c    the storage host: speaks VSTOR, injects faults
 *   scsi.c     the SCSI target behind it
 *   netvsp.c   the network host: NVSP, sections, frames
 *   rndis.c    the control messages of its cards
 *   balloon.c  the dynamic memory host, and what a request to it takes
 *   load.c     a load of reads, for measurements
 *   netload.c  a load of frames
 *   ctl.c      the control file in debugfs
 */
#ifndef HV_LOOP_H
#define HV_LOOP_H

#include <linux/hyperv.h>
#include <linux/if.h>
#include <linux/irq_work.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#define LOOP_MAX_DEVS		4
#define LOOP_MAX_LUNS		16
#define LOOP_MAX_CHANNELS	16
/* The longest request of storage, and longer than any of the network: a descriptor, PFNs of 8 MiB and one more page, and the VSTOR packet. */
#define LOOP_PKT_MAX		(24 * 1024)
#define LOOP_SENSE_LEN		18
/* The longest answer to a packet of a network driver, with its descriptor. */
#define LOOP_ANSWER_MAX		128

#define violation(lc, fmt, ...)									\
do {												\
	(lc)->violations++;									\
	pr_err_ratelimited("hv_loop: violation on channel %u: " fmt "\n",			\
			   (lc)->ch.offermsg.child_relid, ##__VA_ARGS__);			\
} while (0)

/* The VSTOR protocol as this host speaks it; layouts are the ones of Hyper-V, see Documentation/. */
enum {
	VSTOR_COMPLETE_IO = 1,
	VSTOR_REMOVE_DEVICE = 2,
	VSTOR_EXECUTE_SRB = 3,
	VSTOR_RESET_LUN = 4,
	VSTOR_RESET_ADAPTER = 5,
	VSTOR_RESET_BUS = 6,
	VSTOR_BEGIN_INIT = 7,
	VSTOR_END_INIT = 8,
	VSTOR_QUERY_VERSION = 9,
	VSTOR_QUERY_PROPERTIES = 10,
	VSTOR_ENUMERATE_BUS = 11,
	VSTOR_FCHBA_DATA = 12,
	VSTOR_CREATE_SUB_CHANNELS = 13,
};

enum {
	SRB_SUCCESS = 0x01,
	SRB_ERROR = 0x04,
	SRB_INVALID_REQUEST = 0x06,
	SRB_DATA_OVERRUN = 0x12,
	SRB_INVALID_LUN = 0x20,
	SRB_AUTOSENSE = 0x80,
};

struct loop_srb {
	__le16 length;
	u8 srb_status;
	u8 scsi_status;
	u8 port;
	u8 path;
	u8 target;
	u8 lun;
	u8 cdb_length;
	u8 sense_length;
	u8 data_in;
	u8 reserved;
	__le32 transfer_length;
	union {
		u8 cdb[16];
		u8 sense[20];
	};
	__le16 reserved2;
	u8 queue_tag;
	u8 queue_action;
	__le32 srb_flags;
	__le32 timeout;
	__le32 sort_key;
} __packed;

struct loop_properties {
	__le32 reserved;
	__le16 max_channels;
	__le16 reserved1;
	__le32 flags;
	__le32 max_transfer_bytes;
	__le64 reserved2;
} __packed;

struct loop_wwn {
	u8 primary_active;
	u8 reserved[3];
	u8 primary_port[8];
	u8 primary_node[8];
	u8 secondary_port[8];
	u8 secondary_node[8];
} __packed;

struct loop_vstor {
	__le32 operation;
	__le32 flags;
	__le32 status;
	union {
		struct loop_srb srb;
		struct loop_properties properties;
		struct loop_wwn wwn;
		__le16 version;
		__le16 sub_channels;
		u8 buffer[0x34];
	};
} __packed;

static_assert(sizeof(struct loop_srb) == 0x34);
static_assert(sizeof(struct loop_vstor) == 0x40);

/* The guest's memory that a request names: one range of 4 KiB pages. */
struct loop_range {
	u32 len;
	u32 offset;
	u32 pfns;
	const u64 *pfn;
};

/* One interrupt line: delivers to a CPU what the caller must not do itself. */
struct loop_irq {
	struct irq_work local;
	call_single_data_t csd;
	unsigned long busy;
	void (*handler)(struct loop_irq *irq);
};

struct loop_dev;

struct loop_channel {
	struct vmbus_channel ch;	/* what drivers see */
	struct loop_dev *dev;
	unsigned int index;		/* 0: primary */
	struct loop_irq guest_irq;	/* host to guest */
	struct loop_irq doorbell;	/* guest to host */
	struct work_struct host_work;	/* reads requests */
	struct delayed_work timer;	/* sends replies that were held back */
	spinlock_t reply_lock;		/* one writer of the inbound ring at a time; guards held */
	struct list_head held;		/* struct loop_held */
	bool open;
	u32 host_read;			/* the host's place in the outbound ring */
	u8 *pkt;			/* the host's private copy of the request that it works on */
	unsigned long rung;		/* bit 0: the guest has signalled, and the host not yet begun to read */
	u64 requests, bytes, replies, doorbells, lock_contended;
	u64 needless;			/* signals that told the host nothing */
	u64 frames;			/* that the guest of a network card has sent */
	u64 host_cycles;		/* that the host of a network card or of memory took */
	u64 violations;			/* what the guest sent and must not send */
};

/* A reply that is sent later, or a request that is carried out later. */
struct loop_held {
	struct list_head list;
	u64 trans_id;
	unsigned long due;		/* jiffies */
	bool request;			/* still to be carried out, on what follows */
	struct loop_vstor vstor;
	struct loop_range range;
	u64 pfn[];
};

enum loop_class { LOOP_SCSI, LOOP_IDE, LOOP_FC, LOOP_NET, LOOP_BALLOON };

struct loop_net;
struct loop_balloon;

struct loop_lun {
	bool present;
	bool dvd;
	u32 block_size;
	u64 blocks;
	bool capacity_changed;		/* a unit attention is due */
	bool parameters_changed;	/* likewise, 3F/01 */
	struct xarray pages;		/* 4 KiB page number to struct page; absent pages read as zeros */
};

/* What to do to the next requests; each counts down. Guarded by loop_dev.fault_lock. */
struct loop_faults {
	u32 lose;		/* no completion, ever */
	u32 hold;		/* a READ or WRITE is carried out late: only then are its data moved */
	u32 hold_ms;
	u32 duplicate;		/* the completion twice */
	u32 unknown;		/* a completion with an id never given, before the right one */
	u32 early;		/* completions for ids of idle tags, before the right one */
	u32 short_packet;	/* a completion cut to 8 bytes of payload, before the right one */
	u32 bad_length;		/* data_transfer_length and sense length beyond all bounds */
	u32 bad_header;		/* a descriptor with wild length fields, before the right completion */
	u32 error;		/* the status below instead of execution */
	u8 srb_status, scsi_status, key, asc, ascq;
	u32 error_opcode;	/* only for this CDB opcode; 256: any */
	u32 slow;		/* delayed completion */
	u32 slow_ms;
	u32 stall_ms;		/* the host stops reading its ring for this long, once */
	u32 unsolicited;	/* id 0 packets of each operation, before the right completion */
};

struct loop_dev {
	struct hv_device hv;
	enum loop_class class;
	unsigned int number;
	bool offered;
	struct loop_channel *channels[LOOP_MAX_CHANNELS];
	unsigned int n_channels;
	struct mutex lock;		/* the channels' table */
	struct work_struct offer_work;	/* offers sub-channels */
	unsigned int sub_channels_wanted;
	u32 init_state;			/* the last accepted VSTOR init operation */
	u16 version;
	spinlock_t fault_lock;
	bool faults_armed;
	struct loop_faults faults;
	struct loop_lun luns[LOOP_MAX_LUNS];
	u64 resets;
	u8 wwn_generation;
	spinlock_t gpadl_lock;		/* the two below */
	struct list_head gpadls;
	u32 last_gpadl;
	struct loop_net *net;		/* of network cards alone */
	struct loop_balloon *balloon;	/* of the memory device alone */
};

#define to_loop_channel(c) container_of(c, struct loop_channel, ch)

extern struct loop_dev *loop_devs[LOOP_MAX_DEVS];
extern unsigned int loop_max_subchannels;
extern unsigned int loop_max_transfer;
extern unsigned int loop_versions_from;
extern unsigned int loop_net_version;
extern unsigned int loop_net_lso;
extern struct workqueue_struct *loop_host_wq;

/* bus.c; the first is hv_vmbus's, declared in a header of its own directory only */
void vmbus_device_unregister(struct hv_device *dev);
int loop_offer(unsigned int number);
void loop_rescind(struct loop_dev *dev);
void loop_channel_free(struct loop_channel *lc);

/* channel.c */
void loop_channel_setup(struct loop_channel *lc);
void loop_close_now(struct loop_channel *lc);
void loop_irq_init(struct loop_irq *irq, void (*handler)(struct loop_irq *irq));
void loop_irq_raise(struct loop_irq *irq, int cpu);
void loop_irq_sync(struct loop_irq *irq);
void loop_raise_guest(struct loop_channel *lc);

/* host.c */
void loop_host_setup(struct loop_channel *lc);
void loop_host_close(struct loop_channel *lc);
void loop_doorbell(struct loop_channel *lc);
int loop_ring_reply(struct loop_channel *lc, u64 trans_id, u16 type, const void *payload, u32 len, u16 len8,
		    u16 offset8);

/* memory.c */
void *loop_gpadl_find(struct loop_dev *dev, u32 id, u32 *size);
void loop_gpadls_free(struct loop_dev *dev);
int loop_requestor_init(struct vmbus_channel *ch);
void loop_requestor_exit(struct vmbus_channel *ch);

/* vstor.c */
void loop_vstor_packet(struct loop_channel *lc, u8 *pkt, u32 len);
void loop_vstor_send_held(struct loop_channel *lc);
void loop_vstor_end_held(struct loop_channel *lc);
u32 loop_vstor_stall(struct loop_channel *lc);
int loop_unsolicited(struct loop_dev *dev, u32 operation);

/* netvsp.c and rndis.c */
int loop_net_init(struct loop_dev *dev);
void loop_net_exit(struct loop_dev *dev);
void loop_net_closed(struct loop_dev *dev);
void loop_net_packet(struct loop_channel *lc, u8 *pkt, u32 len);
void loop_net_control(struct loop_channel *lc, u32 len);
void loop_net_taken_back(struct loop_channel *lc, u32 gpadl);

/* scsi.c */
void loop_scsi_execute(struct loop_dev *dev, struct loop_srb *srb, const struct loop_range *range);
void loop_sense(struct loop_srb *srb, u8 key, u8 asc, u8 ascq);
int loop_lun_add(struct loop_dev *dev, unsigned int lun, u64 mib, u32 block_size, bool dvd);
void loop_lun_remove(struct loop_dev *dev, unsigned int lun);
void loop_luns_free(struct loop_dev *dev);

/* load.c */
s64 loop_load(const char *path, unsigned int bytes, unsigned int depth, u64 count, unsigned int cpus);

/* netload.c */
struct loop_net_load {
	char name[IFNAMSIZ];
	u32 bytes;		/* of a frame, or of a piece of a coalesced one */
	u32 ranges;		/* that the host puts into one packet */
	u32 batch;		/* frames before the other side gets to work */
	u32 burst;		/* frames that the guest announces as one run, with xmit_more */
	u64 count;		/* frames, or pieces */
	bool sends, clone, redirect, coalesced, dropped, socket;
};

/* Cycles, of which the host took some; signals of the guest, interrupts of the host; packets on the guest's ring. */
struct loop_net_result {
	u64 cycles, host, frames, signals, interrupts, packets;
};

int loop_net_load(struct loop_dev *dev, const struct loop_net_load *load, struct loop_net_result *result);

/* balloon.c; what a page takes is a frame's cost there */
int loop_balloon_init(struct loop_dev *dev);
void loop_balloon_exit(struct loop_dev *dev);
void loop_balloon_closed(struct loop_dev *dev);
void loop_balloon_packet(struct loop_channel *lc, u8 *pkt, u32 len);
int loop_balloon_load(struct loop_dev *dev, u32 pages, struct loop_net_result *result);
int loop_balloon_fragment(struct loop_dev *dev, bool on);

/* ctl.c */
int loop_ctl_init(void);
void loop_ctl_exit(void);

#endif
