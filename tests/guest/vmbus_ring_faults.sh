# SPDX-License-Identifier: GPL-2.0
#: what     A packet that cannot be costs that packet and a line in the log, never the channel
#: host     rlis
#: drivers  rustbus rust
#: quick    none
#: modules  hv_vmbus hv_utils
#: programs hv_kvp_daemon
#: args     --ic heartbeat,shutdown,kvp
#: cpus     1
#: seconds  300

check bus_loads load hv_vmbus
check utils_load load hv_utils
check heartbeat wait_for 20 host_says 'answered=[1-9]' heartbeat
answered() { host heartbeat | sed -n 's/answered=\([0-9]*\).*/\1/p'; }
more() { [ "$(answered)" -gt $(($1 + 1)) ]; }
# The host waits ten seconds for the answer to a heartbeat that did not arrive.
progress() { beats=$(answered); wait_for 30 more "$beats"; }
lines() { dmesg | grep -c 'hv_vmbus: inbound ring of relid'; }
one_line() { [ $(($(lines) - $1)) = 1 ] || { echo "$(($(lines) - $1)) lines in the log"; return 1; }; }
survives() {
	before=$(lines)
	host fault heartbeat "$1" 1 && wait_for 20 none_armed || return 1
	progress || { echo "no heartbeat after $1"; return 1; }
	one_line "$before"
}
# The host has no cause to signal what comes behind a packet that was not read because of a wrong index: the bus looks
# at the ring again by itself.
for fault in ring-length-too-long ring-length-too-short ring-offset-beyond-end ring-offset-too-small ring-write-index-outside; do
	check $fault survives $fault
done
# Forty at a time, and one signal for them and for the proper packet behind them: with whatever the driver leaves in the ring
# the host would have no cause to signal ever again.
missed() { host heartbeat | sed -n 's/.* missed=\([0-9]*\).*/\1/p'; }
many_at_once() {
	local before
	before=$(missed)
	host fault heartbeat ring-bad-burst 1 40 && wait_for 20 none_armed || return 1
	progress || { echo 'no heartbeat after that'; return 1; }
	equal "$before" "$(missed)"
}
check many_bad_at_once many_at_once
# The same where packets are not read in the interrupt.
check node wait_for 10 test -c /dev/vmbus/hv_kvp
hv_kvp_daemon -n &
check kvp_works wait_for 20 host kvp-set external key value
check kvp_armed host fault kvp ring-bad-burst 1 40
check kvp_answers_behind_many host kvp-set external key other
check kvp_burst_struck none_armed
kill %1 2>/dev/null
check length_logged logged 'packet length [0-9]+\*8 with [0-9]+ bytes in the ring'
check offset_logged logged 'packet data offset [0-9]+\*8 with length'
check index_logged logged 'ring write_index 0x[0-9a-f]+ is invalid'
check utils_unload unload hv_utils
check bus_unloads unload hv_vmbus
