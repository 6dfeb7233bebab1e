# SPDX-License-Identifier: GPL-2.0
#: what     A network card with offloads and channels: DHCP, TCP and UDP with checksums, large sends, coalescing, VLANs
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,mac=00:15:5d:00:00:07,offload,rsc,channels=4,batch=16,speed=25000,alias=uplink
#: cpus     2
#: seconds  240

check bus_loads load hv_vmbus
check network_loads load hv_netvsc
check card_found wait_for 30 has_card 00:15:5d:00:00:07
eth=$(card 00:15:5d:00:00:07)
check alias_is_the_host_s equal uplink "$(cat "/sys/class/net/$eth/ifalias")"
check up ip link set "$eth" up
check carrier wait_for 10 carrier "$eth" 1
check speed equal 25000 "$(cat "/sys/class/net/$eth/speed")"
check two_channels wait_for 20 host_says '^net0 .* channels=2 ' nets
check flows_are_spread wait_for 20 host_says '^net0 .* spread=128 ' nets

cat >/tmp/lease <<'LEASE'
#!/bin/sh
[ "$1" = bound ] && echo "$ip $subnet $router" >/tmp/leased
exit 0
LEASE
chmod +x /tmp/lease
check dhcp udhcpc -i "$eth" -n -q -f -t 10 -s /tmp/lease
check leased equal '10.0.0.2 255.255.255.0 10.0.0.1' "$(cat /tmp/leased)"
check address ip addr add 10.0.0.2/24 dev "$eth"

feature() { ethtool -k "$eth" | grep -qE "^[[:space:]]*$1: on" || { ethtool -k "$eth"; false; }; }
for name in rx-checksumming tx-checksum-ipv4 tx-checksum-ipv6 tcp-segmentation-offload tx-tcp6-segmentation; do
	check "feature_$name" feature $name
done
# A link-local address of the peer, by its hardware address.
six=fe8000000000000002155dfffeffff00%$(cat "/sys/class/net/$eth/ifindex")
check ping6 wait_for 10 ping -6 -c 1 -w 5 "fe80::215:5dff:feff:ff00%$eth"
check source peer source 10.0.0.1 400000
check discard peer discard 10.0.0.1 400000
check echo peer echo 10.0.0.1 150000
# What `peer` sends, hashed by both sides.
sum=$(perl -e 'print substr(join("", map chr, 0 .. 250) x 600, 0, 150000)' | sha256sum | cut -d' ' -f1)
check host_took_the_same wait_for 10 host_says "^net0 .* stream=7/150000/$sum " nets
check echo_6 peer echo "$six" 150000
check datagrams peer udp 10.0.0.1 0 1 2 3 4 17 18 19 32 200 1000 1471 1472 1473 8000
check datagrams_6 peer udp "$six" 0 1 4 200 1452
check checksums_by_the_host host_says '^net0 .* checksums=[1-9]' nets
check large_sends host_says '^net0 .* large_sends=[1-9]' nets
check several_frames_in_a_packet host_says '^net0 .* batches=[1-9]' nets
# C and ours alike have LRO on from the beginning.
check coalesced host_says '^net0 .* coalesced=[1-9]' nets
check lro_off ethtool -K "$eth" lro off
before=$(counted net0 coalesced)
check source_in_segments peer source 10.0.0.1 100000
check nothing_coalesced equal "$before" "$(counted net0 coalesced)"

check no_offloads ethtool -K "$eth" rx off tx off tso off
before=$(counted net0 checksums)
check echo_without peer echo 10.0.0.1 100000
check datagrams_without peer udp 10.0.0.1 0 1 200 1472
check no_checksums_by_the_host equal "$before" "$(counted net0 checksums)"
check offloads_again ethtool -K "$eth" rx on tx on tso on

check tag ip link add link "$eth" name v66 type vlan id 66
check move_address sh -c "ip addr del 10.0.0.2/24 dev $eth && ip addr add 10.0.0.2/24 dev v66"
check tagged_up ip link set v66 up
check tagged_ping ping -c 2 -w 20 10.0.0.1
check tagged_echo peer echo 10.0.0.1 100000
check tags_beside_the_frames host_says '^net0 .* tags=[1-9]' nets
ip link del v66
ip addr add 10.0.0.2/24 dev "$eth"

check jumbo ip link set "$eth" mtu 9000
check jumbo_told host_says '^net0 .* frame=9014 ' nets
check jumbo_carrier wait_for 20 carrier "$eth" 1
check jumbo_echo peer echo 10.0.0.1 150000
check jumbo_ping ping -c 2 -w 20 -s 8900 10.0.0.1
check all_returned wait_for 10 all_returned net0
# Bytes that the stack takes for sent and not yet completed, by its byte queue limits.
none_in_flight() { for queue in "/sys/class/net/$eth"/queues/tx-*; do [ "$(cat "$queue/byte_queue_limits/inflight")" = 0 ] || return 1; done; }
check none_in_flight wait_for 10 none_in_flight
check no_violations equal '' "$(host violations)"
