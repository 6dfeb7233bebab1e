/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What only the bus needs: prototypes of helpers_bus*.c, read by the C compiler and
 * by bindgen, and of the Rust functions that those files call.
 */
#ifndef RLIS_SYS_HELPERS_BUS_H
#define RLIS_SYS_HELPERS_BUS_H

#include <linux/hyperv.h>
#include <linux/rcupdate.h>

#include "../../include/vmbus_private.h"

/* ---- helpers_bus.c: inline functions and macros ---- */

/* The module parameter, in drivers/hv/vmbus/module_info.c. */
extern unsigned int rlis_vmbus_max_version;
unsigned int rlis_helper_vmbus_max_version(void);

/* Per CPU state and CPU masks. Iterators start with -1 and end with a number >= nr_cpu_ids. */
int rlis_helper_hv_context_alloc(void);
void rlis_helper_hv_context_free(void);
struct hv_per_cpu_context *rlis_helper_hv_cpu_context(unsigned int cpu);
struct hv_per_cpu_context *rlis_helper_hv_this_cpu_context(void);
unsigned int rlis_helper_next_present_cpu(int cpu);
unsigned int rlis_helper_next_online_cpu(int cpu);
bool rlis_helper_cpu_online(unsigned int cpu);
bool rlis_helper_cpu_housekeeping(unsigned int cpu);
int rlis_helper_cpu_to_node(unsigned int cpu);
u32 rlis_helper_hv_cpu_number_to_vp_number(unsigned int cpu);
unsigned int rlis_helper_vmbus_smp_processor_id(void);

/* Hypercalls and registers. */
u64 rlis_helper_hvcall_post_message(const void *input, size_t len);
u64 rlis_helper_hvcall_signal_event(u64 param);
bool rlis_helper_vmbus_root_partition(void);
bool rlis_helper_preempt_rt(void);
bool rlis_helper_hv_recommend_using_aeoi(void);
bool rlis_helper_hv_paravisor_present(void);
u64 rlis_helper_hv_shared_gpa_boundary(void);
u8 rlis_helper_hv_vtl(void);
u8 rlis_helper_hv_callback_vector(void);
void rlis_helper_vmbus_interrupt_randomness(void);

/* Synthetic timers that expire with a SynIC message. Nothing in kernels that do not use those. */
void rlis_helper_stimer_messages_on(unsigned int cpu, int sint);
void rlis_helper_stimer_messages_off(unsigned int cpu);
void rlis_helper_stimer_expired(void);
bool rlis_helper_stimer_needs_bus(void);
void rlis_helper_vmbus_stay_loaded(void);

/* Memory. */
void *rlis_helper_get_zeroed_page(void);
void rlis_helper_free_page(void *page);
u64 rlis_helper_virt_to_phys(void *addr);
unsigned long rlis_helper_virt_to_hvpfn(void *addr);
void *rlis_helper_vmbus_page_address(struct page *page);
unsigned long rlis_helper_vmbus_page_to_hvpfn(struct page *page);
unsigned int rlis_helper_vmbus_max_page_order(void);
struct page *rlis_helper_alloc_ring_pages(int node, unsigned int order, bool insist);
void rlis_helper_free_ring_page(struct page *page);
void *rlis_helper_vmap_ring(struct page **pages, unsigned int count, bool confidential);
void rlis_helper_vmbus_vunmap(const void *addr);
int rlis_helper_set_memory_decrypted(void *addr, size_t size);
int rlis_helper_set_memory_encrypted(void *addr, size_t size);
void *rlis_helper_vmbus_kzalloc(size_t size);
void *rlis_helper_vmbus_kvzalloc(size_t size);
void rlis_helper_vmbus_kvfree(const void *addr);
void *rlis_helper_vmbus_vzalloc(unsigned long size);
void rlis_helper_vmbus_vfree(const void *addr);
void rlis_helper_vmbus_keep_vmalloc_pages(void *addr, size_t size);
struct reciprocal_value rlis_helper_vmbus_reciprocal_value(u32 d);

/* Locks, waiting, work. */
unsigned long rlis_helper_spin_lock_irqsave(spinlock_t *lock);
void rlis_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
bool rlis_helper_spin_is_locked(spinlock_t *lock);
void rlis_helper_ring_lock_init(spinlock_t *lock);
void rlis_helper_req_lock_init(spinlock_t *lock);
void rlis_helper_dynids_init(struct hv_driver *drv);
bool rlis_helper_wait_for_completion_ms(struct completion *c, unsigned int ms);
void rlis_helper_tasklet_disable(struct tasklet_struct *t);
void rlis_helper_tasklet_enable(struct tasklet_struct *t);
struct workqueue_struct *rlis_helper_workqueue_ordered(const char *name);
struct workqueue_struct *rlis_helper_workqueue_per_cpu(const char *name);
struct workqueue_struct *rlis_helper_workqueue_unbound(const char *name);
void rlis_helper_queue_control_work(void);
void rlis_helper_flush_control_work(void);
bool rlis_helper_vmbus_ratelimit(void);
bool rlis_helper_vmbus_ratelimit_minute(void);
void rlis_helper_mdelay(unsigned int ms);
void rlis_helper_usleep_range(unsigned int min, unsigned int max);

