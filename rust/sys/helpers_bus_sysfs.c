// SPDX-License-Identifier: GPL-2.0
/*
 * The files of the bus in sysfs: those of a device, of the bus and its drivers, of a channel. What they say and do is
 * in Rust (rust/hv/bus/sysfs.rs); the tables are declared with macros of C headers.
 */

#include <linux/device.h>
#include <linux/fs.h>
#include <linux/hyperv.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <asm/mshyperv.h>

#include "helpers_bus.h"

/* ---- files of a device: /sys/bus/vmbus/devices/<instance>/ ---- */

#define DEVICE_FILE(_name)								\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *buf)	\
{											\
	return rlis_bus_device_show(device_to_hv_device(dev), RLIS_DEVICE_##_name, buf);	\
}											\
static DEVICE_ATTR_RO(_name)

DEVICE_FILE(id);
DEVICE_FILE(state);
DEVICE_FILE(monitor_id);
DEVICE_FILE(class_id);
DEVICE_FILE(device_id);
DEVICE_FILE(modalias);
#ifdef CONFIG_NUMA
DEVICE_FILE(numa_node);
#endif
DEVICE_FILE(server_monitor_pending);
DEVICE_FILE(client_monitor_pending);
DEVICE_FILE(server_monitor_latency);
DEVICE_FILE(client_monitor_latency);
DEVICE_FILE(server_monitor_conn_id);
DEVICE_FILE(client_monitor_conn_id);
DEVICE_FILE(out_intr_mask);
DEVICE_FILE(out_read_index);
DEVICE_FILE(out_write_index);
DEVICE_FILE(out_read_bytes_avail);
DEVICE_FILE(out_write_bytes_avail);
DEVICE_FILE(in_intr_mask);
DEVICE_FILE(in_read_index);
DEVICE_FILE(in_write_index);
DEVICE_FILE(in_read_bytes_avail);
DEVICE_FILE(in_write_bytes_avail);
DEVICE_FILE(channel_vp_mapping);
DEVICE_FILE(vendor);
DEVICE_FILE(device);

#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
/* Which driver alone may bind to the device. Newer kernels keep this in the driver core. */
static ssize_t driver_override_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	ssize_t len;

	device_lock(dev);
	len = sysfs_emit(buf, "%s\n", device_to_hv_device(dev)->driver_override);
	device_unlock(dev);
	return len;
}

static ssize_t driver_override_store(struct device *dev, struct device_attribute *attr,
				     const char *buf, size_t count)
{
	int ret = driver_set_override(dev, &device_to_hv_device(dev)->driver_override, buf, count);

	return ret ?: count;
}
static DEVICE_ATTR_RW(driver_override);
#endif

static struct attribute *vmbus_dev_attrs[] = {
#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
	&dev_attr_driver_override.attr,
#endif
	&dev_attr_id.attr,
	&dev_attr_state.attr,
	&dev_attr_monitor_id.attr,
	&dev_attr_class_id.attr,
	&dev_attr_device_id.attr,
	&dev_attr_modalias.attr,
#ifdef CONFIG_NUMA
	&dev_attr_numa_node.attr,
#endif
	&dev_attr_server_monitor_pending.attr,
	&dev_attr_client_monitor_pending.attr,
	&dev_attr_server_monitor_latency.attr,
	&dev_attr_client_monitor_latency.attr,
	&dev_attr_server_monitor_conn_id.attr,
	&dev_attr_client_monitor_conn_id.attr,
	&dev_attr_out_intr_mask.attr,
	&dev_attr_out_read_index.attr,
	&dev_attr_out_write_index.attr,
	&dev_attr_out_read_bytes_avail.attr,
	&dev_attr_out_write_bytes_avail.attr,
	&dev_attr_in_intr_mask.attr,
	&dev_attr_in_read_index.attr,
	&dev_attr_in_write_index.attr,
	&dev_attr_in_read_bytes_avail.attr,
	&dev_attr_in_write_bytes_avail.attr,
	&dev_attr_channel_vp_mapping.attr,
	&dev_attr_vendor.attr,
	&dev_attr_device.attr,
	NULL,
};

