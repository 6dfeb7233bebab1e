# SPDX-License-Identifier: GPL-2.0
#: what     A bus and integration components that misbehave: the device may be lost for once, never the bus
#: host     rlis
#: drivers  c rust
#: quick    none
#: modules  hv_vmbus hv_utils
#: args     --ic heartbeat,shutdown
#: cpus     1
#: seconds  240
#: c:bus-unknown-message  a warning with a call trace
#: c:ring-length-too-long  shutdown comes back when its channel is opened anew; the heartbeat would be read without end
#: c:ring-length-too-short  shutdown comes back when its channel is opened anew; the heartbeat would be read without end
#: c:ring-offset-beyond-end  shutdown comes back when its channel is opened anew; the heartbeat would be read without end
#: c:ring-offset-too-small  shutdown comes back when its channel is opened anew; the heartbeat would be read without end
#: c:ring-write-index-outside  shutdown comes back when its channel is opened anew; the heartbeat would be read without end
#: c:unknown-packet-type  does not look at the type, and answers the packet

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
open_and_beating() { host_says '^heartbeat .* open$' list && host_says 'answered=[1-9]' heartbeat; }
check bus_loads load hv_vmbus
check utils_load load hv_utils
check heartbeat wait_for 10 open_and_beating

# survives DEVICE FAULT: the driver comes and goes under the fault; without it the device works again.
survives() {
	unload hv_utils && host fault "$@" && load hv_utils || return 1
	wait_for 5 none_armed || { echo "$2 did not strike"; return 1; }
	unload hv_utils
	vmbus_device $heartbeat >/dev/null || host offer heartbeat || return 1
	load hv_utils && wait_for 20 host_says '^heartbeat .* open$' list
}
check open_refused survives heartbeat bus-refuse-open
check answer_to_another_open survives heartbeat bus-wrong-open-id
check gpadl_refused survives vmbus bus-refuse-gpadl
check rescinded_during_open survives heartbeat bus-rescind-during-open
# The C driver complains of an unknown message with a call trace.
[ "$DRIVERS" = c ] || check unknown_message survives vmbus bus-unknown-message
check ic_size survives heartbeat ic-size
check ic_version_count survives heartbeat ic-version-count
check ic_unknown_type survives heartbeat ic-unknown-type
check short_packet survives heartbeat short-packet
check unknown_packet_type survives heartbeat unknown-packet-type

# A ring whose contents cannot be told apart any more is lost until the channel is opened anew. Not on the heartbeat: its
# C driver goes on reading until the ring is empty, which this one never is.
alive() { host_says '^0x80004005$' shutdown-flags 0x40; }
broken_ring() {
	unload hv_utils && host fault shutdown "$1" && load hv_utils || return 1
	wait_for 5 none_armed || { echo "$1 did not strike"; return 1; }
	sleep 1
	unload hv_utils && load hv_utils && wait_for 20 alive
}
for fault in ring-length-too-long ring-length-too-short ring-offset-beyond-end ring-offset-too-small \
	ring-write-index-outside ring-read-index-outside; do
	check "$(echo $fault | tr - _)" broken_ring $fault
done
# The C drivers do not look at a packet's type, so they answered the unknown one too, and what they found in a broken
# ring.
[ "$DRIVERS" = c ] && host violations --take >/dev/null
check beats_at_the_end wait_for 20 open_and_beating
