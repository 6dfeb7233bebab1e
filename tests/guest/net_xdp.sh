# SPDX-License-Identifier: GPL-2.0
#: what     Programs of XDP in network cards: every action, redirected to and from others, kept over changes, refused
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc veth pci-hyperv vmxnet3
#: programs perl ethtool ip
#: args     --no-ic --net net0,switch=a,offload,rsc,channels=2,batch=8 --net net1,switch=a,offload,channels=2 --net net2 --net net3,vf=pci0 --pci pci0,function=vmxnet3,serial=5
#: cpus     2
#: seconds  600
# shellcheck disable=SC2154 # far_card sets a and b

# net0 is the card with programs; net1 is in a namespace, on the same switch; net2 has a peer of its own, and net3
# a virtual function beside it, for kernels that have its driver.

# xdp INTERFACE PROGRAM [ARGUMENT]: has the driver show frames to it; `none`: to none. A refusal is printed with its reason.
#   0...77    returns this number
#   reply     answers pings: exchanges the addresses, and sends them back
#   to N      redirects all to the interface with this number
#   tag N     puts a tag of this VLAN in front, 16 bytes of metadata before that, and passes it on
xdp() { perl /tmp/xdp.pl "$(cat "/sys/class/net/$1/ifindex")" "$2" "${3:-0}"; }
cat >/tmp/xdp.pl <<'PERL'
my ($index, $what, $arg) = @ARGV;
# Instructions: code, register to, register from, offset, number. An offset of $pass jumps to what passes the frame on.
my $pass = 0x7fff;
sub i { pack("CCsl", $_[0], $_[1] | $_[2] << 4, $_[3], $_[4]) }
sub mov { i(0xb7, $_[0], 0, 0, $_[1]) }
sub ld { i({ 1 => 0x71, 2 => 0x69, 4 => 0x61 }->{$_[0]}, $_[1], $_[2], $_[3], 0) }
sub st { i({ 1 => 0x73, 2 => 0x6b, 4 => 0x63 }->{$_[0]}, $_[1], $_[3], $_[2], 0) }
sub call { i(0x85, 0, 0, 0, $_[0]) }
sub unless_is { i(0x55, $_[0], 0, $pass, $_[1]) }
# The frame begins where register 2 says, and has so many bytes; register 1 or another one has the context.
sub frame { ld(4, 2, $_[1], 0) . ld(4, 3, $_[1], 4) . i(0xbf, 4, 2, 0, 0) . i(0x07, 4, 0, 0, $_[0]) . i(0x2d, 4, 3, $pass, 0) }
sub swap { ld($_[0], 5, 2, $_[1]) . ld($_[0], 0, 2, $_[2]) . st($_[0], 2, $_[1], 0) . st($_[0], 2, $_[2], 5) }
sub result { mov(0, $_[0]) . i(0x95, 0, 0, 0, 0) }
my %code = (
	# An echo request of ICMP becomes a reply; its checksum grows by the 8 that the type loses.
	reply => sub {
		frame(42, 1) . ld(2, 5, 2, 12) . unless_is(5, 8) . ld(1, 5, 2, 23) . unless_is(5, 1) . ld(1, 5, 2, 34) . unless_is(5, 8) .
		mov(5, 0) . st(1, 2, 34, 5) . ld(2, 5, 2, 36) . i(0x07, 5, 0, 0, 8) . i(0xbf, 0, 5, 0, 0) . i(0x77, 0, 0, 0, 16) .
		i(0x57, 5, 0, 0, 0xffff) . i(0x0f, 5, 0, 0, 0) . st(2, 2, 36, 5) . swap(4, 26, 30) . swap(4, 0, 6) . swap(2, 4, 10) .
		result(3) . result(2)
	},
	to => sub { mov(1, $arg) . mov(2, 0) . call(23) . i(0x95, 0, 0, 0, 0) },
	tag => sub {
		i(0xbf, 6, 1, 0, 0) . mov(2, -4) . call(44) . unless_is(0, 0) . frame(18, 6) .
		join("", map { ld(4, 5, 2, $_ + 4) . st(4, 2, $_, 5) } 0, 4, 8) .
		mov(5, unpack("l", pack("n2", 0x8100, $arg))) . st(4, 2, 12, 5) .
		i(0xbf, 1, 6, 0, 0) . mov(2, -16) . call(54) . unless_is(0, 0) . result(2)
	});