/* The files about the monitor pages exist only for channels that use them. */
static umode_t vmbus_dev_attr_is_visible(struct kobject *kobj, struct attribute *attr, int idx)
{
	struct hv_device *dev = device_to_hv_device(kobj_to_dev(kobj));

	if (!dev->channel->offermsg.monitor_allocated &&
	    (attr == &dev_attr_monitor_id.attr ||
	     attr == &dev_attr_server_monitor_pending.attr ||
	     attr == &dev_attr_client_monitor_pending.attr ||
	     attr == &dev_attr_server_monitor_latency.attr ||
	     attr == &dev_attr_client_monitor_latency.attr ||
	     attr == &dev_attr_server_monitor_conn_id.attr ||
	     attr == &dev_attr_client_monitor_conn_id.attr))
		return 0;
	return attr->mode;
}

static const struct attribute_group vmbus_dev_group = {
	.attrs = vmbus_dev_attrs,
	.is_visible = vmbus_dev_attr_is_visible,
};

const struct attribute_group *vmbus_dev_groups[] = {
	&vmbus_dev_group,
	NULL,
};

/* ---- files of the bus and of its drivers ---- */

static ssize_t hibernation_show(const struct bus_type *bus, char *buf)
{
	return sysfs_emit(buf, "%d\n", hv_is_hibernation_supported());
}
static BUS_ATTR_RO(hibernation);

static struct attribute *vmbus_bus_attrs[] = {
	&bus_attr_hibernation.attr,
	NULL,
};
static const struct attribute_group vmbus_bus_group = {
	.attrs = vmbus_bus_attrs,
};

const struct attribute_group *vmbus_bus_groups[] = {
	&vmbus_bus_group,
	NULL,
};

static ssize_t new_id_store(struct device_driver *drv, const char *buf, size_t count)
{
	return rlis_bus_new_id(drv_to_hv_drv(drv), buf, count);
}
static DRIVER_ATTR_WO(new_id);

static ssize_t remove_id_store(struct device_driver *drv, const char *buf, size_t count)
{
	return rlis_bus_remove_id(drv_to_hv_drv(drv), buf, count);
}
static DRIVER_ATTR_WO(remove_id);

static struct attribute *vmbus_drv_attrs[] = {
	&driver_attr_new_id.attr,
	&driver_attr_remove_id.attr,
	NULL,
};
static const struct attribute_group vmbus_drv_group = {
	.attrs = vmbus_drv_attrs,
};

const struct attribute_group *vmbus_drv_groups[] = {
	&vmbus_drv_group,
	NULL,
};

/* ---- files of a channel: .../channels/<relid>/ ---- */

struct channel_file {
	struct attribute attr;
	enum rlis_channel_attr which;
};

#define CHANNEL_FILE(_name, _mode)							\
static struct channel_file channel_file_##_name = {					\
	.attr = { .name = __stringify(_name), .mode = _mode },				\
	.which = RLIS_CHANNEL_##_name,							\
}

CHANNEL_FILE(out_mask, 0444);
CHANNEL_FILE(in_mask, 0444);
CHANNEL_FILE(read_avail, 0444);
CHANNEL_FILE(write_avail, 0444);
CHANNEL_FILE(cpu, 0644);
CHANNEL_FILE(pending, 0444);
CHANNEL_FILE(latency, 0444);
CHANNEL_FILE(interrupts, 0444);
CHANNEL_FILE(events, 0444);
CHANNEL_FILE(intr_in_full, 0444);
CHANNEL_FILE(intr_out_empty, 0444);
CHANNEL_FILE(out_full_first, 0444);
CHANNEL_FILE(out_full_total, 0444);
CHANNEL_FILE(monitor_id, 0444);
CHANNEL_FILE(subchannel_id, 0444);

static struct vmbus_channel *kobj_to_channel(struct kobject *kobj)
{
	return container_of(kobj, struct vmbus_channel, kobj);
}

static ssize_t channel_show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	struct channel_file *file = container_of(attr, struct channel_file, attr);

	return rlis_bus_channel_show(kobj_to_channel(kobj), file->which, buf);
}

static ssize_t channel_store(struct kobject *kobj, struct attribute *attr, const char *buf, size_t count)
{
	if (attr != &channel_file_cpu.attr)
		return -EIO;
	return rlis_bus_channel_set_cpu(kobj_to_channel(kobj), buf, count);
}

static const struct sysfs_ops channel_sysfs_ops = {
	.show = channel_show,
	.store = channel_store,
};

#ifdef RLIS_HAVE_CONST_BIN_ATTRIBUTES
#define const_bin const
#else
#define const_bin
#endif

