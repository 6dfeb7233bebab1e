/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What only the bus needs: prototypes of helpers_bus.c, read by the C compiler and by bindgen, and of what that file has
 * from Rust.
 */
#ifndef RLIS_SYS_HELPERS_BUS_H
#define RLIS_SYS_HELPERS_BUS_H

#include <linux/acpi.h>
#include <linux/hyperv.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>

/* See helpers.h. */
#ifndef RLIS_SAFE
#define RLIS_SAFE
#endif

#include "../../include/vmbus_private.h"

/* CPUs. */
RLIS_SAFE struct hv_per_cpu_context *rlis_helper_hv_cpu_context(unsigned int cpu);
RLIS_SAFE struct hv_per_cpu_context *rlis_helper_hv_this_cpu_context(void);
RLIS_SAFE bool rlis_helper_cpu_housekeeping(unsigned int cpu);
RLIS_SAFE u32 rlis_helper_hv_cpu_number_to_vp_number(unsigned int cpu);

/* Hypercalls and registers. */
u64 rlis_helper_hvcall_post_message(const void *input, size_t len);
RLIS_SAFE u64 rlis_helper_hvcall_signal_event(u64 param);
RLIS_SAFE bool rlis_helper_hv_recommend_using_aeoi(void);
RLIS_SAFE bool rlis_helper_hv_paravisor_present(void);
RLIS_SAFE bool rlis_helper_hv_is_nested(void);
#ifndef RLIS_HAVE_ISOLATION_TDX
bool rlis_helper_hv_isolation_type_tdx(void);
#endif
#ifndef RLIS_HAVE_MSR
u64 rlis_helper_hv_get_msr(unsigned int reg);
void rlis_helper_hv_set_msr(unsigned int reg, u64 value);
#endif

/* Synthetic timers that expire with a SynIC message. Nothing in kernels that do not use those. */
void rlis_helper_stimer_messages_on(unsigned int cpu, int sint);
void rlis_helper_stimer_messages_off(unsigned int cpu);
void rlis_helper_stimer_expired(void);
RLIS_SAFE bool rlis_helper_stimer_needs_bus(void);
RLIS_SAFE void rlis_helper_vmbus_stay_loaded(void);

/* Memory. */
unsigned long rlis_helper_virt_to_hvpfn(void *addr);
RLIS_SAFE struct page *rlis_helper_alloc_ring_pages(int node, unsigned int order, bool insist);
void *rlis_helper_vmap_ring(struct page **pages, unsigned int count, bool confidential);
void rlis_helper_vmbus_keep_vmalloc_pages(void *addr, size_t size);

/* Channels. */
RLIS_SAFE struct vmbus_channel *rlis_helper_channel_alloc(void);
void rlis_helper_channel_free(struct vmbus_channel *channel);
int rlis_helper_channel_map_ring(struct vmbus_channel *channel, struct file *file,
				 struct vm_area_struct *vma);

/* Calls rlis_bus_isr() in the interrupt handler, where that may be: not under PREEMPT_RT. */
RLIS_SAFE void rlis_helper_isr_run(void);

/* Devices and drivers, ACPI, screens. */
void rlis_helper_dynids_init(struct hv_driver *drv);
#ifndef RLIS_HAVE_MATCH_DRIVER_OVERRIDE
ssize_t rlis_helper_driver_override_show(struct device *dev, struct device_attribute *attr, char *buf);
ssize_t rlis_helper_driver_override_store(struct device *dev, struct device_attribute *attr,
					  const char *buf, size_t count);
#endif
int rlis_helper_match_driver_override(struct device *dev, const struct device_driver *drv);
void rlis_helper_hv_device_free(struct hv_device *dev);
int rlis_helper_vmbus_platform_driver_register(struct platform_driver *drv);
struct acpi_device *rlis_helper_acpi_companion(struct device *dev);
void rlis_helper_acpi_companion_set(struct device *dev, struct acpi_device *companion);
RLIS_SAFE bool rlis_helper_efi_boot(void);
bool rlis_helper_hyperv_video_bar(struct resource *bar);

/* ---- tracepoints.c ---- */

void rlis_helper_trace_vmbus_chan_sched(const struct vmbus_channel *channel);
void rlis_helper_trace_vmbus_setevent(const struct vmbus_channel *channel);
void rlis_helper_trace_vmbus_on_event(const struct vmbus_channel *channel);
void rlis_helper_trace_vmbus_on_msg_dpc(const void *msg);
void rlis_helper_trace_vmbus_on_message(const void *msg);
void rlis_helper_trace_vmbus_onoffer(const void *msg);
void rlis_helper_trace_vmbus_onoffer_rescind(const void *msg);
void rlis_helper_trace_vmbus_onopen_result(const void *msg);
void rlis_helper_trace_vmbus_ongpadl_created(const void *msg);
void rlis_helper_trace_vmbus_onmodifychannel_response(const void *msg);
void rlis_helper_trace_vmbus_ongpadl_torndown(const void *msg);
void rlis_helper_trace_vmbus_onversion_response(const void *msg);
void rlis_helper_trace_vmbus_request_offers(const void *msg, int ret);
void rlis_helper_trace_vmbus_open(const void *msg, int ret);
void rlis_helper_trace_vmbus_close_internal(const void *msg, int ret);
void rlis_helper_trace_vmbus_establish_gpadl_header(const void *msg, int ret);
void rlis_helper_trace_vmbus_establish_gpadl_body(const void *msg, int ret);
void rlis_helper_trace_vmbus_teardown_gpadl(const void *msg, int ret);
void rlis_helper_trace_vmbus_negotiate_version(const void *msg, int ret);
void rlis_helper_trace_vmbus_release_relid(const void *msg, int ret);
void rlis_helper_trace_vmbus_send_tl_connect_request(const void *msg, int ret);
void rlis_helper_trace_vmbus_send_modifychannel(const void *msg, int ret);

/* ---- in Rust ---- */

#ifndef __BINDGEN__
extern const struct kobj_type rlis_channel_ktype;
#endif
void rlis_bus_on_event(unsigned long channel);
void rlis_bus_look_again(struct timer_list *timer);
void rlis_bus_isr(void);
void rlis_bus_add_channel_work(struct work_struct *work);
void rlis_bus_rescind_channel_work(struct work_struct *work);

#endif
