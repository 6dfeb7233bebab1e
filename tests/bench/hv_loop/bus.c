// SPDX-License-Identifier: GPL-2.0
/*
 * The bus: devices, driver registration, offers and rescinds, and the module itself.
 */
#include <linux/cpumask.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "hv_loop.h"

static unsigned int scsi = 1, ide, fc, net, balloon, luns = 1, lun_mib = 64, block_size = 512, dvd;
module_param(scsi, uint, 0444);
MODULE_PARM_DESC(scsi, "SCSI controllers to offer at load");
module_param(ide, uint, 0444);
MODULE_PARM_DESC(ide, "IDE controllers to offer at load");
module_param(fc, uint, 0444);
MODULE_PARM_DESC(fc, "Fibre Channel adapters to offer at load");
module_param(net, uint, 0444);
MODULE_PARM_DESC(net, "Network cards to offer at load");
module_param(balloon, uint, 0444);
MODULE_PARM_DESC(balloon, "1: offers the dynamic memory device at load");
module_param(luns, uint, 0444);
MODULE_PARM_DESC(luns, "Disks on each controller");
module_param(lun_mib, uint, 0444);
MODULE_PARM_DESC(lun_mib, "Size of each disk in MiB; memory is taken as it is written");
module_param(block_size, uint, 0444);
MODULE_PARM_DESC(block_size, "Logical block size of the disks: 512 or 4096");
module_param(dvd, uint, 0444);
MODULE_PARM_DESC(dvd, "1: the last LUN of each SCSI controller is a DVD drive");

unsigned int loop_max_subchannels;
module_param_named(subchannels, loop_max_subchannels, uint, 0644);
MODULE_PARM_DESC(subchannels, "Sub-channels that the host grants at most");
unsigned int loop_max_transfer = 8 << 20;
module_param_named(max_transfer, loop_max_transfer, uint, 0644);
MODULE_PARM_DESC(max_transfer, "max_transfer_bytes that the host reports");
unsigned int loop_versions_from = 0x0602;
module_param_named(version, loop_versions_from, uint, 0644);
MODULE_PARM_DESC(version, "The newest VSTOR version that the host accepts, major in the upper byte");
unsigned int loop_net_version = 0x60001;
module_param_named(net_version, loop_net_version, uint, 0644);
MODULE_PARM_DESC(net_version, "The newest NVSP version that the host accepts");
unsigned int loop_net_lso = 62780;
module_param_named(lso, loop_net_lso, uint, 0644);
MODULE_PARM_DESC(lso, "Bytes of the largest send that a network card takes");
static bool softirq;
module_param(softirq, bool, 0444);
MODULE_PARM_DESC(softirq, "The host works in softirq on the channel's CPU, not in a thread on any");

u32 vmbus_proto_version = VERSION_WIN10_V5_3;
EXPORT_SYMBOL_GPL(vmbus_proto_version);

struct loop_dev *loop_devs[LOOP_MAX_DEVS];
struct workqueue_struct *loop_host_wq;
static struct device *root;
static DEFINE_MUTEX(devs_lock);

static const guid_t class_guid[] = {
	[LOOP_SCSI] = GUID_INIT(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f),
	[LOOP_IDE] = GUID_INIT(0x32412632, 0x86cb, 0x44a2, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5),
	[LOOP_FC] = GUID_INIT(0x2f9bcc4a, 0x0069, 0x4af3, 0xb7, 0x6b, 0x6f, 0xd0, 0xbe, 0x52, 0x8c, 0xda),
	[LOOP_NET] = GUID_INIT(0xf8615163, 0xdf3e, 0x46c5, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e),
	[LOOP_BALLOON] = GUID_INIT(0x525074dc, 0x8985, 0x46e2, 0x80, 0x57, 0xa3, 0x07, 0xdc, 0x18, 0xa5, 0x02),
};

/* What drivers go by beside the GUID. */
static const u16 class_id[] = {
	[LOOP_SCSI] = HV_SCSI, [LOOP_IDE] = HV_IDE, [LOOP_FC] = HV_FC, [LOOP_NET] = HV_NIC, [LOOP_BALLOON] = HV_DM,
};

/* ---- drivers ---- */

static const struct hv_vmbus_device_id *find_id(const struct hv_driver *drv, const struct hv_device *dev)
{
	const struct hv_vmbus_device_id *id;

	for (id = drv->id_table; id && !guid_is_null(&id->guid); id++)
		if (guid_equal(&id->guid, &dev->dev_type))
			return id;
	return NULL;
}

