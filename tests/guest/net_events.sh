# SPDX-License-Identifier: GPL-2.0
#: what     What the host tells of a network card: speed, network, virtual functions; changes of channels, rings and flows
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,offload,channels=4,mode=openvmm,batch=8 --net net1,version=5,channels=2,peer=10.0.1.1/24
#: cpus     4
#: seconds  300

first_card
check second_card wait_for 30 has_card 00:15:5d:00:01:01
eth=$(card 00:15:5d:00:01:00)
old=$(card 00:15:5d:00:01:01)
ip link set "$eth" up
ip addr add 10.0.0.2/24 dev "$eth"
check four_channels wait_for 20 host_says '^net0 .* channels=4 ' nets
check two_channels_at_version_5 wait_for 20 host_says '^net1 .*version=5 .* channels=2 ' nets
check ping ping -c 2 -w 20 10.0.0.1
check speed_told host net net0 speed 40000
speed() { equal "$1" "$(cat "/sys/class/net/$eth/speed")"; }
check speed wait_for 10 speed 40000
# Down for two seconds, which are over soon.
downs() { cat "/sys/class/net/$eth/carrier_down_count"; }
before=$(downs)
was_down() { [ "$(downs)" -gt "$before" ]; }
check network_change host net net0 network-change
check down_for_a_while wait_for 10 was_down
check up_again wait_for 20 carrier "$eth" 1
# The C driver does not answer.
alive=$(c_drivers && echo 0 || echo 1)
check keepalive host net net0 keepalive
check sign_of_life wait_for 10 host_says "^net0 .* alive=$alive " nets
check keepalive_again host net net0 keepalive
c_drivers || check another_sign_of_life wait_for 10 host_says '^net0 .* alive=2 ' nets
check offloads_told host net net0 offload-config
check vf host net net0 vf 2
check vf_seen wait_for 10 logged 'VF slot 2 added'
check synthetic host net net0 synthetic
check vf_gone host net net0 no-vf
check vf_gone_seen wait_for 10 logged 'VF slot 0 removed|VF slot 2 removed'
check still_synthetic host_says '^net0 .* path=synthetic ' nets
check ping_after ping -c 2 -w 20 10.0.0.1

for n in 1 3 2 4; do
	check "channels_$n" ethtool -L "$eth" combined $n
	check "channels_told_$n" wait_for 20 host_says "^net0 .* channels=$n " nets
	check "echo_$n" peer echo 10.0.0.1 60000
done
check on_sub_channels host_says '^net0 .* on_sub_channels=[1-9]' nets
check flows_to_one ethtool -X "$eth" weight 0 0 0 1
check echo_on_one peer echo 10.0.0.1 60000
check flows_equal ethtool -X "$eth" equal 4
check rings ethtool -G "$eth" rx 1000 tx 100
check ping_with_other_rings ping -c 2 -w 20 10.0.0.1

ip link set "$old" up
ip addr add 10.0.1.2/24 dev "$old"
check old_ping ping -c 2 -w 20 10.0.1.1
check old_echo peer echo 10.0.1.1 60000
check all_returned wait_for 10 all_returned net0
check no_violations equal '' "$(host violations)"
