// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the crate rlis_ptp.
 */

#include <linux/hyperv.h>
#include <linux/ptp_clock_kernel.h>
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

/* Reads the TSC, and from the host's page which reference time that is; false if there is no such page. */
#ifdef RLIS_HAVE_COUNTER_IDS
bool rlis_helper_hv_read_tsc_page(u64 *tsc, u64 *reference)
{
	return hv_read_tsc_page_tsc(hv_get_tsc_page(), tsc, reference);
}
#endif
