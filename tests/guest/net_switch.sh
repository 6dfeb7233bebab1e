# SPDX-License-Identifier: GPL-2.0
#: what     Two network cards on a switch, one of them in a namespace: large sends become coalesced frames, VLANs, promiscuous
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,switch=a,offload,rsc,batch=32 --net net1,switch=a,offload,rsc,mode=openvmm,batch=8,channels=2
#: cpus     2
#: seconds  300
# shellcheck disable=SC2154 # far_card sets a and b

far_card
check ping_in_fragments ping -c 2 -w 20 -s 20000 10.1.0.2

# A shell in the namespace has the functions of this one.
both_ways() {
	echoes_in far 10.1.0.2 || return
	peer echo 10.1.0.2 "$1"
}
check echo both_ways 300000
check large_sends host_says '^net0 .* large_sends=[1-9]' nets
check large_sends_back host_says '^net1 .* large_sends=[1-9]' nets
check lro ethtool -K "$a" lro on
check far_lro far ethtool -K "$b" lro on
check echo_coalesced both_ways 300000
check coalesced host_says '^net0 .* coalesced=[1-9]' nets
check coalesced_openvmm host_says '^net1 .* coalesced=[1-9]' nets
check offloads_off ethtool -K "$a" tx off tso off
check echo_one_sided both_ways 100000

check tag ip link add link "$a" name v7 type vlan id 7
check far_tag far ip link add link "$b" name v7 type vlan id 7
ip addr add 10.1.7.1/24 dev v7
far ip addr add 10.1.7.2/24 dev v7
ip link set v7 up
far ip link set v7 up
check tagged_ping wait_for 20 pings 10.1.7.2
check tags host_says '^net1 .* tags=[1-9]' nets

check promiscuous ip link set "$a" promisc on
check filter_told wait_for 10 host_says '^net0 .*filter=0x2[0-9a-f] ' nets
check not_promiscuous ip link set "$a" promisc off
check unplugged host link net1 down
check no_ping mute 10.1.0.2
check plugged_in host link net1 up
check ping_again wait_for 20 pings 10.1.0.2
check all_returned wait_for 10 all_returned net0
check all_returned_far wait_for 10 all_returned net1
check namespace_ends ip netns del far
check no_violations equal '' "$(host violations)"
