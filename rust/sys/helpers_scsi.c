// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions and macros of the SCSI headers, as functions that Rust can call. Separate from helpers.c,
 * so that only modules which need them depend on the SCSI core.
 */

#include <linux/dma-mapping.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>

#include "helpers_scsi.h"

/* A function in older kernels, inline in newer ones. */
struct scatterlist *rlis_helper_scsi_sg_next(struct scatterlist *sg)
{
	return sg_next(sg);
}

void rlis_helper_dma_set_min_align_mask(struct device *dev, unsigned int mask)
{
	dma_set_min_align_mask(dev, mask);
}

/* Sends TEST UNIT READY to all devices of a host, under the scan mutex, which keeps new ones away. */
void rlis_helper_scsi_test_devices(struct Scsi_Host *host, unsigned int seconds)
{
	struct scsi_device *sdev;

	mutex_lock(&host->scan_mutex);
	shost_for_each_device(sdev, host)
		scsi_test_unit_ready(sdev, seconds * HZ, 1, NULL);
	mutex_unlock(&host->scan_mutex);
}

/* Copies up to LEN bytes of VPD page 83h as it is known, and returns how many. */
size_t rlis_helper_scsi_known_vpd_pg83(struct scsi_device *sdev, u8 *to, size_t len)
{
	const struct scsi_vpd *vpd;

	rcu_read_lock();
	vpd = rcu_dereference(sdev->vpd_pg83);
	len = vpd && vpd->len > 0 ? min_t(size_t, len, vpd->len) : 0;
	if (len)
		memcpy(to, vpd->data, len);
	rcu_read_unlock();
	return len;
}

void rlis_helper_scsi_set_offline(struct scsi_device *sdev)
{
	mutex_lock(&sdev->state_mutex);
	scsi_device_set_state(sdev, SDEV_OFFLINE);
	mutex_unlock(&sdev->state_mutex);
}

/* An array in newer kernels; in older ones it points into the INQUIRY data, where other strings follow. */
bool rlis_helper_scsi_vendor_starts_with(const struct scsi_device *sdev, const u8 *prefix, size_t len)
{
	return len <= 8 && !strncmp(sdev->vendor, prefix, len);
}

/* One bit of a word with others, as every writer of these bits does it. */
void rlis_helper_scsi_set_no_report_opcodes(struct scsi_device *sdev)
{
	sdev->no_report_opcodes = 1;
}

void rlis_helper_scsi_set_no_write_same(struct scsi_device *sdev, bool no)
{
	sdev->no_write_same = no;
}