my $fd = -1;
if ($what ne "none") {
	my $insns = $code{$what} ? $code{$what}->() : result($what);
	my $count = length($insns) / 8;
	# The last two instructions pass it on.
	for my $at (0 .. $count - 1) {
		my $offset = unpack("s", substr($insns, $at * 8 + 2, 2));
		substr($insns, $at * 8 + 2, 2) = pack("s", $count - 2 - $at - 1) if $offset == $pass;
	}
	my ($licence, $log) = ("GPL\0", "\0" x 65536);
	my $attr = pack("LLQQLLQ", 6, $count, unpack("Q", pack("P", $insns)), unpack("Q", pack("P", $licence)), 1,
		length $log, unpack("Q", pack("P", $log))) . "\0" x 80;
	$fd = syscall(321, 5, $attr, length $attr);
	$fd >= 0 or do { $log =~ s/\0.*//s; die "load: " . ($! + 0) . " $log" };
}
# RTM_SETLINK with IFLA_XDP: the program, in the driver and not in front of the stack. The answer has the reason of a refusal.
my $xdp = pack("SSl", 8, 1, $fd) . pack("SSL", 8, 3, 4);
my $body = pack("CCSlLL", 0, 0, 0, $index, 0, 0) . pack("SS", 4 + length $xdp, 0x8000 | 43) . $xdp;
socket(my $netlink, 16, 3, 0) or die "socket: " . ($! + 0);
setsockopt($netlink, 270, $_, pack("l", 1)) or die "option: " . ($! + 0) for 10, 11;
syswrite $netlink, pack("LSSLL", 16 + length $body, 19, 5, 1, 0) . $body or die "write: " . ($! + 0);
sysread $netlink, my $answer, 8192 or die "read: " . ($! + 0);
my $error = unpack("l", substr($answer, 16, 4));
print "$error: ", join(" ", substr($answer, 36) =~ /[ -~]{4,}/g), "\n" if $error;
exit($error != 0);
PERL
# programs: how many there are in the kernel.
programs() {
	perl -e 'my ($id, $n) = (0, 0);
		while (1) { my $attr = pack("L", $id) . "\0" x 60; last if syscall(321, 11, $attr, length $attr); $id = unpack("x4L", $attr); $n++ }
		print "$n\n"'
}
one_program() { equal 1 "$(programs)"; }
no_programs() { equal 0 "$(programs)"; }
# refuses REASON COMMAND...: the command fails, and says why.
refuses() {
	reason=$1
	shift
	if said=$("$@" 2>&1); then echo "not refused" && return 1; fi
	case $said in *"$reason"*) ;; *) echo "$said" && false ;; esac
}
fails() { ! "$@"; }
# stat NAME: the sum over all queues, such as rx_xdp_drop.
stat() { ethtool -S "$a" | awk -v of="^ *${1%%_*}_queue_[0-9]*_${1#*_}:" '$0 ~ of { n += $2; seen = 1 } END { print seen ? n : "missing" }'; }
# counts NAME N COMMAND...: the command is successful, and adds at least N to the statistic.
counts() {
	name=$1 least=$2 before=$(stat "$1")
	shift 2
	"$@" || return
	between $((before + least)) 1000000000 "$(stat "$name")"
}
# What no kernel answers, but the program.
answered() { far ping -c "${1:-1}" -i 0.2 -W 2 ${2:+-s "$2"} 10.1.0.9; }
ignored() { ! far ping -c 5 -i 0.2 -W 1 10.1.0.1; }
lro() { ethtool -k "$a" | grep -q "^large-receive-offload: $1"; }

far_card
check third_card wait_for 30 has_card 00:15:5d:00:01:02
c=$(card 00:15:5d:00:01:02)
for n in 1 9; do far ip neigh replace 10.1.0.$n lladdr 00:15:5d:00:01:00 dev "$b"; done
for name in tx_xdp_xmit rx_xdp_drop rx_xdp_redirect rx_xdp_tx; do check "has_$name" equal 0 "$(stat $name)"; done

# What cannot be.
check lro_is_on lro on
check with_lro refuses 'not support LRO' xdp "$a" 2
check lro_off ethtool -K "$a" lro off
check mtu_4000 ip link set "$a" mtu 4000
check with_mtu refuses 'mtu too large' xdp "$a" 2
check no_program_left wait_for 10 no_programs
check mtu_1500 ip link set "$a" mtu 1500
check attached xdp "$a" 2
check lro_cannot_be_on fails ethtool -K "$a" lro on
check lro_is_off lro off
check ping_with_program wait_for 20 pings 10.1.0.2

