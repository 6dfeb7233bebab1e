# SPDX-License-Identifier: GPL-2.0
#: what     A network host that misbehaves in traffic, in ways that the C driver bears: malformed frames, packets, answers
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: args     --no-ic --net net0,offload,rsc,channels=2
#: cpus     2
#: seconds  300
#: c:net-range-count  the sections never go back to the host
#: c:net-range-set  the sections never go back to the host

first_card
eth=$(card 00:15:5d:00:01:00)
check ping use_card "$eth"

tried() {
	check "$1${2:+_$2}" survives "$1" "$2"
}
tried net-message-type 127
tried net-message-length 7
tried net-message-length 4294967295
tried net-data-offset 4294967295
tried net-data-length 4294967295
tried net-info-offset 8
tried net-info-length 4294967295
tried net-range-offset 4294963200
tried net-range-length 1048576
tried net-piece-no-first
tried net-piece-no-last
tried net-piece-count 563
tried net-transaction-zero
tried net-completion-status 2
# Of these the C driver never returns the sections.
tried net-range-set 7
tried net-range-count 65535
if c_drivers; then note "held: $(counted net0 held)"; else check all_returned wait_for 10 all_returned net0; fi

# Answers; a setting of the filter asks for one each.
asks() {
	host fault net0 "$1" 1 "$2" || return
	ip link set "$eth" promisc on
	wait_for 10 host_says '^net0 .*filter=0x2[0-9a-f] ' nets || return
	ip link set "$eth" promisc off
	wait_for 10 host_says '^net0 .*filter=0x[01]?[0-9a-f] ' nets || return
	wait_for 10 pings 10.0.0.1
}
check answer_to_nobody asks net-answer-id
check answer_twice asks net-answer-twice
check answer_late asks net-slow-answer 1000
check answer_failed asks net-answer-status 3221225473
check filter_ignored host fault net0 net-ignore-filter 1
ip link set "$eth" down
check frames_although_down host_says '^net0 .*filter=0x[1-9a-f]' nets
ip link set "$eth" up
check ping_after wait_for 20 pings 10.0.0.1
check no_violations equal '' "$(host violations)"
