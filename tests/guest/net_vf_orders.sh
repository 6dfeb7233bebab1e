# SPDX-License-Identifier: GPL-2.0
#: what     A thousand switches of the data path, in haste and by events drawn by lot: association, function, links, the host, late and refused answers
#: host     rlis
#: kernels  stock-6.12
#: drivers  c rust rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc pci-hyperv vmxnet3
#: programs perl ethtool ip
#: args     --no-ic --net net0,vf=pci0 --pci pci0,function=vmxnet3,serial=5
#: cpus     2
#: soak     3000
#: seconds  600

# It ends with the thousandth switch, or when SOAK_SECONDS are over. What is drawn by lot is in the log, from the seed in
# its first line on. The guest has no clock that would be a seed: its first second is always the same.
seed=${SOAK_SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
note "seed $seed"
# draw WORD...: sets drawn to one of them.
draw() {
	seed=$(((seed * 1103515245 + 12345) & 0x7fffffff))
	shift $(((seed >> 16) % $#))
	drawn=$1
}


# What the host has said so far.
associated=0 there=1
function_there() {
	[ $there = 1 ] || host offer pci0 || return
	there=1
}
event() {
	case $1 in
	associate) host net net0 vf 5 && associated=1 ;;
	dissociate) host net net0 no-vf && associated=0 ;;
	eject | rescind)
		[ $there = 1 ] || return 0
		# A function that is just being found cannot be asked for yet.
		[ "$1" = rescind ] || wait_for 30 has_vf || return
		host "$1" pci0 && there=0
		;;
	offer) function_there ;;
	down | up) ! has_vf || ip link set "$(vf)" "$1" 2>/dev/null || true ;;
	card) ip link set "$eth" down && ip link set "$eth" up ;;
	plug) host link pci0 down && host link pci0 up ;;
	back) host net net0 synthetic ;;
	late) host fault net0 net-slow-switch 1 700 ;;
	refuse) host fault net0 net-refuse-switch 1 ;;
	mtu) draw 1400 1500 && ip link set "$eth" mtu "$drawn" ;;
	esac
}
# The C driver waits with the RTNL held for the association of a function that is up: it is never without.
events='associate eject rescind offer down up down up card plug back late refuse mtu'
c_drivers || events="$events dissociate dissociate"

# settles: with all that belongs to it the function is used, and the card without.
settles() {
	host faults --clear && function_there || return
	[ $associated = 1 ] || event associate || return
	wait_for 60 has_vf || { echo "not joined"; return 1; }
	ip link set "$eth" up && ip link set "$(vf)" down && ip link set "$(vf)" up || return
	wait_for 30 vf_used || { host nets; return 1; }
	wait_for 30 pings 10.0.0.1 && goes_by vf_sent vf_received 3 || { host nets; return 1; }
	ip link set "$(vf)" down && wait_for 30 path_is synthetic && goes_by sent received 3 || return
	ip link set "$(vf)" up
}

# hurries: ten times from the function to the card and back, each as soon as the one before is done.
hurries() {
	wait_for 30 vf_used || { host nets; return 1; }
	for i in 1 2 3 4 5 6 7 8 9 10; do
		draw "$(vf)" "$(vf)" "$eth"
		ip link set "$drawn" down && wait_for 30 path_is synthetic || { echo "$i: $drawn down"; host nets; return 1; }
		ip link set "$drawn" up && wait_for 30 vf_used || { echo "$i: $drawn up"; host nets; return 1; }
	done
	wait_for 30 pings 10.0.0.1 && goes_by vf_sent vf_received 3
}

cat_event() { echo "$1"; cat /tmp/event; false; }
cat_settles() { cat /tmp/settles; false; }

first_card
eth=$(card 00:15:5d:00:01:00)
check association event associate
check pci_loads load pci-hyperv
check function_loads load vmxnet3
check card_works use_card "$eth"
check settles_at_first settles
end=$(($(uptime) + SOAK_SECONDS))
round=0
while [ "$(uptime)" -lt $end ] && [ "$(counted net0 switches)" -lt 1000 ]; do
	round=$((round + 1))
	did=
	for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
		# shellcheck disable=SC2086
		draw $events
		what=$drawn
		did="$did $what"
		event "$what" >/tmp/event 2>&1 || { check "event_$round.$n" cat_event "$what"; }
	done
	note "round $round, $(counted net0 switches) switches:$did"
	settles >/tmp/settles 2>&1 || { check "settles_$round" cat_settles; break; }
	hurries >/tmp/settles 2>&1 || { check "hurries_$round" cat_settles; break; }
done
check rounds test $round -ge 3
# Fewer where a test has less time.
[ "$SOAK_SECONDS" -lt 3000 ] || check thousand_switches test "$(counted net0 switches)" -ge 1000
note "$round rounds, $(counted net0 switches) switches"
check settles_at_last settles
check all_returned wait_for 10 all_returned net0
check function_unloads unload vmxnet3
check alone wait_for 10 has_no_vf
check pci_unloads unload pci-hyperv
check card_unloads unload hv_netvsc
check no_violations equal '' "$(host violations)"
