# SPDX-License-Identifier: GPL-2.0
#: what     A host that is silent: the C bus waits for ever, ours gives up after two minutes
#: host     rlis
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hv_utils
#: args     --ic heartbeat
#: cpus     1
#: when     all
#: seconds  700
#: c:bus-no-gpadl-torndown  rmmod hangs; withdrawing the device does not end it
#: c:bus-no-unload-response  waits for ever
#: c:bus-no-version-response  waits for ever
#: ours:bus-no-gpadl-torndown  rmmod ends after two minutes
#: ours:bus-no-unload-response  rmmod ends after two minutes
#: ours:bus-no-version-response  modprobe ends after two minutes

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
# waits COMMAND...: the command does not come back with the C bus, and does with ours. What hangs must not hold the pipe
# that the check's output comes through.
waits() {
	"$@" >/dev/null 2>&1 &
	pid=$!
	if [ "$DRIVERS" = c ]; then
		! wait_for 150 ended || { echo "'$*' ended"; false; }
	else
		wait_for 150 ended || { echo "'$*' did not end"; false; }
	fi
}
ended() { ! kill -0 $pid 2>/dev/null; }

# Both buses wait for the end of the offers, but not for ever.
check no_end_of_offers_armed host fault vmbus bus-no-all-offers-delivered
check bus_loads load hv_vmbus
check utils_load load hv_utils
open() { host_says '^heartbeat .* open$' list; }
check heartbeat wait_for 10 open
check no_answer_armed host fault vmbus bus-no-gpadl-torndown
check teardown_unanswered waits rmmod hv_utils
check it_struck none_armed
if [ "$DRIVERS" = rustbus ]; then
	check utils_load_again load hv_utils
	check heartbeat_again wait_for 30 open
	check unload_utils unload hv_utils
	check no_unload_response_armed host fault vmbus bus-no-unload-response
	check unload_unanswered waits rmmod hv_vmbus
	check no_version_response_armed host fault vmbus bus-no-version-response 2
	check version_unanswered waits modprobe hv_vmbus
	host faults --clear
	check bus_loads_at_last load hv_vmbus
	check utils_load_at_last load hv_utils
	check heartbeat_at_last wait_for 30 open
	host violations --take
else
	# Its process hangs from here on, and whoever wants to load or unload a module. A rescind is no help: the C bus waits
	# with the lock that it would take. Nor is a power-off, which waits for the device, so the host pulls the plug.
	check device_withdrawn host rescind heartbeat
	still_there() { sleep 10; pidof rmmod >/dev/null; }
	check waits_on still_there
	host violations --take
	echo 'rlis-end: 0' >/dev/kmsg
	host quit
fi
