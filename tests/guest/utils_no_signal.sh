# SPDX-License-Identifier: GPL-2.0
#: what     The host's first packet lies in the ring before the channel is open, and nobody is told: each service answers at once
#: host     rlis
#: drivers  mixed rust
#: modules  hv_vmbus hv_utils ptp
#: programs hv_kvp_daemon
#: cpus     1
#: seconds  240
#: c:no-signal  mute until the channel is opened anew
#: ours:no-signal  answers at once

services='heartbeat shutdown timesync kvp vss'
negotiated() { case $1 in
	heartbeat) logged 'Heartbeat IC version' ;;
	shutdown) logged 'Shutdown IC version' ;;
	timesync) logged 'TimeSync IC version' ;;
	kvp) logged 'KVP IC version' ;;
	vss) logged 'VSS IC version' ;;
	esac; }
# A second for the answer; a busy machine may take some more, but nothing comes after that if the packet was missed.
all_negotiate() {
	for service in $services; do
		check "$1_$service" wait_for 15 negotiated "$service"
	done
}
works() { host_says 'answered=[1-9]' heartbeat && host time 0 && host_says 0x80004005 shutdown-flags 0xff; }

check bus_loads load hv_vmbus
for service in $services; do
	check "armed_$service" host fault "$service" no-signal 1
done
check utils_load load hv_utils
check node wait_for 10 test -c /dev/vmbus/hv_kvp
hv_kvp_daemon -n &
all_negotiate at_load
check all_signals_were_lost equal '' "$(host faults)"
check works_at_load wait_for 20 works

# The host takes each service away and offers it again.
for service in $services; do
	host rescind "$service" >/dev/null
	host fault "$service" no-signal 1 >/dev/null
done
sleep 2
dmesg -c >/dev/null
for service in $services; do
	check "offered_$service" host offer "$service"
done
kill %1 2>/dev/null
wait_for 10 test -c /dev/vmbus/hv_kvp
hv_kvp_daemon -n &
all_negotiate again
check all_signals_were_lost_again equal '' "$(host faults)"
check works_again wait_for 20 works
check no_violations equal '' "$(host violations)"
