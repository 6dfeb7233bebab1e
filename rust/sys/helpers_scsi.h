/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers_scsi.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_SCSI_H
#define RLIS_SYS_HELPERS_SCSI_H

#include <linux/device.h>
#include <linux/scatterlist.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>

struct scatterlist *rlis_helper_scsi_sg_next(struct scatterlist *sg);
void rlis_helper_dma_set_min_align_mask(struct device *dev, unsigned int mask);
void rlis_helper_scsi_test_devices(struct Scsi_Host *host, unsigned int seconds);
size_t rlis_helper_scsi_known_vpd_pg83(struct scsi_device *sdev, u8 *to, size_t len);
void rlis_helper_scsi_set_offline(struct scsi_device *sdev);
bool rlis_helper_scsi_vendor_starts_with(const struct scsi_device *sdev, const u8 *prefix, size_t len);
void rlis_helper_scsi_set_no_report_opcodes(struct scsi_device *sdev);
void rlis_helper_scsi_set_no_write_same(struct scsi_device *sdev, bool no);

#endif