static int bus_match(struct device *dev, const struct device_driver *drv)
{
	return find_id(drv_to_hv_drv(drv), device_to_hv_device(dev)) != NULL;
}

static int bus_probe(struct device *dev)
{
	struct hv_driver *drv = drv_to_hv_drv(dev->driver);
	struct hv_device *hv = device_to_hv_device(dev);

	return drv->probe(hv, find_id(drv, hv));
}

static void bus_remove(struct device *dev)
{
	struct hv_driver *drv = drv_to_hv_drv(dev->driver);

	if (drv->remove)
		drv->remove(device_to_hv_device(dev));
}

static int bus_uevent(const struct device *dev, struct kobj_uevent_env *env)
{
	const struct hv_device *hv = device_to_hv_device(dev);

	return add_uevent_var(env, "MODALIAS=vmbus:%*phN", UUID_SIZE, &hv->dev_type);
}

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct hv_device *hv = device_to_hv_device(dev);

	return sysfs_emit(buf, "%d\n", hv->channel->state);
}
static DEVICE_ATTR_RO(state);

static ssize_t class_id_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "{%pUl}\n", &device_to_hv_device(dev)->dev_type);
}
static DEVICE_ATTR_RO(class_id);

static struct attribute *dev_attrs[] = { &dev_attr_state.attr, &dev_attr_class_id.attr, NULL };
ATTRIBUTE_GROUPS(dev);

static const struct bus_type loop_bus = {
	.name = "vmbus",
	.match = bus_match,
	.probe = bus_probe,
	.remove = bus_remove,
	.uevent = bus_uevent,
	.dev_groups = dev_groups,
};

int __vmbus_driver_register(struct hv_driver *drv, struct module *owner, const char *mod_name)
{
	drv->driver.name = drv->name;
	drv->driver.owner = owner;
	drv->driver.mod_name = mod_name;
	drv->driver.bus = &loop_bus;
	spin_lock_init(&drv->dynids.lock);
	INIT_LIST_HEAD(&drv->dynids.list);
	return driver_register(&drv->driver);
}
EXPORT_SYMBOL_GPL(__vmbus_driver_register);

void vmbus_driver_unregister(struct hv_driver *drv)
{
	driver_unregister(&drv->driver);
}
EXPORT_SYMBOL_GPL(vmbus_driver_unregister);

void vmbus_set_sc_create_callback(struct vmbus_channel *primary, void (*callback)(struct vmbus_channel *new_sc))
{
	primary->sc_creation_callback = callback;
}
EXPORT_SYMBOL_GPL(vmbus_set_sc_create_callback);

void vmbus_set_chn_rescind_callback(struct vmbus_channel *ch, void (*callback)(struct vmbus_channel *))
{
	ch->chn_rescind_callback = callback;
}
EXPORT_SYMBOL_GPL(vmbus_set_chn_rescind_callback);

/* What the bus does about a rescind, or a driver that asked to be told of rescinds in its stead. */
void vmbus_device_unregister(struct hv_device *dev)
{
	device_unregister(&dev->device);
}
EXPORT_SYMBOL_GPL(vmbus_device_unregister);

/* ---- offers ---- */

static void fill_offer(struct vmbus_channel *ch, const struct loop_dev *dev, unsigned int index)
{
	struct vmbus_channel_offer_channel *msg = &ch->offermsg;

	msg->header.msgtype = CHANNELMSG_OFFERCHANNEL;
	msg->offer.if_type = dev->hv.dev_type;
	msg->offer.if_instance = dev->hv.dev_instance;
	msg->offer.sub_channel_index = index;
	msg->child_relid = 1 + dev->number * LOOP_MAX_CHANNELS + index;
	msg->is_dedicated_interrupt = 1;
	msg->connection_id = 0x10000 + msg->child_relid;
}

/* CPUs in turn, as the bus spreads the channels of performance-critical devices. */
static unsigned int pick_cpu(unsigned int index)
{
	unsigned int cpu, n = index % num_online_cpus();

	for_each_online_cpu(cpu)
		if (!n--)
			return cpu;
	return 0;
}

static void channel_release(struct kobject *kobj)
{
	struct loop_channel *lc = container_of(kobj, struct loop_channel, ch.kobj);

	kvfree(lc->pkt);
	kfree(lc);
}

/* Drivers keep a channel by its kobject, which is in no folder here. */
static const struct kobj_type channel_type = { .release = channel_release };

