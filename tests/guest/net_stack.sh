# SPDX-License-Identifier: GPL-2.0
#: what     What the kernel puts on top of network cards: VLANs and trunks, macvlan, a bridge, a bond, VXLAN, pktgen
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc
#: programs perl tcpdump ethtool ip
#: args     --no-ic --net net0,switch=a,offload,rsc,batch=16,channels=2 --net net1,switch=a,offload,mode=openvmm,batch=8 --net net2,switch=a,offload,rsc,batch=8
#: cpus     2
#: memory   768M
#: seconds  600
# shellcheck disable=SC2154 # far_card sets a and b

far_card
check third_card wait_for 30 has_card 00:15:5d:00:01:02
c=$(card 00:15:5d:00:01:02)

# across ADDRESS [NAMESPACE]: bytes go to a program of the namespace `far` and back, from here or from another namespace.
across() {
	echoes_in far "$1" || return
	if [ -n "$2" ]; then ip netns exec "$2" sh -c ". /scenario/lib.sh; peer echo $1 60000"; else peer echo "$1" 60000; fi
}
reaches() { ip netns exec "$1" ping -c 1 -W 1 "$2"; }

# Tags: one interface for each VLAN on both ends of the trunk.
# tagged NAME ID BELOW FAR-BELOW [OPTION...]: with the addresses 10.ID mod 250.9.1 and .2; far with ID in its name, too.
tagged() {
	name=$1 id=$2 below=$3 far_below=$4 net=10.$(($2 % 250 + 3)).9
	shift 4
	ip link add link "$below" name "$name" type vlan "$@" id "$id" && far ip link add link "$far_below" name "$name" type vlan "$@" id "$id" || return
	# A second tag lies in the frame, which is no longer for that.
	case $below in v* | s*) ip link set "$name" mtu 1492 && far ip link set "$name" mtu 1492 || return ;; esac
	ip addr add "$net.1/24" dev "$name" && far ip addr add "$net.2/24" dev "$name" || return
	ip link set "$name" up && far ip link set "$name" up || return
	wait_for 20 pings "$net.2" && across "$net.2"
}
for id in 1 2 100 4094; do check "vlan_$id" tagged "v$id" $id "$a" "$b"; done
# All of them at once.
trunk() {
	for net in 4 5 103 97; do ping -c 20 -i 0.05 -W 5 "10.$net.9.2" >"/tmp/trunk-$net" & done
	wait
	for net in 4 5 103 97; do grep -q '20 packets received' "/tmp/trunk-$net" || { tail -n 3 "/tmp/trunk-$net"; return 1; }; done
}
check trunk trunk
check tags_beside_the_frames host_says '^net0 .* tags=[1-9]' nets
# A VLAN that the other end is not in.
lonely() {
	ip link add link "$a" name v200 type vlan id 200 && ip addr add 10.203.9.1/24 dev v200 && ip link set v200 up && mute 10.203.9.2
}
check another_vlan_is_apart lonely
check vlan_in_a_vlan tagged v100.7 7 v100 v100
check vlan_of_802_1ad tagged s9 9 "$a" "$b" proto 802.1ad
check vlan_in_802_1ad tagged s9.11 11 s9 s9
# The priority of frames, as the other end sees it.
priority() {
	ip link set v100 type vlan egress 0:5 || return
	far timeout 20 tcpdump -Z root -i "$b" -Q in -c 1 -l -nn -e 'vlan 100 and icmp' >/tmp/priority 2>/tmp/priority.said &
	wait_for 10 grep -q 'listening on' /tmp/priority.said
	pings 10.103.9.2
	wait $!
	grep -q 'vlan 100, p 5' /tmp/priority || { cat /tmp/priority /tmp/priority.said; false; }
}
check priority priority
for name in v100.7 v1 v2 v100 v4094 s9.11 s9; do
	ip link del $name
	far ip link del $name
done
check ping_untagged ping -c 2 -w 20 10.1.0.2

# Further addresses on the same card, in a namespace of their own.
ip netns add mac
macvlan() {
	ip link add link "$a" name m0 type macvlan mode bridge && ip link set m0 netns mac || return
	ip -n mac addr add 10.1.0.3/24 dev m0 && ip -n mac link set m0 up && wait_for 20 reaches mac 10.1.0.2
}
check macvlan_loads modprobe macvlan
check macvlan macvlan
check macvlan_echo across 10.1.0.2 mac
check macvlan_goes ip netns del mac

