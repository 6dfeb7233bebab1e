// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/hv_loop/ctl: one command a write, errors as errno. /sys/kernel/debug/hv_loop/stat: counters.
 *
 *   lun DEV add LUN MIB [BLOCK_SIZE] | lun DEV del LUN      with a following "notify DEV" as the host does
 *   lun DEV resize LUN MIB | lun DEV attention LUN          unit attention 2A/09 or 3F/01 on its next command
 *   notify DEV OPERATION                                    an unsolicited packet: 11 ENUMERATE_BUS, 2, 12
 *   fault DEV NAME COUNT                                    lose duplicate unknown early short badlen badheader
 *                                                           unsolicited
 *   fault DEV slow COUNT MS | fault DEV stall MS
 *   fault DEV hold COUNT MS                                 READs and WRITEs are carried out late
 *   fault DEV error COUNT OPCODE SRB SCSI KEY ASC ASCQ      OPCODE 256: any
 *   rescind DEV | offer DEV | suspend DEV | resume DEV
 *   cpu DEV CHANNEL CPU                                     moves a channel
 *   ring DEV CHANNEL READ_INDEX                             overwrites the read index that the guest sees; -1 restores
 *   dma DEV BITS                                            narrows the DMA mask, 64 restores
 *   load DEV PATH BYTES DEPTH COUNT CPUS                    reads a disk of DEV; what it took is in .../load: nanoseconds, signals
 *                                                           of the guest, those that the host had no use for, interrupts
 *   send DEV INTERFACE BYTES BATCH BURST COUNT [clone] [redirect]       frames of the guest; what it took is in .../netload
 *   take DEV INTERFACE BYTES BATCH RANGES COUNT [coalesced] [dropped] [socket]  frames of the host, likewise
 *   balloon DEV PAGES                                       takes pages from the guest, or with 0 gives back all; what it took for
 *                                                           a page is in .../netload
 *   fragment DEV ON                                         takes every second page of the blocks of 2 MiB that are free
 */
#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hv_loop.h"

static struct dentry *dir;

static int ctl_lun(struct loop_dev *dev, const char *args)
{
	unsigned int lun, block = 512;
	u64 mib = 0;
	char verb[16];
	int n = sscanf(args, "%15s %u %llu %u", verb, &lun, &mib, &block);

	if (n < 2 || lun >= LOOP_MAX_LUNS)
		return -EINVAL;
	if (!strcmp(verb, "add") && n >= 3 && (block == 512 || block == 4096))
		return loop_lun_add(dev, lun, mib, block, false);
	if (!dev->luns[lun].present)
		return -ENOENT;
	if (!strcmp(verb, "del")) {
		loop_lun_remove(dev, lun);
	} else if (!strcmp(verb, "resize") && n >= 3 && mib) {
		WRITE_ONCE(dev->luns[lun].blocks, (mib << 20) / dev->luns[lun].block_size);
		/* The size before the news of it. */
		smp_store_release(&dev->luns[lun].capacity_changed, true);
	} else if (!strcmp(verb, "attention")) {
		dev->luns[lun].parameters_changed = true;
	} else {
		return -EINVAL;
	}
	return 0;
}

static int ctl_fault(struct loop_dev *dev, const char *args)
{
	struct loop_faults *f = &dev->faults;
	const struct { const char *name; u32 *count; } plain[] = {
		{ "lose", &f->lose }, { "duplicate", &f->duplicate },
		{ "unknown", &f->unknown }, { "early", &f->early }, { "short", &f->short_packet },
		{ "badlen", &f->bad_length }, { "badheader", &f->bad_header },
		{ "unsolicited", &f->unsolicited },
	};
	unsigned int count, v[6] = { };
	unsigned long flags;
	char name[16];
	int n = sscanf(args, "%15s %u %i %i %i %i %i %i", name, &count, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]);
	int err = -EINVAL, i;

	if (n < 2)
		return err;
	spin_lock_irqsave(&dev->fault_lock, flags);
	for (i = 0; i < ARRAY_SIZE(plain); i++) {
		if (!strcmp(name, plain[i].name)) {
			*plain[i].count = count;
			err = 0;
		}
	}
	if (!strcmp(name, "slow") && n == 3) {
		f->slow = count;
		f->slow_ms = v[0];
		err = 0;
	} else if (!strcmp(name, "hold") && n == 3) {
		f->hold = count;
		f->hold_ms = v[0];
		err = 0;
	} else if (!strcmp(name, "stall")) {
		f->stall_ms = count;
		err = 0;
	} else if (!strcmp(name, "error") && n == 8) {
		f->error = count;
		f->error_opcode = v[0];
		f->srb_status = v[1];
		f->scsi_status = v[2];
		f->key = v[3];
		f->asc = v[4];
		f->ascq = v[5];
		err = 0;
	}
	if (!err)
		WRITE_ONCE(dev->faults_armed, true);
	spin_unlock_irqrestore(&dev->fault_lock, flags);
	return err;
}