/* Channels. */
struct vmbus_channel *rlis_helper_channel_alloc(void);
bool rlis_helper_channel_co_ring_buffer(const struct vmbus_channel *channel);
bool rlis_helper_channel_co_external_memory(const struct vmbus_channel *channel);
void rlis_helper_channel_set_map_ring(struct vmbus_channel *channel, rlis_map_ring_t map);
void rlis_helper_channel_look_again(struct vmbus_channel *channel, unsigned int ms);
bool rlis_helper_channel_may_tell_index(struct vmbus_channel *channel);
void rlis_helper_channel_no_more_looks(struct vmbus_channel *channel);
void rlis_helper_channel_lock_additions(struct vmbus_channel *primary);
void rlis_helper_channel_unlock_additions(struct vmbus_channel *primary);
void rlis_helper_channel_lock_files(struct vmbus_channel *primary);
void rlis_helper_channel_unlock_files(struct vmbus_channel *primary);
void rlis_helper_vmbus_retarget_begin(void);
void rlis_helper_vmbus_retarget_end(void);
void rlis_helper_isr_annotated(void (*fn)(void));

/* ---- helpers_bus_sysfs.c: files ---- */

void rlis_helper_channel_kobject_init(struct vmbus_channel *channel);
int rlis_helper_channel_add_sysfs(struct hv_device *dev, struct vmbus_channel *channel);
void rlis_helper_channel_remove_sysfs(struct vmbus_channel *channel);
int rlis_helper_channel_update_sysfs(struct vmbus_channel *channel);

#ifndef __BINDGEN__
extern const struct attribute_group *vmbus_dev_groups[];
extern const struct attribute_group *vmbus_bus_groups[];
extern const struct attribute_group *vmbus_drv_groups[];
#endif

/* ---- helpers_bus_driver.c: tables of callbacks ---- */

int rlis_helper_vmbus_bus_register(void);
void rlis_helper_vmbus_bus_unregister(void);
void rlis_helper_driver_set_bus(struct hv_driver *drv, struct module *owner, const char *mod_name);
const char *rlis_helper_hv_dev_name(const struct device *dev);
int rlis_helper_hv_device_register(struct hv_device *dev, struct device *parent);
int rlis_helper_platform_register(void);
void rlis_helper_platform_unregister(void);
struct device *rlis_helper_platform_device(void);
int rlis_helper_acpi_walk_windows(void *ctx);
unsigned int rlis_helper_vmbus_screen(u64 *start, u64 *size);
void rlis_helper_vmbus_tell_mmio(const struct resource *first, const struct resource *second,
				 const struct resource *framebuffer);
struct resource *rlis_helper_vmbus_request_mem_region_exclusive(u64 start, u64 size, const char *name);
struct resource *rlis_helper_request_region_in(struct resource *parent, u64 start, u64 size,
					       const char *name, bool busy);
void rlis_helper_vmbus_release_mem_region(u64 start, u64 size);
int rlis_helper_cpuhp_setup(void);
void rlis_helper_cpuhp_remove(int state);
void rlis_helper_vmbus_panic_notifier(bool on);
void rlis_helper_vmbus_syscore(bool on);
void rlis_helper_stimer_cleanup_cpu(unsigned int cpu);

/* ---- Rust functions that C calls ---- */

void rlis_bus_on_message(unsigned long cpu_context);
void rlis_bus_on_event(unsigned long channel);
void rlis_bus_isr(void);
void rlis_bus_control_work(struct work_struct *work);
void rlis_bus_add_channel_work(struct work_struct *work);
void rlis_bus_rescind_channel_work(struct work_struct *work);
int rlis_bus_cpu_online(unsigned int cpu);
int rlis_bus_cpu_offline(unsigned int cpu);
int rlis_bus_match(struct hv_device *dev, const struct hv_driver *drv, int override);
int rlis_bus_probe(struct hv_device *dev, struct hv_driver *drv, int override);
void rlis_bus_remove(struct hv_device *dev, struct hv_driver *drv);
void rlis_bus_shutdown(struct hv_device *dev, struct hv_driver *drv);
int rlis_bus_suspend_device(struct hv_device *dev, struct hv_driver *drv);
int rlis_bus_resume_device(struct hv_device *dev, struct hv_driver *drv);
void rlis_bus_release_device(struct hv_device *dev);
ssize_t rlis_bus_new_id(struct hv_driver *drv, const char *buf, size_t count);
ssize_t rlis_bus_remove_id(struct hv_driver *drv, const char *buf, size_t count);
ssize_t rlis_bus_device_show(struct hv_device *dev, enum rlis_device_attr attr, char *buf);
ssize_t rlis_bus_channel_show(struct vmbus_channel *channel, enum rlis_channel_attr attr, char *buf);
ssize_t rlis_bus_channel_set_cpu(struct vmbus_channel *channel, const char *buf, size_t count);
int rlis_bus_mmio_window(void *ctx, u64 start, u64 end);
void rlis_bus_panic(void);
int rlis_bus_suspend(void);
int rlis_bus_resume(void);
void rlis_bus_synic_suspend(void);
void rlis_bus_synic_resume(void);

#endif
