# SPDX-License-Identifier: GPL-2.0
#: what     Under traffic both ways the driver goes and comes back a hundred times, CPUs, cables, MTU and interface come and go; nothing leaks
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,offload,rsc,channels=2,batch=8
#: cpus     2
#: memory   512M
#: cmdline  kmemleak=on
#: seconds  900

mac=00:15:5d:00:01:00
first_card
eth=$(card $mac)
check ping use_card "$eth"
check two_channels wait_for 20 host_says '^net0 .* channels=2 ' nets

traffic_begins
flood 10.0.0.1 &
transfers echo 10.0.0.1 50000 &
asks_for_links &
check traffic flood_comes_back

# The module goes while frames are under way in both directions.
reload() {
	unload hv_netvsc || { echo 'it does not unload'; return 1; }
	load hv_netvsc && wait_for 30 has_card $mac || { echo 'no card'; return 1; }
	eth=$(card $mac)
	ip link set "$eth" up && ip addr add 10.0.0.2/24 dev "$eth" && flood_comes_back
}
check reload_20 repeated 20 reload
before=$(kernel_memory) free=$(free_memory)
check reload_80_more repeated 80 reload
after=$(kernel_memory) left=$(free_memory)
note "after 20 and 100 reloads: kernel memory $before and $after kB, free $free and $left kB"
check kernel_memory_does_not_grow test $((after - before)) -lt 2048
# What programs have differs by some MiB from one moment to another. One ring kept each time would be twice as much.
check pages_are_given_back test $((free - left)) -lt 20480
eth=$(card $mac)
check two_channels_after wait_for 20 host_says '^net0 .* channels=2 ' nets

online() { echo "$1" >/sys/devices/system/cpu/cpu1/online; }
cpu() { online 0 && flood_comes_back && online 1 && flood_comes_back; }
check cpu_10 repeated 10 cpu
sizes() {
	for mtu in 9000 576 1500; do ip link set "$eth" mtu $mtu && flood_comes_back || { echo "MTU $mtu"; return 1; }; done
}
check mtu_8 repeated 8 sizes
channels() { ethtool -L "$eth" combined 1 && flood_comes_back && ethtool -L "$eth" combined 2 && flood_comes_back; }
check channels_8 repeated 8 channels
cable() { host link net0 down && wait_for 10 carrier "$eth" 0 && host link net0 up && flood_comes_back; }
check cable_20 repeated 20 cable
# Faster than anybody could notice.
flaps() {
	for _ in 1 2 3 4; do host link net0 down && host link net0 up || return; done
	wait_for 10 carrier "$eth" 1 && flood_comes_back
}
check flaps_5 repeated 5 flaps
interface() { ip link set "$eth" down && ip link set "$eth" up && flood_comes_back; }
check interface_20 repeated 20 interface

quiet
check nothing_wrong_arrived equal '' "$(cat /tmp/wrong)"
check links_were_told_of_at_once equal '' "$(cat /tmp/slow)"
check rounds test -s /tmp/rounds-echo
check echo_after peer echo 10.0.0.1 100000
check source_after peer source 10.0.0.1 100000
check all_returned wait_for 20 all_returned net0
check no_violations equal '' "$(host violations)"
check unloads unload hv_netvsc
check no_leak no_leak netvsc
