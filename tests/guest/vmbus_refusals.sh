# SPDX-License-Identifier: GPL-2.0
#: what     Whatever the host does to the bus costs the device it concerns, and leaves the bus usable
#: host     rlis
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_utils
#: cpus     1
#: seconds  300
#: c:bus-bad-offer-flags  every later rescind waits for ever
#: c:bus-duplicate-offer  the second relid is never released
#: c:bus-short-message  a warning with a call trace
#: c:bus-unknown-message  a warning with a call trace
#: ours:bus-bad-offer-flags  refused with a line; offered again, the device works
#: ours:bus-bad-relid  refused with a line; offered again, the device works
#: ours:bus-duplicate-offer  the second offer is refused with a line; the device works
#: ours:bus-refuse-gpadl  the probe fails; offered again, the device works
#: ours:bus-refuse-open  the probe fails; offered again, the device works
#: ours:bus-rescind-during-open  the device goes; offered again, it works
#: c:bus-rescind-after-open  the relid is released without a CLOSECHANNEL
#: ours:bus-rescind-after-open  the channel is closed and the device goes; offered again, it works
#: ours:bus-short-message  a line; nothing is lost
#: ours:bus-unknown-message  nothing is lost

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check utils_load load hv_utils

gone() { ! vmbus_device $heartbeat >/dev/null; }
bound() { test -e "$(vmbus_device $heartbeat)/driver"; }
is_open() { equal 3 "$(cat "$(vmbus_device $heartbeat)/state")"; }
works() { wait_for 30 bound && wait_for 30 is_open; }
# again: the device goes and comes back.
again() { host rescind heartbeat && wait_for 15 gone && host offer heartbeat; }
present_unbound() { vmbus_device $heartbeat >/dev/null && ! bound; }
check works_at_first works

# The device fails to open, with the cause in the log, and works when it is offered again.
for fault in bus-refuse-open bus-refuse-gpadl bus-wrong-open-id; do
	on=heartbeat
	[ $fault = bus-refuse-gpadl ] && on=vmbus
	host rescind heartbeat && wait_for 15 gone
	check ${fault}_armed host fault $on $fault 1
	host offer heartbeat
	if [ $fault = bus-wrong-open-id ]; then
		check ${fault}_ignored works
	else
		check ${fault}_not_bound wait_for 15 present_unbound
	fi
	again
	check ${fault}_then_works works
done
check refusal_logged logged 'probe failed for device .* \(-11\)'
check gpadl_refusal_logged logged 'the host refused a GPADL'

# A rescind instead of an answer.
host rescind heartbeat && wait_for 15 gone
check rescind_during_open_armed host fault heartbeat bus-rescind-during-open 1
host offer heartbeat
check rescind_during_open_gone wait_for 15 gone
host offer heartbeat
check rescind_during_open_then_works works
# A rescind right behind the answer: whoever waits for that may find both. The host has opened the channel, and wants it closed.
behind_the_answer() {
	for round in $(seq "$1"); do
		host rescind heartbeat && wait_for 15 gone && host fault heartbeat bus-rescind-after-open 1 && host offer heartbeat &&
			wait_for 15 none_armed && wait_for 15 gone && host offer heartbeat && works || { echo "round $round: $(host list)"; return 1; }
	done
}
before=$(host violations)
check rescind_after_open_twenty_times behind_the_answer 20
check each_was_closed equal "$before" "$(host violations)"

# A host that goes on like this fills no log: some lines in a minute, and none where the device has just gone.
lines() { dmesg | grep -v rlis-check: | grep -cE "$1"; }
# in_a_minute PATTERN: how many lines there were in the worst minute. A slow guest needs several for its rounds.
in_a_minute() {
	dmesg | grep -v rlis-check: | grep -E "$1" | awk -F '[][]' '
		{ at[++count] = $2 + 0; while (at[count] - at[first + 1] > 60) first++; if (count - first > most) most = count - first }
		END { print most + 0 }'
}
again_and_again() {
	for round in $(seq "$1"); do
		host fault "$2" "$3" 1 && host offer heartbeat && wait_for 15 "$4" && host rescind heartbeat && wait_for 15 gone || { echo "round $round: $(host list)"; return 1; }
	done
}
host rescind heartbeat && wait_for 15 gone
check refused_twenty_times again_and_again 20 heartbeat bus-refuse-open present_unbound
check refused_gpadl_twenty_times again_and_again 20 vmbus bus-refuse-gpadl present_unbound
check few_lines test "$(in_a_minute 'probe failed|refused a GPADL|opening relid|closing relid')" -le 40
dmesg -c >/dev/null
gone_again_and_again() {
	for round in $(seq 20); do
		host fault heartbeat bus-rescind-during-open 1 && host offer heartbeat && wait_for 15 none_armed && wait_for 15 gone || { echo "round $round: $(host list)"; return 1; }
	done
}
check rescinded_twenty_times gone_again_and_again
check no_line_at_all equal 0 "$(lines 'hv_vmbus: (probe|adding|opening|closing)')"
host offer heartbeat
check works_after_all_that works

# Offers that no channel can be made of are refused and released.
host rescind heartbeat && wait_for 15 gone
check bad_relid_armed host fault heartbeat bus-bad-relid 1
host offer heartbeat
check bad_relid_logged wait_for 10 logged 'offer of relid 65535 refused: no such relid'
check bad_relid_no_device gone
host rescind heartbeat
host offer heartbeat
check bad_relid_then_works works

host rescind heartbeat && wait_for 15 gone
check bad_flags_armed host fault heartbeat bus-bad-offer-flags 1
host offer heartbeat
check bad_flags_logged wait_for 10 logged 'refused: confidential channels are not supported'
host rescind heartbeat
host offer heartbeat
check bad_flags_then_works works

host rescind heartbeat && wait_for 15 gone
check duplicate_armed host fault heartbeat bus-duplicate-offer 1
host offer heartbeat
check duplicate_logged wait_for 10 logged 'refused: the device has a channel already'
check duplicate_works works
again
check duplicate_then_works works

# Messages that are none.
check unknown_message_armed host fault vmbus bus-unknown-message 1
again
check unknown_message_works works

# Nothing of this may be left behind.
check unload_utils unload hv_utils
check unload_bus unload hv_vmbus
check bus_loads_again load hv_vmbus
check utils_load_again load hv_utils
check works_at_last works

# A rescind that is cut short is none. The host believes that the device is gone, so this comes last.
check short_message_armed host fault vmbus bus-short-message 1
check short_message_sent host rescind heartbeat
check short_message_logged wait_for 10 logged 'message from the host ignored: RESCIND_CHANNELOFFER: 8 bytes, 12 needed'
check short_message_costs_nothing works
host violations --take