static int ctl_power(struct loop_dev *dev, bool suspend)
{
	struct device *d = &dev->hv.device;
	int err = -ENODEV;

	/* The driver core does not hold the device's lock in the phase in which the bus does this. */
	if (d->driver) {
		struct hv_driver *drv = drv_to_hv_drv(d->driver);
		int (*call)(struct hv_device *) = suspend ? drv->suspend : drv->resume;

		err = call ? call(&dev->hv) : -EOPNOTSUPP;
	}
	return err;
}

static int ctl_cpu(struct loop_dev *dev, const char *args)
{
	unsigned int index, cpu, old;
	struct vmbus_channel *ch;
	int err = -EINVAL;

	if (sscanf(args, "%u %u", &index, &cpu) != 2 || cpu >= nr_cpu_ids || !cpu_online(cpu))
		return err;
	mutex_lock(&dev->lock);
	if (index < dev->n_channels) {
		ch = &dev->channels[index]->ch;
		old = ch->target_cpu;
		WRITE_ONCE(ch->target_cpu, cpu);
		if (old != cpu && ch->change_target_cpu_callback)
			ch->change_target_cpu_callback(ch, old, cpu);
		err = 0;
	}
	mutex_unlock(&dev->lock);
	return err;
}

static int ctl_ring(struct loop_dev *dev, const char *args)
{
	struct hv_ring_buffer *ring;
	unsigned int index;
	int value, err = -EINVAL;

	if (sscanf(args, "%u %d", &index, &value) != 2)
		return err;
	mutex_lock(&dev->lock);
	if (index < dev->n_channels && dev->channels[index]->open) {
		ring = dev->channels[index]->ch.outbound.ring_buffer;
		WRITE_ONCE(ring->read_index, value >= 0 ? value : dev->channels[index]->host_read);
		err = 0;
	}
	mutex_unlock(&dev->lock);
	return err;
}

/* What a load took: time, signals of the guest, those that the host had no use for, interrupts of the host. */
static struct loop_load_result {
	s64 ns;
	u64 signals, needless, interrupts;
} load_result;

static struct loop_load_result counted(struct loop_dev *dev)
{
	struct loop_load_result sum = { };
	unsigned int i;

	mutex_lock(&dev->lock);
	for (i = 0; i < dev->n_channels; i++) {
		sum.signals += dev->channels[i]->ch.sig_events;
		sum.needless += dev->channels[i]->needless;
		sum.interrupts += dev->channels[i]->ch.interrupts;
	}
	mutex_unlock(&dev->lock);
	return sum;
}

static int ctl_load(struct loop_dev *dev, const char *args)
{
	struct loop_load_result before, after;
	unsigned int bytes, depth, cpus;
	char path[64];
	u64 count;
	s64 ns;

	if (sscanf(args, "%63s %u %u %llu %u", path, &bytes, &depth, &count, &cpus) != 5)
		return -EINVAL;
	before = counted(dev);
	ns = loop_load(path, bytes, depth, count, cpus);
	if (ns < 0)
		return ns;
	after = counted(dev);
	load_result = (struct loop_load_result) {
		.ns = ns,
		.signals = after.signals - before.signals,
		.needless = after.needless - before.needless,
		.interrupts = after.interrupts - before.interrupts,
	};
	return 0;
}

