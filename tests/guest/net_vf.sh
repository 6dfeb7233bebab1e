# SPDX-License-Identifier: GPL-2.0
#: what     A virtual function beside a network card: joined, switched to and back, taken away under load, in any order
#: host     rlis
#: kernels  stock-6.12
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc pci-hyperv vmxnet3
#: programs perl ethtool ip
#: args     --no-ic --net net0,vf=pci0 --pci pci0,function=vmxnet3,serial=5
#: cpus     2
#: seconds  600
#: c:net-no-switch  waits for ever, with the RTNL held
#: ours:net-no-switch  goes on by the card

# The C driver holds the RTNL and waits without end for what the host may never send: the association, once the function is
# up, and the answer to SWITCH_DATA_PATH. The first is sent below as soon as it waits; that the second never comes is tried
# with ours alone.

pcis() { host pcis | sed -n "s/^pci0 .* $1=\\([^ ]*\\).*/\\1/p"; }
by_function() { goes_by vf_sent vf_received 5; }
by_card() { goes_by sent received 5; }
lines() { dmesg | grep -v rlis-check | grep -c "$1"; }
# again PATTERN COMMAND...: the kernel says so once more because of COMMAND.
again() {
	pattern=$1 before=$(lines "$1")
	shift
	"$@" && wait_for 30 more
}
more() { [ "$(lines "$pattern")" -gt "$before" ]; }
stat() { $in ethtool -S "$eth" | sed -n "s/^ *$1: //p"; }
flag() { [ $(($($in cat "/sys/class/net/$1/flags") & $2)) -ne 0 ]; }

first_card
eth=$(card 00:15:5d:00:01:00)
check no_function_yet host rescind pci0
check pci_loads load pci-hyperv
check function_loads load vmxnet3
check card_works use_card "$eth"
check synthetic_at_first path_is synthetic

# The association comes first.
check associated again 'VF slot 5 added' host net net0 vf 5
check function_comes host offer pci0
check joined wait_for 60 has_vf
check switched wait_for 30 vf_used
vf=$(vf)
check says_registering logged "VF registering: $vf"
check says_joined logged "$vf.*: joined to $eth"
check says_switched logged "$eth.*: Data path switched to VF: $vf"
check slot_is_the_serial test -d /sys/bus/pci/slots/5
check master equal "$eth" "$(basename "$(readlink "/sys/class/net/$vf/master")")"
check upper test -e "/sys/class/net/$vf/upper_$eth"
shows_master() {
	shown=$(ip link show dev "$vf")
	case $shown in *SLAVE*" master $eth "*) ;; *) echo "$shown" && false ;; esac
}
check ip_shows_master shows_master
check same_address equal 00:15:5d:00:01:00 "$(cat "/sys/class/net/$vf/address")"
check is_slave flag "$vf" 0x800
no_address() {
	shown=$(ip addr show dev "$vf")
	case $shown in *inet*) echo "$shown" && false ;; *"$vf:"*) ;; *) echo "nothing shown" && false ;; esac
}
check no_address_of_its_own no_address
check pings_by_function by_function
quiet=$(counted net0 sent)
check echo peer echo 10.0.0.1 100000
check udp peer udp 10.0.0.1 1 1400 4000
check nothing_by_card equal "$quiet" "$(counted net0 sent)"
for name in vf_rx_packets vf_rx_bytes vf_tx_packets vf_tx_bytes; do check "counts_$name" test "$(stat $name)" -gt 10; done
check counts_drops equal 0 "$(stat vf_tx_dropped)"

# Taken down and up by itself.
for i in 1 2 3; do
	check "down_$i" again "Data path switched from VF: $vf" ip link set "$vf" down
	check "back_to_card_$i" path_is synthetic
	check "pings_by_card_$i" by_card
	check "up_$i" again "Data path switched to VF: $vf" ip link set "$vf" up
	check "pings_again_$i" by_function
done
check card_down ip link set "$eth" down
check function_is_down wait_for 10 path_is synthetic
check card_up ip link set "$eth" up
check function_is_up wait_for 10 path_is vf
check pings_after_both by_function

# Taken away, asked and unasked, and back, while pings go on.
flood() { ping -i 0.2 -W 2 10.0.0.1 >/tmp/pings 2>&1 & pings=$!; }
few_lost() {
	kill -INT $pings
	wait $pings
	lost=$(sed -n 's/.* \([0-9]*\)% packet loss.*/\1/p' /tmp/pings)
	[ "${lost:-100}" -le 30 ] || { tail -n 3 /tmp/pings; false; }
}
for how in eject rescind; do
	flood
	check "taken_$how" again 'VF unregistering' host $how pci0
	check "alone_$how" wait_for 30 has_no_vf
	check "card_goes_on_$how" wait_for 10 by_card
	check "path_$how" path_is synthetic
	check "offered_$how" host offer pci0
	check "joined_$how" wait_for 60 has_vf
	check "switched_$how" wait_for 30 vf_used
	check "pings_$how" by_function
	check "few_lost_$how" few_lost
