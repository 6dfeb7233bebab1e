# SPDX-License-Identifier: GPL-2.0
#: what     Under traffic both ways the host withdraws a card two hundred times and offers it again; another card works on; nothing leaks
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,offload,rsc,channels=2,batch=8 --net net1,offload,rsc,peer=10.0.1.1/24
#: cpus     2
#: memory   512M
#: cmdline  kmemleak=on
#: seconds  900

mac=00:15:5d:00:01:00
first_card
check ping use_card "$(card $mac)"
check second_card wait_for 30 has_card 00:15:5d:00:01:01
stays=$(card 00:15:5d:00:01:01)
ip link set "$stays" up
ip addr add 10.0.1.2/24 dev "$stays"
check second_ping wait_for 20 pings 10.0.1.1

traffic_begins
flood 10.0.0.1 &
transfers echo 10.0.0.1 50000 &
# A card that nobody withdraws has no excuse.
{ while [ -e /tmp/go ]; do peer source 10.0.1.1 20000 >/tmp/out 2>&1 || cat /tmp/out >>/tmp/wrong; echo >>/tmp/rounds-source; sleep 0.5; done; } &
asks_for_links &
check traffic flood_comes_back

no_card() { ! has_card $mac; }
offered() { host offer net0; }
comes_back() {
	wait_for 30 has_card $mac || { echo 'no card'; return 1; }
	eth=$(card $mac)
	ip link set "$eth" up && ip addr add 10.0.0.2/24 dev "$eth" && flood_comes_back || return
	# The C driver waits for its sub-channels with the RTNL held, for ever if the card is withdrawn before they come.
	! c_drivers || wait_for 20 host_says '^net0 .* channels=2 ' nets
}
goes() { host rescind net0 && wait_for 20 no_card || { echo 'the card stays'; return 1; }; }
rescind() { goes && offered && comes_back; }
check rescind_20 repeated 20 rescind
before=$(kernel_memory) free=$(free_memory)
check rescind_180_more repeated 180 rescind
after=$(kernel_memory) left=$(free_memory)
note "after 20 and 200 rescinds: kernel memory $before and $after kB, free $free and $left kB"
check kernel_memory_does_not_grow test $((after - before)) -lt 2048
# What programs have differs by some MiB from one moment to another. One ring kept each time would be twice as much.
check pages_are_given_back test $((free - left)) -lt 20480

# Withdrawn again before it is there, at another moment each time.
at_once() {
	goes || return
	for moment in 0 0.05 0.1 0.2 0.4; do offered && sleep $moment && host rescind net0 && wait_for 20 no_card || { echo "after $moment s"; return 1; }; done
	offered && comes_back
}
c_drivers || check withdrawn_at_once_5 repeated 5 at_once
# With a VLAN on the interface, which is in another namespace.
elsewhere() {
	eth=$(card $mac)
	ip netns add there && ip link add link "$eth" name v9 type vlan id 9 && ip link set "$eth" netns there || return
	ip netns exec there ip link set "$eth" up && host rescind net0 || return
	there_is_none() { ! ip netns exec there ip link show "$eth" >/dev/null 2>&1; }
	wait_for 20 there_is_none && ip netns del there && offered && comes_back
}
check in_a_namespace repeated 5 elsewhere

quiet
check nothing_wrong_arrived equal '' "$(cat /tmp/wrong)"
check links_were_told_of_at_once equal '' "$(cat /tmp/slow)"
for what in echo source; do check "rounds_$what" test -s "/tmp/rounds-$what"; done
check echo_after peer echo 10.0.0.1 100000
check second_echo_after peer echo 10.0.1.1 100000
for card in net0 net1; do check "all_returned_$card" wait_for 20 all_returned $card; done
check no_violations equal '' "$(host violations)"
check unloads unload hv_netvsc
check no_leak no_leak netvsc
