# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs in the guest of scripts/bench-net, behind profile.sh. Under -icount the guest's cycle counter counts instructions: each line
# `rlis-bench: NAME N` says that one frame took N tenths of them, NAME.host that the test bus's host took N tenths, which
# are not in the figure before, and NAME.signals how many signals to the host there were for a hundred frames.

# measure NAME COMMAND INTERFACE BYTES BATCH RUN COUNT [FLAG...]: once to warm up, with a tenth of the frames.
measure() {
	wanted "$1" || return 0
	row=$1 verb=$2 eth=$3 bytes=$4 batch=$5 run=$6 count=$7
	shift 7
	for times in $((count / 10 / run * run)) "$count"; do
		# A driver may have no such thing yet; what is missing is missing in the table.
		ctl "$verb" 0 "$eth" "$bytes" "$batch" "$run" "$(operations "$times")" "$@" || {
			note "$row: the load ended with an error"
			return
		}
	done
	figures "$row"
}
# interface: waits for the card's, and takes it up.
interface() {
	wait_for 30 has_card 00:15:5d:01:00:00 || exit 1
	eth=$(card 00:15:5d:01:00:00)
	ip link set "$eth" up
	wait_for 20 carrier "$eth" 1 || exit 1
}
# program RETURN-CODE: an XDP program that returns it for every frame, until the returned process ends.
program() {
	perl -e 'my ($ifindex, $code) = @ARGV;
		my $insns = pack("CCsl" x 2, 0xb7, 0, 0, $code, 0x95, 0, 0, 0); my $licence = "GPL\0";
		my $attr = pack("LLQQ", 6, 2, unpack("Q", pack("P", $insns)), unpack("Q", pack("P", $licence))) . "\0" x 96;
		my $prog = syscall(321, 5, $attr, length $attr); $prog >= 0 or die "load: " . ($! + 0);
		# In the driver, not in front of the stack.
		my $link = pack("LLLL", $prog, $ifindex, 37, 4) . "\0" x 48;
		my $fd = syscall(321, 28, $link, length $link); $fd >= 0 or die "attach: " . ($! + 0);
		open(my $out, ">", "/tmp/attached"); close $out; sleep 1000' "$(cat "/sys/class/net/$eth/ifindex")" "$1" 2>/tmp/program &
}
# with_program NAME RETURN-CODE COMMAND...: measures with it.
with_program() {
	wanted "$1" || return 0
	rm -f /tmp/attached
	name=$1
	program "$2"
	shift 2
	wait_for 5 test -e /tmp/attached || { note "$name: no program: $(cat /tmp/program)"; return; }
	measure "$name" "$@"
	kill $!
	wait
}

[ ! -e /modules/ucs2_string.ko ] || insmod /modules/ucs2_string.ko
insmod /modules/hv_loop.ko softirq=1 scsi=0 net=1 && insmod /modules/hv_netvsc.ko || exit 1
placed hv_loop hv_netvsc
interface
measure tx_64_alone send "$eth" 64 1 1 4000
measure tx_64 send "$eth" 64 64 1 16000
measure tx_64_burst8 send "$eth" 64 64 8 16000
measure tx_64_clone send "$eth" 64 64 1 16000 clone
measure tx_1514 send "$eth" 1514 64 1 16000
measure lso_64k send "$eth" 61494 8 1 2000
measure rx_64 take "$eth" 64 64 1 16000
measure rx_64_ranges32 take "$eth" 64 64 32 16000
measure rx_1514 take "$eth" 1514 64 1 16000
measure rx_1514_ranges32 take "$eth" 1514 64 32 16000
ip addr add 10.0.0.2/24 dev "$eth"
measure rx_64_socket take "$eth" 64 32 1 16000 socket
measure rsc_64k take "$eth" 1514 43 43 8600 coalesced
# With coalescing there is no XDP.
ethtool -K "$eth" lro off
wait_for 20 carrier "$eth" 1
with_program xdp_drop 1 take "$eth" 64 64 32 16000 dropped
with_program xdp_redirect_in 2 send "$eth" 64 64 1 16000 redirect
with_program xdp_tx 3 take "$eth" 64 64 32 16000 dropped
ip link set "$eth" mtu 9000
wait_for 20 carrier "$eth" 1 || exit 1
measure rx_9000 take "$eth" 9014 32 8 4000
# The time that a driver takes from the offer to its interface.
ctl rescind 0
ctl offer 0
figures attach
interface
no_violations || report violations FAIL
rmmod hv_netvsc
rmmod hv_loop