static int load_show(struct seq_file *m, void *unused)
{
	const struct loop_load_result *r = &load_result;

	seq_printf(m, "ns %lld signals %llu needless %llu interrupts %llu\n", r->ns, r->signals, r->needless, r->interrupts);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(load);

static struct loop_net_result net_result;

static int ctl_netload(struct loop_dev *dev, const char *args, bool sends)
{
	struct loop_net_load load = { .sends = sends, .burst = 1, .ranges = 1 };

	if (sscanf(args, "%15s %u %u %u %llu", load.name, &load.bytes, &load.batch, sends ? &load.burst : &load.ranges,
		   &load.count) != 5)
		return -EINVAL;
	load.clone = strstr(args, " clone");
	load.redirect = strstr(args, " redirect");
	load.coalesced = strstr(args, " coalesced");
	load.dropped = strstr(args, " dropped");
	load.socket = strstr(args, " socket");
	return loop_net_load(dev, &load, &net_result);
}

/* With a network card, the time that its driver takes to get it going is of interest, too. */
static int ctl_offer(unsigned int number)
{
	u64 start = get_cycles();
	int err = loop_offer(number);

	net_result = (struct loop_net_result) { .cycles = get_cycles() - start, .frames = 1 };
	if (!err && loop_devs[number]->channels[0])
		net_result.host = loop_devs[number]->channels[0]->host_cycles;
	return err;
}

static int netload_show(struct seq_file *m, void *unused)
{
	const struct loop_net_result *r = &net_result;

	seq_printf(m, "cycles %llu host %llu frames %llu signals %llu interrupts %llu packets %llu\n", r->cycles, r->host,
		   r->frames, r->signals, r->interrupts, r->packets);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(netload);

static int ctl_run(char *line)
{
	unsigned int number, value;
	struct loop_dev *dev;
	char verb[16];
	int skip = 0;

	if (sscanf(line, "%15s %u %n", verb, &number, &skip) < 2 || number >= LOOP_MAX_DEVS)
		return -EINVAL;
	line += skip;
	if (!strcmp(verb, "offer"))
		return ctl_offer(number);
	dev = loop_devs[number];
	if (!dev || !dev->offered)
		return -ENODEV;
	if (!strcmp(verb, "rescind")) {
		loop_rescind(dev);
		return 0;
	}
	if (!strcmp(verb, "load"))
		return ctl_load(dev, line);
	if (!strcmp(verb, "send") || !strcmp(verb, "take"))
		return ctl_netload(dev, line, verb[0] == 's');
	if (!strcmp(verb, "lun"))
		return ctl_lun(dev, line);
	if (!strcmp(verb, "fault"))
		return ctl_fault(dev, line);
	if (!strcmp(verb, "suspend") || !strcmp(verb, "resume"))
		return ctl_power(dev, verb[0] == 's');
	if (!strcmp(verb, "cpu"))
		return ctl_cpu(dev, line);
	if (!strcmp(verb, "ring"))
		return ctl_ring(dev, line);
	if (kstrtouint(strim(line), 10, &value))
		return -EINVAL;
	if (!strcmp(verb, "balloon"))
		return loop_balloon_load(dev, value, &net_result);
	if (!strcmp(verb, "fragment"))
		return loop_balloon_fragment(dev, value);
	if (!strcmp(verb, "notify"))
		return loop_unsolicited(dev, value);
	if (!strcmp(verb, "dma") && value >= 12 && value <= 64) {
		dev->hv.dma_mask = DMA_BIT_MASK(value);
		return 0;
	}
	return -EINVAL;
}

static ssize_t ctl_write(struct file *file, const char __user *user, size_t len, loff_t *pos)
{
	char *line;
	int err;

	if (len > 200)
		return -EINVAL;
	line = memdup_user_nul(user, len);
	if (IS_ERR(line))
		return PTR_ERR(line);
	err = ctl_run(line);
	kfree(line);
	return err ?: len;
}

static const struct file_operations ctl_fops = { .owner = THIS_MODULE, .open = simple_open, .write = ctl_write };

static int stat_show(struct seq_file *m, void *unused)
{
	unsigned int i, k;

	for (i = 0; i < LOOP_MAX_DEVS; i++) {
		struct loop_dev *dev = loop_devs[i];

		if (!dev)
			continue;
		seq_printf(m, "dev %u offered %d init %u version %x resets %llu armed %d\n", i, dev->offered, dev->init_state,
			   dev->version, dev->resets, dev->faults_armed);
		mutex_lock(&dev->lock);
		for (k = 0; k < dev->n_channels; k++) {
			struct loop_channel *lc = dev->channels[k];
			struct loop_held *held;
			unsigned int n = 0;

			spin_lock_irq(&lc->reply_lock);
			list_for_each_entry(held, &lc->held, list)
				n++;
			spin_unlock_irq(&lc->reply_lock);
			seq_printf(m, "chan %u.%u open %d cpu %u requests %llu bytes %llu replies %llu held %u signals %llu needless %llu doorbells %llu interrupts %llu full %llu contended %llu violations %llu\n",
				   i, k, lc->open, lc->ch.target_cpu, lc->requests, lc->bytes, lc->replies, n, lc->ch.sig_events,
				   lc->needless, lc->doorbells, lc->ch.interrupts, lc->ch.out_full_total, lc->lock_contended, lc->violations);
		}
		mutex_unlock(&dev->lock);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stat);

int loop_ctl_init(void)
{
	dir = debugfs_create_dir("hv_loop", NULL);
	debugfs_create_file("ctl", 0200, dir, NULL, &ctl_fops);
	debugfs_create_file("stat", 0400, dir, NULL, &stat_fops);
	debugfs_create_file("load", 0400, dir, NULL, &load_fops);
	debugfs_create_file("netload", 0400, dir, NULL, &netload_fops);
	return PTR_ERR_OR_ZERO(dir);
}

void loop_ctl_exit(void)
{
	debugfs_remove(dir);
}