# Passed on; the longest that there can be, too.
echo_to_far() { echoes_in far 10.1.0.2 && peer echo 10.1.0.2 100000; }
check echo_passed echo_to_far
check mtu_3500 ip link set "$a" mtu 3500
check far_mtu_3500 far ip link set "$b" mtu 3500
check carrier_3500 wait_for 20 pings 10.1.0.2
check long_passed wait_for 20 ping -c 1 -W 2 -s 3472 10.1.0.2
# The C driver takes leave of the host before it finds that out.
check mtu_too_large fails ip link set "$a" mtu 3900
check pings_after_refusal wait_for 20 pings 10.1.0.2
check mtu_back ip link set "$a" mtu 1500
far ip link set "$b" mtu 1500
check pings_after_mtu wait_for 20 pings 10.1.0.2

# Dropped.
check dropping xdp "$a" 1
check dropped counts rx_xdp_drop 5 ignored
check aborting xdp "$a" 0
check aborted counts rx_xdp_drop 5 ignored
check unknown xdp "$a" 77
check unknown_dropped counts rx_xdp_drop 5 ignored
check unknown_said logged 'XDP return value 77'

# Sent back.
check replying xdp "$a" reply
check answered counts rx_xdp_tx 10 answered 10
check answered_1400 counts rx_xdp_tx 10 answered 10 1400
flood() { far ping -A -q -i 0.01 -c "$1" -w 60 10.1.0.9 >/tmp/flood; few_lost; }
few_lost() {
	lost=$(sed -n 's/.* \([0-9]*\)% packet loss.*/\1/p' /tmp/flood)
	[ "${lost:-100}" -le 2 ] || { tail -n 3 /tmp/flood; false; }
}
check flooded counts rx_xdp_tx 1900 flood 2000
check all_returned_flood wait_for 10 all_returned net0

# The program stays, whatever becomes of the card.
stays() { wait_for 20 answered; }
for n in 1400 1500; do
	check "set_mtu_$n" ip link set "$a" mtu $n
	check "stays_mtu_$n" stays
done
for n in 1 2; do
	check "set_channels_$n" ethtool -L "$a" combined $n
	check "stays_channels_$n" stays
done
check set_few ethtool -G "$a" rx 100 tx 10
check stays_few stays
check flooded_few counts rx_xdp_tx 1900 flood 2000
check set_more ethtool -G "$a" rx 2000 tx 100
check stays_more stays
check set_down ip link set "$a" down
check no_answer_down fails answered
check set_up ip link set "$a" up
check stays_up stays

# With tags and metadata of its own.
check tagging xdp "$a" tag 7
check vlan ip link add link "$a" name v7 type vlan id 7
ip link set v7 up
tagged() { far ping -c 5 -i 0.2 -W 1 10.1.0.9; between $((tags + 5)) 1000000 "$(cat /sys/class/net/v7/statistics/rx_packets)"; }
tags=$(cat /sys/class/net/v7/statistics/rx_packets)
check tagged tagged
ip link del v7

# Replaced while frames come.
far ping -A -q -i 0.01 -w 20 10.1.0.9 >/dev/null &
replaced() {
	for n in $(seq 10); do
		for what in 1 reply 3 2 0 none; do xdp "$a" $what || return; done
	done
}
check replaced replaced
kill $! 2>/dev/null
wait
check replying_again xdp "$a" reply
check answers_again stays
check one_program_left wait_for 20 one_program

# From one card to another and back: the namespace reaches the peer of the third card.
check third_up ip link set "$c" up
check promiscuous ip link set "$a" promisc on
check third_promiscuous ip link set "$c" promisc on
check there xdp "$a" to "$(cat "/sys/class/net/$c/ifindex")"
check back xdp "$c" to "$(cat "/sys/class/net/$a/ifindex")"
far ip addr add 10.0.0.9/24 dev "$b"
across() { far ping -c "$1" -i 0.2 -W 2 10.0.0.1; }
check reaches wait_for 20 across 1
check redirected counts rx_xdp_redirect 10 across 10
check redirected_here counts tx_xdp_xmit 10 across 10
check echo_across far sh -c '. /scenario/lib.sh; peer echo 10.0.0.1 100000'
far ping -A -q -i 0.01 -c 2000 -w 60 10.0.0.1 >/tmp/flood
check flooded_across few_lost
check third_none xdp "$c" none