# far -- switch -- c in a bridge -- veth -- a namespace.
ip netns add behind
bridge() {
	ip link add br0 type bridge && ip link set "$c" master br0 && ip link set "$c" up || return
	ip link add w0 type veth peer name w1 netns behind && ip link set w0 master br0 && ip link set w0 up && ip link set br0 up || return
	ip -n behind addr add 10.1.0.4/24 dev w1 && ip -n behind link set w1 up && wait_for 60 reaches behind 10.1.0.2
}
check bridge_loads modprobe bridge
check bridge bridge
check promiscuous_in_the_bridge host_says '^net2 .*filter=0x2[0-9a-f] ' nets
check bridge_echo across 10.1.0.2 behind
bridge_ends() { ip link set "$c" nomaster && ip link del br0 && ip netns del behind; }
check bridge_ends bridge_ends
not_promiscuous() { ! host_says '^net2 .*filter=0x[23][0-9a-f] ' nets; }
check not_promiscuous_any_more wait_for 10 not_promiscuous

# Two cards as one; the cable of the one that is used goes.
bond() {
	ip link set "$a" down && ip link set "$c" down && ip addr flush dev "$a" || return
	ip link add bond0 type bond mode active-backup miimon 100 && ip link set "$a" master bond0 && ip link set "$c" master bond0 || return
	ip addr add 10.1.0.1/24 dev bond0 && ip link set bond0 up && wait_for 20 pings 10.1.0.2
}
active() { equal "$1" "$(cat /sys/class/net/bond0/bonding/active_slave)"; }
check bonding_loads modprobe bonding max_bonds=0
check bond bond
check bond_uses_the_first active "$a"
check bond_echo across 10.1.0.2
check first_unplugged host link net0 down
check bond_uses_the_second wait_for 20 active "$c"
check bond_pings wait_for 20 pings 10.1.0.2
check bond_echo_by_the_second across 10.1.0.2
check first_plugged_in host link net0 up
check second_unplugged host link net2 down
check bond_uses_the_first_again wait_for 20 active "$a"
check bond_pings_again wait_for 20 pings 10.1.0.2
check bond_ends ip link del bond0
host link net2 up
# Each has its own address again.
check own_addresses equal '00:15:5d:00:01:00 00:15:5d:00:01:02' "$(cat "/sys/class/net/$a/address" "/sys/class/net/$c/address" | xargs)"
ip link set "$a" up
ip addr add 10.1.0.1/24 dev "$a"
check ping_after_bond wait_for 20 pings 10.1.0.2

# Frames in datagrams, with checksums and without.
vxlan() {
	ip link add x0 type vxlan id 42 local 10.1.0.1 remote 10.1.0.2 dstport 4789 dev "$a" "$1" || return
	far ip link add x0 type vxlan id 42 local 10.1.0.2 remote 10.1.0.1 dstport 4789 dev "$b" "$1" || return
	ip addr add 10.42.0.1/24 dev x0 && far ip addr add 10.42.0.2/24 dev x0 && ip link set x0 up && far ip link set x0 up || return
	wait_for 20 pings 10.42.0.2 && ping -c 1 -W 5 -s 4000 10.42.0.2 && across 10.42.0.2
	result=$?
	ip link del x0
	far ip link del x0
	return $result
}
check vxlan_loads modprobe vxlan
check vxlan vxlan noudpcsum
check vxlan_with_checksums vxlan udpcsum

# The kernel's own generator, each frame alone, the same one several times, and in bursts.
there=$(far cat "/sys/class/net/$b/address")
sent() { ethtool -S "$a" >/dev/null; cat "/sys/class/net/$a/statistics/tx_packets"; }
arrived() { far cat "/sys/class/net/$b/statistics/rx_packets"; }
all_arrived() { [ $(($(arrived) - before)) -ge "$count" ] || { echo "$(($(arrived) - before)) of $count arrived"; false; }; }
# generated COUNT BYTES [SETTING...]
generated() {
	count=$1 bytes=$2
	shift 2
	before=$(arrived)
	echo "rem_device_all" >/proc/net/pktgen/kpktgend_0
	echo "add_device $a" >/proc/net/pktgen/kpktgend_0
	for setting in "count $count" "pkt_size $bytes" "delay 0" "dst 10.1.0.2" "src_min 10.1.0.1" "dst_mac $there" "clone_skb 0" "burst 1" "$@"; do
		echo "$setting" >"/proc/net/pktgen/$a" || { echo "no '$setting'"; return 1; }
	done
	echo start >/proc/net/pktgen/pgctrl
	grep -q '^Result: OK' "/proc/net/pktgen/$a" || { grep Result "/proc/net/pktgen/$a"; return 1; }
	wait_for 20 all_arrived
}
check pktgen_loads modprobe pktgen
check pktgen_60 generated 2000 60
check pktgen_1514 generated 1000 1514
check pktgen_the_same_frame generated 2000 60 'clone_skb 100'
check pktgen_bursts generated 2000 60 'clone_skb 100' 'burst 16'
check pktgen_bursts_1514 generated 1000 1514 'burst 8'
check pktgen_unloads rmmod pktgen
check ping_after_pktgen wait_for 20 pings 10.1.0.2
check echo_after_pktgen across 10.1.0.2
for card in net0 net1 net2; do check "all_returned_$card" wait_for 10 all_returned $card; done
check namespace_ends ip netns del far
check no_violations equal '' "$(host violations)"
