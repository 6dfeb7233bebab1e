# SPDX-License-Identifier: GPL-2.0
#: what     Frames of every size between two network cards, at each MTU from the least to the longest that the host allows
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc
#: programs perl ping ip
#: args     --no-ic --net net0,switch=a,offload,batch=8,channels=2 --net net1,switch=a,offload,rsc,mode=openvmm,batch=8
#: cpus     2
#: memory   1G
#: seconds  600
# shellcheck disable=SC2154 # far_card sets a and b

far_card

# Port 7 over UDP and TCP; what comes back is compared by `peer`, byte by byte.
far perl -e 'socket(my $s, 2, 2, 0); bind($s, pack("SnC4x8", 2, 7, 10, 1, 0, 2)) or die $!;
	while (defined(my $from = recv($s, my $b, 65536, 0))) { send($s, $b, 0, $from) }' &
echo_tcp() {
	echoes_in far 10.1.0.2 || return
	peer echo 10.1.0.2 "$1"
}
# shellcheck disable=SC2046 # numbers
check every_size_to_1500 peer udp 10.1.0.2 $(seq 0 1472)
# The program of iputils: no fragments. One byte more than the MTU holds is refused before it gets to the card.
whole() {
	for size in "$@"; do /usr/bin/ping -n -M "do" -c 1 -W 5 -s "$size" 10.1.0.2 >/tmp/size 2>&1 || { echo "no answer to $size bytes: $(cat /tmp/size)"; return 1; }; done
}
too_long() { ! /usr/bin/ping -n -M "do" -c 1 -W 2 -s "$1" 10.1.0.2 >/tmp/size 2>&1 && grep -qi 'too long' /tmp/size; }
for mtu in 68 576 1499 1501 4000 9000 65521; do
	most=$((mtu - 28))
	check "mtu_$mtu" ip link set "$a" mtu $mtu
	check "far_mtu_$mtu" far ip link set "$b" mtu $mtu
	# What either side knows of the path.
	ip route flush cache
	far ip route flush cache
	check "ping_at_$mtu" wait_for 20 pings 10.1.0.2
	check "whole_at_$mtu" whole 0 1 18 $((most / 2)) $((most - 1)) $most
	# Longer datagrams than IPv4 has cannot be asked for.
	[ $mtu -gt 65000 ] || check "too_long_at_$mtu" too_long $((most + 1))
	sizes="1 2 17 18 40 $((most / 3)) $((most / 2)) $((most - 3)) $((most - 2)) $((most - 1)) $most $((most + 1)) $((most + 2)) 2000"
	[ $mtu -lt 576 ] || sizes="$sizes 1471 1472 1473 4068 4096 8972 20000 65400"
	# shellcheck disable=SC2086 # numbers
	check "datagrams_at_$mtu" peer udp 10.1.0.2 $sizes
	# TCP takes no path on which a segment has less than 48 bytes.
	[ $mtu -lt 576 ] || check "tcp_at_$mtu" echo_tcp 50000
done
killall perl
check all_returned wait_for 10 all_returned net0
check all_returned_far wait_for 10 all_returned net1
check namespace_ends ip netns del far
check no_violations equal '' "$(host violations)"