# From and to a pair of virtual interfaces.
check veth_loads load veth
check pair ip link add w0 type veth peer name w1
check inner ip netns add inner
ip link set w1 netns inner
inner() { ip netns exec inner "$@"; }
ip link set w0 up
inner ip link set w1 up
inner ip addr add 10.1.0.7/24 dev w1
inner ethtool -K w1 gro on tx off
check from_pair xdp w0 to "$(cat "/sys/class/net/$a/ifindex")"
check to_pair xdp "$a" to "$(cat /sys/class/net/w0/ifindex)"
outward() { inner ping -c "$1" -i 0.2 -W 2 10.1.0.2; }
check outward wait_for 20 outward 1
check counts_out counts tx_xdp_xmit 10 outward 10
check counts_in counts rx_xdp_redirect 10 outward 10
echo_outward() { echoes_in far 10.1.0.2 && ip netns exec inner sh -c ". /scenario/lib.sh; peer echo 10.1.0.2 100000"; }
check echo_outward echo_outward
inner ping -A -q -i 0.01 -w 20 10.1.0.2 >/dev/null &
down_and_up() { for n in 1 2 3; do ip link set "$a" down && ip link set "$a" up || return; sleep 1; done; }
check down_and_up down_and_up
kill $! 2>/dev/null
wait
check outward_again wait_for 20 outward 1

# Frames and messages that are not as they should be, of which the C driver hangs or reads what it has not.
check replying_at_last xdp "$a" reply
hostile() {
	host fault net0 "$1" 1 "$2" || return
	wait_for 20 answered || return
	struck "$1"
}
if ! c_drivers; then
	for size in 0 11 4294967295; do check "info_size_$size" hostile net-info-size $size; done
	for len in 0 5 13; do check "data_length_$len" hostile net-data-length $len; done
	check last_piece_alone hostile net-piece-no-first
	check joined_though_off hostile net-piece-no-last
	check joined_without_end hostile net-piece-count 30
	check joined_counted test "$(stat rx_xdp_drop)" -gt 15
fi
check all_returned wait_for 10 all_returned net0
check all_returned_far wait_for 10 all_returned net1
check all_returned_third wait_for 10 all_returned net2

# The driver goes with the program attached.
ip link del w0
check pair_gone wait_for 20 fails test -e /sys/class/net/w0
check netns_far ip netns del far
check netns_inner ip netns del inner
check unload unload hv_netvsc
check no_program wait_for 20 no_programs
check loads_again load hv_netvsc
check cards_again wait_for 30 has_card 00:15:5d:00:01:02
eth=$(card 00:15:5d:00:01:03)
check works_again use_card "$eth"

# The program is the virtual function's, too.
if modprobe -n vmxnet3 2>/dev/null; then
	path_goes() { host_says "^net3 .* path=$1 " nets; }
	takes_vf() { wait_for 60 has_vf && wait_for 30 path_goes vf && wait_for 20 carrier "$(vf)" 1; }
	check vf_lro_off ethtool -K "$eth" lro off
	check pci_loads load pci-hyperv
	check function_loads load vmxnet3
	check function_announced host net net3 vf 5
	check function_used takes_vf
	check vf_pings wait_for 20 pings 10.0.0.1
	check vf_passing xdp "$eth" 2
	check vf_passed wait_for 20 pings 10.0.0.1
	check vf_dropping xdp "$eth" 1
	check vf_dropped wait_for 20 mute 10.0.0.1
	check vf_still_dropped mute 10.0.0.1
	check vf_goes host rescind pci0
	check vf_gone wait_for 30 has_no_vf
	check vf_card_drops mute 10.0.0.1
	check vf_comes host offer pci0
	check vf_used_again takes_vf
	sleep 2
	check vf_drops_again mute 10.0.0.1
	check vf_passing_again xdp "$eth" 2
	check vf_passed_again wait_for 20 pings 10.0.0.1
	# So long that the function's driver refuses a program, where the card takes it. The C driver takes it away from both, and gives
	# back more references than it has.
	if ! c_drivers; then
		check vf_mtu ip link set "$eth" mtu 3500
		check vf_used_with_mtu takes_vf
		check vf_refuses refuses 'refuses the program' xdp "$eth" 1
		check vf_passes_as_before wait_for 20 pings 10.0.0.1
		check vf_one_program wait_for 20 one_program
	fi
	check vf_driver_goes unload vmxnet3
	check vf_alone wait_for 20 has_no_vf
	check vf_card_passes wait_for 20 pings 10.0.0.1
	check vf_one_left wait_for 20 one_program
	check vf_none xdp "$eth" none
	check vf_none_left wait_for 20 no_programs
	check pci_goes unload pci-hyperv
fi
check no_violations equal '' "$(host violations)"