static struct loop_channel *channel_new(struct loop_dev *dev, unsigned int index)
{
	struct loop_channel *lc = kzalloc(sizeof(*lc), GFP_KERNEL);

	if (!lc)
		return NULL;
	lc->pkt = kvmalloc(LOOP_PKT_MAX, GFP_KERNEL);
	if (!lc->pkt) {
		kfree(lc);
		return NULL;
	}
	kobject_init(&lc->ch.kobj, &channel_type);
	lc->dev = dev;
	lc->index = index;
	loop_channel_setup(lc);
	loop_host_setup(lc);
	fill_offer(&lc->ch, dev, index);
	lc->ch.target_cpu = pick_cpu(index);
	lc->ch.device_id = dev->hv.device_id;
	return lc;
}

void loop_channel_free(struct loop_channel *lc)
{
	loop_irq_sync(&lc->doorbell);
	/* A doorbell's interrupt may still look at it. */
	synchronize_rcu();
	kobject_put(&lc->ch.kobj);
}

static void offer_sub_channels(struct work_struct *work)
{
	struct loop_dev *dev = container_of(work, struct loop_dev, offer_work);
	struct vmbus_channel *primary = dev->hv.channel;
	struct loop_channel *lc;

	while (dev->sub_channels_wanted) {
		dev->sub_channels_wanted--;
		if (dev->n_channels >= LOOP_MAX_CHANNELS || !primary->sc_creation_callback)
			return;
		lc = channel_new(dev, dev->n_channels);
		if (!lc)
			return;
		lc->ch.primary_channel = primary;
		mutex_lock(&dev->lock);
		list_add_tail(&lc->ch.sc_list, &primary->sc_list);
		dev->channels[dev->n_channels++] = lc;
		mutex_unlock(&dev->lock);
		primary->sc_creation_callback(&lc->ch);
	}
}

static void dev_release(struct device *d)
{
	struct loop_dev *dev = container_of(device_to_hv_device(d), struct loop_dev, hv);

	loop_luns_free(dev);
	loop_net_exit(dev);
	loop_balloon_exit(dev);
	loop_gpadls_free(dev);
	kfree(dev);
}

static struct loop_dev *dev_new(enum loop_class class, unsigned int number)
{
	struct loop_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	unsigned int i, n = 0;
	int err = 0;

	if (!dev)
		return NULL;
	dev->class = class;
	dev->number = number;
	mutex_init(&dev->lock);
	spin_lock_init(&dev->fault_lock);
	spin_lock_init(&dev->gpadl_lock);
	INIT_LIST_HEAD(&dev->gpadls);
	INIT_WORK(&dev->offer_work, offer_sub_channels);
	for (i = 0; i < LOOP_MAX_LUNS; i++)
		xa_init(&dev->luns[i].pages);
	if (class == LOOP_NET)
		err = loop_net_init(dev);
	else if (class == LOOP_BALLOON)
		err = loop_balloon_init(dev);
	else
		n = min_t(unsigned int, luns, LOOP_MAX_LUNS);
	for (i = 0; i < n && !err; i++)
		err = loop_lun_add(dev, i, lun_mib, block_size, dvd && class == LOOP_SCSI && i + 1 == luns);
	dev->hv.vendor_id = 0x1414;
	dev->hv.device_id = class_id[class];
	dev->hv.dev_type = class_guid[class];
	/* IDE: bytes 4 and 5 of the instance name the target. */
	guid_parse("f8b3781a-0000-4c31-9b72-000000000000", &dev->hv.dev_instance);
	dev->hv.dev_instance.b[15] = number;
	device_initialize(&dev->hv.device);
	dev->hv.device.release = dev_release;
	if (err) {
		put_device(&dev->hv.device);
		return NULL;
	}
	return dev;
}

static unsigned int offers(void)
{
	return scsi + ide + fc + net + balloon;
}

/* Devices are numbered in this order. */
static enum loop_class class_of(unsigned int number)
{
	if (number < scsi)
		return LOOP_SCSI;
	if (number < scsi + ide)
		return LOOP_IDE;
	if (number < scsi + ide + fc)
		return LOOP_FC;
	return number < scsi + ide + fc + net ? LOOP_NET : LOOP_BALLOON;
}