static int channel_ring_mmap(struct file *file, struct kobject *kobj,
			     const_bin struct bin_attribute *attr, struct vm_area_struct *vma)
{
	struct vmbus_channel *channel = kobj_to_channel(kobj);

	/* These functions map as much memory as there is behind the first page. */
	if (!container_of(channel, struct rlis_channel, channel)->ring_in_one_piece)
		return -EOPNOTSUPP;
	/* The file is visible only while there is such a function. */
#ifdef RLIS_HAVE_MMAP_PREPARE_RING_BUFFER
	struct vm_area_desc desc;
	int ret;

	compat_set_desc_from_vma(&desc, file, vma);
	ret = channel->mmap_prepare_ring_buffer(channel, &desc);
	return ret ?: __compat_vma_mmap(&desc, vma);
#else
	return channel->mmap_ring_buffer(channel, vma);
#endif
}

static const_bin struct bin_attribute channel_file_ring = {
	.attr = { .name = "ring", .mode = 0600 },
	.mmap = channel_ring_mmap,
};

static struct attribute *channel_attrs[] = {
	&channel_file_out_mask.attr,
	&channel_file_in_mask.attr,
	&channel_file_read_avail.attr,
	&channel_file_write_avail.attr,
	&channel_file_cpu.attr,
	&channel_file_pending.attr,
	&channel_file_latency.attr,
	&channel_file_interrupts.attr,
	&channel_file_events.attr,
	&channel_file_intr_in_full.attr,
	&channel_file_intr_out_empty.attr,
	&channel_file_out_full_first.attr,
	&channel_file_out_full_total.attr,
	&channel_file_monitor_id.attr,
	&channel_file_subchannel_id.attr,
	NULL,
};

static const_bin struct bin_attribute *const_bin channel_bin_attrs[] = {
	&channel_file_ring,
	NULL,
};

static umode_t channel_is_visible(struct kobject *kobj, struct attribute *attr, int idx)
{
	if (!kobj_to_channel(kobj)->offermsg.monitor_allocated &&
	    (attr == &channel_file_pending.attr ||
	     attr == &channel_file_latency.attr ||
	     attr == &channel_file_monitor_id.attr))
		return 0;
	return attr->mode;
}

static umode_t channel_is_bin_visible(struct kobject *kobj, const_bin struct bin_attribute *attr, int idx)
{
#ifndef RLIS_HAVE_BIN_SIZE
	/* The one place where older kernels let the size be told. All channels share the attribute. */
	attr->size = (size_t)kobj_to_channel(kobj)->ringbuffer_pagecount << PAGE_SHIFT;
#endif
	return kobj_to_channel(kobj)->ring_sysfs_visible ? attr->attr.mode : 0;
}

#ifdef RLIS_HAVE_BIN_SIZE
static size_t channel_bin_size(struct kobject *kobj, const struct bin_attribute *attr, int idx)
{
	return (size_t)kobj_to_channel(kobj)->ringbuffer_pagecount << PAGE_SHIFT;
}
#endif

static const struct attribute_group channel_group = {
	.attrs = channel_attrs,
	.bin_attrs = channel_bin_attrs,
	.is_visible = channel_is_visible,
	.is_bin_visible = channel_is_bin_visible,
#ifdef RLIS_HAVE_BIN_SIZE
	.bin_size = channel_bin_size,
#endif
};

/* Interrupts look channels up under RCU, so the memory has to outlive a grace period. */
static void channel_release(struct kobject *kobj)
{
	struct vmbus_channel *channel = kobj_to_channel(kobj);

	kfree_rcu(channel, rcu);
}

static const struct kobj_type channel_ktype = {
	.sysfs_ops = &channel_sysfs_ops,
	.release = channel_release,
};

void rlis_helper_channel_kobject_init(struct vmbus_channel *channel)
{
	kobject_init(&channel->kobj, &channel_ktype);
}

int rlis_helper_channel_add_sysfs(struct hv_device *dev, struct vmbus_channel *channel)
{
	struct kobject *kobj = &channel->kobj;
	int ret;

	kobj->kset = dev->channels_kset;
	ret = kobject_add(kobj, NULL, "%u", channel->offermsg.child_relid);
	if (ret)
		return ret;
	ret = sysfs_create_group(kobj, &channel_group);
	if (ret) {
		kobject_del(kobj);
		return ret;
	}
	kobject_uevent(kobj, KOBJ_ADD);
	return 0;
}

void rlis_helper_channel_remove_sysfs(struct vmbus_channel *channel)
{
	sysfs_remove_group(&channel->kobj, &channel_group);
	kobject_del(&channel->kobj);
}

int rlis_helper_channel_update_sysfs(struct vmbus_channel *channel)
{
	return sysfs_update_group(&channel->kobj, &channel_group);
}
