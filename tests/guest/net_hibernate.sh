# SPDX-License-Identifier: GPL-2.0
#: what     The system hibernates while network cards carry traffic, twice; they go on, with all that a user has set: MTU, features, channels, flows, VLAN
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc hv_storvsc
#: programs perl ethtool ip
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=512M --net net0,offload,rsc,channels=4,batch=8 --net net1,offload,channels=2,peer=10.0.1.1/24 --net net2,peer=10.0.2.1/24
#: cpus     4
#: memory   384M
#: seconds  600
#: expect   smp_call_function_many_cond
# With lockdep the kernel's own hv_suspend() is told that it must not patch its hypercalls with interrupts off.

first_card
check storage_loads load hv_storvsc
check disk wait_for 30 test -b /dev/sda
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda
eth=$(card 00:15:5d:00:01:00)
check second_card wait_for 30 has_card 00:15:5d:00:01:01
check third_card wait_for 30 has_card 00:15:5d:00:01:02
b=$(card 00:15:5d:00:01:01)
down=$(card 00:15:5d:00:01:02)
check ping use_card "$eth"
check four_channels wait_for 20 host_says '^net0 .* channels=4 ' nets

# What a user sets. All flows go to channels 0 and 3.
check mtu ip link set "$eth" mtu 4000
# The C driver takes another address only while it is down.
other_address() { ip link set "$eth" down && ip link set "$eth" address 02:15:5d:00:00:77 && ip link set "$eth" up; }
check address other_address
check promiscuous ip link set "$eth" promisc on
check features ethtool -K "$eth" lro off tso off rxhash off
check key ethtool -X "$eth" hkey "$(for n in $(seq 10 49); do echo $n; done | paste -sd:)"
check table ethtool -X "$eth" weight 1 0 0 3
check fields ethtool -N "$eth" rx-flow-hash udp4 sd
check rings ethtool -G "$eth" rx 1000 tx 100
check ping_as_set wait_for 20 pings 10.0.0.1
# Another card is in a namespace, with a tag on each frame, and on one channel of two; a third one is down.
ip netns add far
ip link set "$b" netns far
check far_channels far ethtool -L "$b" combined 1
check far_up far ip link set "$b" up
check far_tag far ip link add link "$b" name v66 type vlan id 66
far ip addr add 10.0.1.2/24 dev v66
far ip link set v66 up
far_pings() { far ping -c 1 -W 1 10.0.1.1; }
check tagged_ping wait_for 20 far_pings

# What there is to be seen of it. A link's line has its index, flags, state, MTU and address, without time and counters.
links() { ip link show "$eth"; far ip link show "$b"; far ip -d link show v66 | grep -o 'vlan protocol.*'; ip link show "$down"; }
cards() { host nets | sed -n 's/^\(net[0-9]\) .*\( version=[^ ]*\).*\( frame=[^ ]*\).*\( filter=[^ ]*\).*\( channels=[^ ]*\).*/\1\2\3\4\5/p'; }
setting() {
	case $1 in
	links) links ;;
	far_features) far ethtool -k "$b" ;;
	far_channels) far ethtool -l "$b" ;;
	cards) cards ;;
	fields) ethtool -n "$eth" rx-flow-hash udp4 ;;
	*) ethtool "$1" "$eth" ;;
	esac
}
all='links -k -x -l -g fields far_features far_channels cards'
for name in $all; do setting "$name" >"/tmp/before$name" 2>&1; done
is_kept() { setting "$1" >/tmp/now 2>&1; cmp -s "/tmp/before$1" /tmp/now || { diff "/tmp/before$1" /tmp/now | grep '^[+-]' | tail -n 6; false; }; }

# Only the channels of the table get what comes; for TCP the host looks at the ports, too.
received() { ethtool -S "$eth" | sed -n 's/^ *rx_queue_[0-9]*_packets: //p'; }
by_the_table() {
	received >/tmp/received
	for _ in 1 2 3 4 5 6; do peer echo 10.0.0.1 20000 || return; done
	received | paste /tmp/received - | awk '{ print "channel " NR - 1 ": " $2 - $1; if ((NR == 2 || NR == 3) && $2 > $1) bad = 1; n += $2 - $1 } END { exit bad || n < 30 }'
}
check spread_by_the_table by_the_table

traffic_begins
flood 10.0.0.1 &
transfers echo 10.0.0.1 50000 &
check traffic flood_comes_back
echo test_resume >/sys/power/disk
for n in 1 2; do
	# The image is written, and restored at once.
	check "round_trip_$n" hibernate
	check "host_here_$n" wait_for 20 host ping
	check "flood_goes_on_$n" flood_comes_back
	check "four_channels_$n" wait_for 30 host_says '^net0 .* channels=4 ' nets
	check "ping_$n" wait_for 20 pings 10.0.0.1
	check "jumbo_ping_$n" ping -c 2 -w 20 -s 3900 10.0.0.1
	check "tagged_ping_$n" wait_for 20 far_pings
	for name in $all; do check "kept_${n}_$name" is_kept "$name"; done
	check "echo_$n" peer echo 10.0.0.1 100000
	check "source_$n" peer source 10.0.0.1 100000
	check "by_the_table_$n" by_the_table
done
# A connection from before the image may be with another state of its peer.
rm /tmp/go
killall perl
wait
check nothing_wrong_arrived equal '' "$(cat /tmp/wrong)"

# All of it can be changed as before.
check table_by_default ethtool -X "$eth" default
check two_channels ethtool -L "$eth" combined 2
check two_channels_told wait_for 20 host_says '^net0 .* channels=2 ' nets
check mtu_by_default ip link set "$eth" mtu 1500
check echo_at_last peer echo 10.0.0.1 100000
check third_up ip link set "$down" up
ip addr add 10.0.2.2/24 dev "$down"
check third_ping wait_for 20 pings 10.0.2.1
for card in net0 net1 net2; do check "all_returned_$card" wait_for 10 all_returned $card; done
check swap_off swapoff /dev/sda
check no_violations equal '' "$(host violations)"
ip netns del far
check unloads unload hv_netvsc