/* Offers a device, or offers it again after a rescind: its disks keep their content. */
int loop_offer(unsigned int number)
{
	struct loop_dev *dev, *old;
	struct loop_channel *lc;
	enum loop_class class;
	int err;

	if (number >= LOOP_MAX_DEVS || number >= offers())
		return -EINVAL;
	class = class_of(number);
	mutex_lock(&devs_lock);
	old = loop_devs[number];
	if (old && old->offered) {
		err = -EBUSY;
		goto unlock;
	}
	dev = dev_new(class, number);
	err = -ENOMEM;
	if (!dev)
		goto unlock;
	if (old) {
		unsigned int i;

		for (i = 0; i < LOOP_MAX_LUNS; i++)
			swap(dev->luns[i], old->luns[i]);
		loop_devs[number] = NULL;
		put_device(&old->hv.device);
	}
	lc = channel_new(dev, 0);
	if (!lc) {
		put_device(&dev->hv.device);
		goto unlock;
	}
	lc->ch.device_obj = &dev->hv;
	dev->hv.channel = &lc->ch;
	dev->channels[0] = lc;
	dev->n_channels = 1;
	dev->hv.device.bus = &loop_bus;
	dev->hv.device.parent = root;
	dev->hv.device.dma_parms = &dev->hv.dma_parms;
	dev->hv.device.dma_mask = &dev->hv.dma_mask;
	dma_set_mask(&dev->hv.device, DMA_BIT_MASK(64));
	dma_set_coherent_mask(&dev->hv.device, DMA_BIT_MASK(64));
	dev_set_name(&dev->hv.device, "%pUl", &dev->hv.dev_instance);
	dev->offered = true;
	loop_devs[number] = dev;
	/* One for the table, besides the one that device_unregister drops. */
	get_device(&dev->hv.device);
	err = device_add(&dev->hv.device);
	if (err) {
		dev->offered = false;
		put_device(&dev->hv.device);
	}
unlock:
	mutex_unlock(&devs_lock);
	return err;
}

/* Withdraws a device under the driver: nothing more is answered, then the driver is removed. */
void loop_rescind(struct loop_dev *dev)
{
	struct vmbus_channel *primary;
	unsigned int i;

	mutex_lock(&devs_lock);
	if (!dev->offered)
		goto unlock;
	dev->offered = false;
	mutex_lock(&dev->lock);
	for (i = dev->n_channels; i-- > 0;) {
		vmbus_reset_channel_cb(&dev->channels[i]->ch);
		WRITE_ONCE(dev->channels[i]->ch.rescind, true);
		complete(&dev->channels[i]->ch.rescind_event);
	}
	primary = &dev->channels[0]->ch;
	mutex_unlock(&dev->lock);
	if (primary->chn_rescind_callback)
		primary->chn_rescind_callback(primary);
	else
		vmbus_device_unregister(&dev->hv);
	loop_close_now(dev->channels[0]);
	loop_channel_free(dev->channels[0]);
	dev->channels[0] = NULL;
	dev->n_channels = 0;
unlock:
	mutex_unlock(&devs_lock);
}

static void loop_exit(void)
{
	unsigned int i;

	loop_ctl_exit();
	for (i = 0; i < LOOP_MAX_DEVS; i++) {
		if (!loop_devs[i])
			continue;
		loop_rescind(loop_devs[i]);
		put_device(&loop_devs[i]->hv.device);
	}
	bus_unregister(&loop_bus);
	root_device_unregister(root);
	destroy_workqueue(loop_host_wq);
}

static int __init loop_init(void)
{
	unsigned int i;
	int err;

	if (block_size != 512 && block_size != 4096)
		return -EINVAL;
	loop_host_wq = alloc_workqueue("hv_loop", WQ_HIGHPRI | (softirq ? WQ_BH | WQ_PERCPU : WQ_UNBOUND), 0);
	if (!loop_host_wq)
		return -ENOMEM;
	err = bus_register(&loop_bus);
	if (err)
		goto free_wq;
	root = root_device_register("hv_loop");
	if (IS_ERR(root)) {
		err = PTR_ERR(root);
		goto unregister_bus;
	}
	err = loop_ctl_init();
	if (err)
		goto unregister_root;
	for (i = 0; i < offers(); i++) {
		err = loop_offer(i);
		if (err) {
			pr_err("device %u could not be offered: %d\n", i, err);
			loop_exit();
			return err;
		}
	}
	return 0;

unregister_root:
	root_device_unregister(root);
unregister_bus:
	bus_unregister(&loop_bus);
free_wq:
	destroy_workqueue(loop_host_wq);
	return err;
}

module_init(loop_init);
module_exit(loop_exit);
MODULE_DESCRIPTION("Test only: hv_vmbus's API with hosts of storage, network and memory behind it");
MODULE_LICENSE("GPL");
