# SPDX-License-Identifier: GPL-2.0
#: what     Where the guest takes its time from the TSC, the PTP clock tells its own and the system's time at one moment
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: programs perl
#: args     --invariant-tsc --ic timesync
#: cpus     1
#: seconds  90

check bus_loads load hv_vmbus
check utils_load load hv_utils
check negotiated wait_for 10 logged 'TimeSync IC version 4\.0'
source() { equal tsc "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"; }
check time_from_the_tsc wait_for 20 source
year() { date +%Y; }
set_by_host() { [ "$(year)" -ge 2024 ]; }
check time_is_set wait_for 20 set_by_host
ptp=/dev/$(basename "$(dirname "$(grep -l '^hyperv$' /sys/class/ptp/*/clock_name | head -n 1)")")
check ptp_device test -c "$ptp"
# within MOST A B: not more than MOST seconds apart.
within() { awk -v m="$1" -v a="$2" -v b="$3" 'BEGIN { d = a - b; if (d < -m || d > m) { print a " and " b; exit 1 } }'; }
check ptp_shows_host_time within 3 "$(ptp_time "$ptp")" "$(host clock)"
if ! c_drivers && has_cross_timestamps; then
	# The host has set the guest's clock by what the PTP clock shows, as exactly as a message travels.
	check cross_timestamp within 1 0 "$(ptp_cross "$ptp")"
	# Both ways to ask say the same, also when the clock goes wrong by an hour. The time that the other way takes is its
	# error.
	date -s "@$(($(date +%s) - 3600))" >/dev/null
	check cross_timestamp_follows_the_clock within 1.5 3600 "$(ptp_cross "$ptp")"
	check agrees_with_offset within 0.05 "$(ptp_cross "$ptp")" "$(ptp_offset "$ptp")"
	# While the host says nothing new, the clocks do not drift apart: both count the same TSC.
	check samples_off host time-samples off
	first=$(ptp_cross "$ptp")
	sleep 3
	check holds_still within 0.001 "$first" "$(ptp_cross "$ptp")"
	# The kernel can tell both at one moment only while it takes its time from the same counter, which is a matter of the
	# moment: it says ENODEV, the other way goes on, and it is as before when it does again.
	use() { echo "$1" >/sys/devices/system/clocksource/clocksource0/current_clocksource; }
	check other_source use hyperv_clocksource_tsc_page
	check cross_timestamp_ends equal 19 "$(ptp_cross "$ptp")"
	check still_shows_host_time within 3 "$(ptp_time "$ptp")" "$(host clock)"
	# An error would be a number without a point.
	check offset_goes_on sh -c 'case $1 in *.*) ;; *) echo "$1"; exit 1 ;; esac' sh "$(ptp_offset "$ptp")"
	check tsc_again use tsc
	check cross_timestamp_again within 1.5 3600 "$(ptp_cross "$ptp")"
else
	check cross_timestamp_unsupported equal 95 "$(ptp_cross "$ptp")"
fi
check no_violations equal '' "$(host violations)"
