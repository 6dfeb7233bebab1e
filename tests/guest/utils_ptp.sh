# SPDX-License-Identifier: GPL-2.0
#: what     Cross-timestamps of the PTP clock on a guest whose time comes from the TSC
#: host     rlis
#: drivers  mixed
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: programs perl
#: cmdline  clocksource=tsc tsc=reliable
#: cpus     1
#: seconds  60

check bus_loads load hv_vmbus
check utils_load load hv_utils
check clock_source equal tsc "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
check told_the_time wait_for 10 logged 'TimeSync IC version 4\.0'
check set host time 0
ptp=/dev/$(basename "$(dirname "$(grep -l '^hyperv$' /sys/class/ptp/*/clock_name | head -n 1)")")
sleep 2
small() { awk -v offset="$1" 'BEGIN { if (offset < -1 || offset > 1) { print offset; exit 1 } }'; }
check offset small "$(ptp_offset "$ptp")"
check cross_timestamp small "$(ptp_cross "$ptp")"
date -s "@$(($(date +%s) - 3600))" >/dev/null
hour() { small "$(awk -v offset="$1" 'BEGIN { print offset - 3600 }')"; }
check cross_timestamp_sees_the_hour hour "$(ptp_cross "$ptp")"
