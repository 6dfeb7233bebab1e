// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the crate rlis_ptp.
 */

#include <linux/clocksource_ids.h>
#include <linux/hyperv.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/timekeeping.h>
#include <clocksource/hyperv_timer.h>

#include "helpers.h"

/* NULL where the kernel has no PTP clocks. */
struct ptp_clock *rlis_helper_ptp_register(struct ptp_clock_info *info)
{
	return ptp_clock_register(info, NULL);
}

void rlis_helper_ptp_unregister(struct ptp_clock *clock)
{
	ptp_clock_unregister(clock);
}

void rlis_helper_ptp_read_system_prets(struct ptp_system_timestamp *sts)
{
	ptp_read_system_prets(sts);
}

void rlis_helper_ptp_read_system_postts(struct ptp_system_timestamp *sts)
{
	ptp_read_system_postts(sts);
}

struct rlis_cross {
	int (*at)(void *clock, u64 reference, s64 *ns);
	void *clock;
};

/* The clock and the TSC at one moment: the host's page says which reference time a TSC value is. */
static int rlis_cross_read(ktime_t *device, struct system_counterval_t *counter, void *ctx)
{
	struct rlis_cross *cross = ctx;
	u64 tsc, reference;

	if (!hv_read_tsc_page_tsc(hv_get_tsc_page(), &tsc, &reference))
		return -EOPNOTSUPP;
	counter->cycles = tsc;
	counter->cs_id = CSID_X86_TSC;
	counter->use_nsecs = false;
	return cross->at(cross->clock, reference, device);
}

/* -ENODEV while the system's time comes from another counter than the TSC. */
int rlis_helper_ptp_cross_timestamp(int (*at)(void *clock, u64 reference, s64 *ns), void *clock,
				    struct system_device_crosststamp *xtstamp)
{
	struct rlis_cross cross = { .at = at, .clock = clock };

	return get_device_system_crosststamp(rlis_cross_read, &cross, NULL, xtstamp);
}
