# SPDX-License-Identifier: GPL-2.0
#: what     Network cards: found, pinged through, unplugged, jumbo frames, rescinded, reloaded; also with the unmodified C driver
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    rust
#: modules  hv_vmbus hv_netvsc
#: args     --no-ic --net net0,mac=00:15:5d:00:00:07 --net net1,version=1,peer=10.0.1.1/24,down
#: cpus     1
#: seconds  240

no_card() { ! has_card "$1"; }

check bus_loads load hv_vmbus
check network_loads load hv_netvsc
check card_found wait_for 30 has_card 00:15:5d:00:00:07
check second_card_found wait_for 10 has_card 00:15:5d:00:01:01
eth=$(card 00:15:5d:00:00:07)
old=$(card 00:15:5d:00:01:01)
id=$(cat "/sys/class/net/$eth/device/device_id")
check device_id sh -c 'echo "$1" | grep -qE "^\{[0-9a-f-]{36}\}$"' sh "$id"
check instance_is_the_offered host_says "^net0 .*instance=$(echo "$id" | tr -d '{}') " list
check alias_is_the_host_s_name equal net0 "$(cat "/sys/class/net/$eth/ifalias")"
check newest_version host_says '^net0 .*version=6.1 ' nets
check oldest_version host_says '^net1 .*version=1 ' nets

check up ip link set "$eth" up
check address ip addr add 10.0.0.2/24 dev "$eth"
check carrier wait_for 10 carrier "$eth" 1
check ping ping -c 3 -w 20 10.0.0.1
check one_channel equal 1 "$(find "/sys/class/net/$eth/device/channels" -mindepth 1 -maxdepth 1 | wc -l)"
check small_frames_by_sections host_says '^net0 .*by_section=[1-9]' nets
# A datagram of 30000 bytes is 21 frames each way, sent in one go.
check ping_in_fragments ping -c 3 -w 30 -s 30000 10.0.0.1
# Around the least frame, the section of the send buffer, the page, and what one frame holds.
sizes() {
	for size in 0 1 14 17 18 19 46 64 100 511 1023 1024 1399 1471 1472 1473 2952 4096 6100 12000; do
		ping -c 1 -w 10 -s $size 10.0.0.1 >/tmp/size || { echo "no answer to $size bytes"; return 1; }
	done
}
check ping_of_many_sizes sizes
check nobody_else_answers mute 10.0.0.77
# Four at once. The sockets of the programs hold so much and lose the rest, so what counts is what reached the stack.
statistic() { cat "/sys/class/net/$eth/statistics/$1"; }
icmp() { awk -v name="$1" '$1 == "Icmp:" { for (i = 2; i <= NF; i++) if (!column && $i == name) column = i; value = $column } END { print value }' /proc/net/snmp; }
all_answered() { equal $((before + 160)) "$(icmp InEchoReps)"; }
same_counts() {
	equal "$(statistic tx_packets) 0" "$(counted net0 sent) $(counted net0 dropped)" &&
		equal "$(statistic rx_packets)" $(($(counted net0 received) - $(counted net0 refused_by_guest)))
}
flood() {
	before=$(icmp InEchoReps)
	for i in 1 2 3 4; do ping -c 40 -i 0.01 -s 1400 10.0.0.1 >/tmp/flood$i & done
	wait
	wait_for 20 all_answered && wait_for 20 same_counts
}
check flood flood

few_in_vain() {
	host stats | sed -n 's/^\([^ ]*\) relid=.* received=\([0-9]*\).* empty_signals=\([0-9]*\).*/\1 \2 \3/p' | while read -r name received empty; do
		[ "$empty" -le $((received / 10 + 10)) ] || echo "$name: $empty of $received"
	done
}
check few_signals_in_vain equal '' "$(few_in_vain)"

check unplugged host link net0 down
check no_carrier wait_for 20 carrier "$eth" 0
check no_ping_unplugged mute 10.0.0.1
check plugged_in host link net0 up
check carrier_again wait_for 20 carrier "$eth" 1
# The first frame may come before the stack has its queues again.
check ping_again wait_for 20 pings 10.0.0.1

# The driver makes everything anew for another MTU. Frames that fit into no section of the send buffer go by pages.
check jumbo_mtu ip link set "$eth" mtu 9000
check jumbo_told host_says '^net0 .*frame=9014 ' nets
check jumbo_carrier wait_for 20 carrier "$eth" 1
check jumbo_ping ping -c 3 -w 20 -s 8900 10.0.0.1
check jumbo_by_pages host_says '^net0 .*by_pages=[1-9]' nets
# There and back while others send.
mtus() {
	ping -i 0.02 -c 400 -s 1000 10.0.0.1 >/dev/null 2>&1 &
	for mtu in 1500 576 9000 68 4000 9000; do ip link set "$eth" mtu $mtu || return 1; done
	kill $! 2>/dev/null
	wait_for 20 carrier "$eth" 1
}
check mtu_under_load mtus
check ping_after_mtus ping -c 2 -w 20 -s 8900 10.0.0.1

check down ip link set "$eth" down
check no_frames_when_down host_says '^net0 .*filter=0x0 ' nets
check new_address ip link set "$eth" address 00:15:5d:00:00:99
check up_again ip link set "$eth" up
check ping_from_new_address ping -c 2 -w 20 10.0.0.1

# The other card speaks the oldest version of the protocol and begins without a cable.
check old_up ip link set "$old" up
check old_address ip addr add 10.0.1.2/24 dev "$old"
check old_no_carrier carrier "$old" 0
check old_plugged_in host link net1 up
check old_carrier wait_for 20 carrier "$old" 1
check old_ping ping -c 2 -w 20 -s 1400 10.0.1.1

check rescinded host rescind net1
check rescinded_card_gone wait_for 20 no_card 00:15:5d:00:01:01
check other_card_stays ping -c 1 -w 20 10.0.0.1
check offered_again host offer net1
check offered_card_back wait_for 20 has_card 00:15:5d:00:01:01
# The module goes while the card is up and sends.
reloads() {
	for i in $(seq 5); do
		eth=$(card 00:15:5d:00:00:07)
		ip link set "$eth" up
		ip addr add 10.0.0.2/24 dev "$eth" 2>/dev/null
		ping -i 0.01 -c 100 -s 1200 10.0.0.1 >/dev/null 2>&1 &
		unload hv_netvsc || return 1
		load hv_netvsc || return 1
		wait_for 30 has_card 00:15:5d:00:00:07 || { echo "no card after $i reloads"; return 1; }
		kill $! 2>/dev/null
	done
	true
}
check reloads_5_times reloads
eth=$(card 00:15:5d:00:00:07)
ip link set "$eth" up
ip addr add 10.0.0.2/24 dev "$eth"
check ping_after_reload ping -c 2 -w 20 10.0.0.1