done
vf=$(vf)

# What is set on the card.
mtu() { [ "$(cat "/sys/class/net/$vf/mtu")" = "$1" ] && [ "$(pcis mtu)" = "$1" ]; }
for size in 1400 9000 1500; do
	check "mtu_$size" ip link set "$eth" mtu $size
	check "mtu_passed_on_$size" wait_for 10 mtu $size
	check "pings_with_mtu_$size" wait_for 20 pings 10.0.0.1
	# The C driver does not switch again when it has opened the card again.
	if c_drivers; then ip link set "$vf" down; ip link set "$vf" up; fi
	check "switched_with_mtu_$size" wait_for 20 vf_used
	check "long_pings_$size" ping -c 2 -s $((size - 28)) -w 20 10.0.0.1
	check "pings_by_function_$size" by_function
done
check promiscuous ip link set "$eth" promisc on
check function_is_promiscuous wait_for 10 flag "$vf" 0x100
check promiscuous_no_more ip link set "$eth" promisc off
check pings_by_function_again by_function

# The host moves the path, and is late, or cannot.
check host_switches_back host net net0 synthetic
check pings_after_that wait_for 20 pings 10.0.0.1
check refuses host fault net0 net-refuse-switch 1
ip link set "$vf" down
ip link set "$vf" up
check refused wait_for 20 struck net-refuse-switch
check stays_synthetic path_is synthetic
check pings_when_refused wait_for 20 pings 10.0.0.1
check is_late host fault net0 net-slow-switch 1 2000
ip link set "$vf" down
ip link set "$vf" up
check late wait_for 20 struck net-slow-switch
check switched_late wait_for 20 vf_used
# The host has switched before its answer is here, which is what the driver waits for.
check pings_when_late wait_for 20 by_function

# The function's own cable.
check cable_out host link pci0 down
check function_has_no_carrier wait_for 20 carrier "$vf" 0
check cable_in host link pci0 up
check function_has_carrier wait_for 20 carrier "$vf" 1
check pings_with_cable wait_for 20 by_function

# The card takes the function along to another namespace and back.
check namespace ip netns add blue
check moved ip link set "$eth" netns blue
in='ip netns exec blue'
check function_moved wait_for 20 has_vf
check gone_here sh -c "! [ -e /sys/class/net/$vf ]"
$in ip link set "$eth" up
$in ip addr add 10.0.0.2/24 dev "$eth"
check pings_there wait_for 30 by_function
check moved_back $in ip link set "$eth" netns 1
in=
check function_moved_back wait_for 20 has_vf
use_card "$eth"
check used_back_here wait_for 30 vf_used
check pings_back_here by_function
check namespace_gone ip netns del blue

# The function comes first.
check dissociated again 'VF slot .* removed' host net net0 no-vf
check ejected host eject pci0
check alone_again wait_for 30 has_no_vf
before_it=$(lines 'Data path switched to VF')
check function_comes_first host offer pci0
check joined_without wait_for 60 has_vf
sleep 3
check not_switched equal "$before_it" "$(lines 'Data path switched to VF')"
check still_synthetic path_is synthetic
check associated_late again 'Data path switched to VF' host net net0 vf 5
check pings_late wait_for 20 by_function

if ! c_drivers; then
	# No answer at all: the driver goes on by the card.
	vf=$(vf)
	check no_answer host fault net0 net-no-switch 1
	ip link set "$vf" down
	check never_answered wait_for 20 struck net-no-switch
	check pings_unanswered wait_for 30 pings 10.0.0.1
	check up_unanswered ip link set "$vf" up
	check pings_in_the_end wait_for 30 pings 10.0.0.1
fi

# Drivers come and go in turn.
vf=$(vf)
check card_s_driver_goes unload hv_netvsc
check function_stays test -e "/sys/class/net/$vf"
check no_master_left sh -c "! [ -e /sys/class/net/$vf/master ]"
check card_s_driver_comes load hv_netvsc
its_name() { find /sys/bus/vmbus/drivers/hv_netvsc/*-*/net -mindepth 1 -maxdepth 1 2>/dev/null | sed "s,.*/,,"; }
has_name() { [ -n "$(its_name)" ]; }
check card_is_back wait_for 30 has_name
eth=$(its_name)
check joined_again wait_for 30 has_vf
check card_works_again use_card "$eth"
check used_again wait_for 30 vf_used
check pings_again by_function
check function_s_driver_goes unload vmxnet3
check alone_without_driver wait_for 10 has_no_vf
check pings_without_function by_card
check function_s_driver_comes load vmxnet3
check used_with_driver wait_for 30 vf_used
check pings_with_function by_function
check all_returned wait_for 10 all_returned net0
check pci_unloads unload pci-hyperv
check pings_without_pci by_card
check nothing_refused equal 1 "$(counted net0 switches_refused)"
check card_unloads unload hv_netvsc
check function_unloads unload vmxnet3
check no_violations equal '' "$(host violations)"
