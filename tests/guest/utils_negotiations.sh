# SPDX-License-Identifier: GPL-2.0
#: what     A host that negotiates again and again gets its answers, and the log some lines of it
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: programs hv_kvp_daemon
#: args     --ic heartbeat,kvp
#: cpus     1
#: seconds  120

check bus_loads load hv_vmbus
check heartbeat_armed host fault heartbeat ic-negotiate-again 200
check kvp_armed host fault kvp ic-negotiate-again 200
begun=$(uptime)
check utils_load load hv_utils
check node wait_for 10 test -c /dev/vmbus/hv_kvp
hv_kvp_daemon -n &
check all_are_answered wait_for 60 none_armed
check heartbeat_works wait_for 20 host_says 'answered=[1-9]' heartbeat
check kvp_works wait_for 20 host kvp-set external key value
# Ten in five seconds, of 402; the two services share that.
took=$(($(uptime) - begun))
lines=$(dmesg | grep -c 'IC version [0-9]')
note "$lines lines in $took s"
check lines_are_few between 1 $((10 * (took / 5 + 2))) "$lines"
# Or else the last check would prove nothing.
check in_time between 0 150 $took
kill %1 2>/dev/null
check no_violations equal '' "$(host violations)"
