# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What scenarios have at hand. A scenario names each thing it found out with `check`; the runner counts those
# lines, and fails a scenario that never came to its end or whose kernel complained.

# report NAME ok|FAIL [DETAIL]
report() {
	# One write is one line of the kernel's log; longer details are cut there.
	printf 'rlis-check: %s\n' "$(echo "$*" | tr '\n' ' ' | cut -c1-700)" >/dev/kmsg
}

# check NAME COMMAND...: ok if COMMAND succeeds; its last output lines are the detail if it does not.
check() {
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		report "$name" ok
	else
		report "$name" FAIL "'$*' ended with $?: $(echo "$output" | tail -n 4)"
		return 1
	fi
}

# note TEXT...: a line in the guest's log, not a check.
note() { printf 'rlis-note: %s\n' "$*" >/dev/kmsg; }

# logged PATTERN: the kernel's log has a line that matches the extended regular expression.
logged() { dmesg | grep -v 'rlis-check:' | grep -qE "$1" || { echo "no line matches: $1"; false; }; }

# equal WANT GOT
equal() { [ "$1" = "$2" ] || { echo "wanted '$1', got '$2'"; false; }; }

# between LEAST MOST GOT
between() { [ "$3" -ge "$1" ] && [ "$3" -le "$2" ] || { echo "$3 is not between $1 and $2"; false; }; }

# uptime: of the guest, in whole seconds.
uptime() { cut -d. -f1 /proc/uptime; }

# disk_of_mib SIZE: the name of the disk of that many MiB.
disk_of_mib() { for d in /sys/block/sd*; do [ "$(cat "$d/size" 2>/dev/null)" = $(($1 * 2048)) ] && basename "$d"; done | grep .; }

# hibernate: writes the image; with `test_resume` in /sys/power/disk it is restored at once.
hibernate() { echo disk >/sys/power/state; }

# wait_for SECONDS COMMAND...: tries COMMAND until it succeeds, for longer where the machine is busy with other things.
wait_for() {
	limit=$(($(uptime) + $1 * ${PATIENCE:-1}))
	shift
	until "$@"; do
		[ "$(uptime)" -lt "$limit" ] || return 1
		sleep 0.2
	done
}

# ends_in_error SECONDS COMMAND...: COMMAND ends within that time, and fails.
ends_in_error() {
	local limit=$1
	shift
	"$@" &
	job=$!
	ended() { ! kill -0 $job 2>/dev/null; }
	wait_for "$limit" ended || { echo "it hangs: $*"; return 1; }
	! wait $job
}

# repeated COUNT COMMAND...: COMMAND succeeds so many times, one after the other; if it does not, this tells when, and its last words.
repeated() {
	local count=$1 round said
	shift
	for round in $(seq "$count"); do
		said=$("$@" 2>&1) || { echo "round $round of $count: $(echo "$said" | tail -n 3)"; return 1; }
	done
}

# kernel_memory: what the kernel has in use for itself, in kB, without caches that it can give back. free_memory: what nobody uses.
kernel_memory() {
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^(Slab|Percpu):/ { n += $2 } END { print n }' /proc/meminfo
}
free_memory() { awk '/^MemFree:/ { print $2 }' /proc/meminfo; }

# load MODULE [PARAMETER...] loads what it depends on too; unload MODULE takes away just it. Which .ko stands behind
# a name was chosen by DRIVERS= when the guest was made.
# A module that the kernel has built in is loaded already. Kernels come with a list of those, or sysfs knows the module
# and /proc/modules does not.
load() { built_in "$1" || modprobe "$@"; }
built_in() {
	grep -qE "/$(echo "$1" | sed 's/[-_]/[-_]/g')\.ko$" /lib/modules/*/modules.builtin 2>/dev/null && return
	set -- "$(echo "$1" | tr - _)"
	[ -d "/sys/module/$1" ] && ! loaded "$1"
}
unload() { rmmod "$1"; }
loaded() { grep -q "^$1 " /proc/modules; }

# c_drivers: what is above the bus is the kernel's own, whatever the bus is.
c_drivers() { case $DRIVERS in c | rustbus) ;; *) false ;; esac; }

# vmbus_device CLASS-GUID: the sysfs folder of the first device of a class.
vmbus_device() {
	for device in /sys/bus/vmbus/devices/*; do
		[ "$(cat "$device/class_id" 2>/dev/null)" = "{$1}" ] && { echo "$device"; return; }
	done
	echo "no device of class $1"
	return 1
}

# host COMMAND...: has the test host carry out a command (`rlis-host ctl help` lists them) by the guest's second
# serial port, and prints the lines of its answer. Fails with the host's sentence if the host says no.
host() {
	stty -F /dev/ttyS1 raw -echo
	exec 7<>/dev/ttyS1
	printf '%s\n' "$*" >&7
	# The longest command is a freeze, which the guest may take its time for.
	IFS= read -t 100 -r answer <&7 || answer='error no answer from the host'
	exec 7>&-
	case $answer in
	ok) ;;
	'ok '*) echo "${answer#ok }" | sed 's/; /\n/g' ;;
	*)
		echo "host $*: ${answer#error }"
		return 1
		;;
	esac
}

# none_armed: the host has no fault left that has not struck.
none_armed() { [ -z "$(host faults)" ]; }

# host_says PATTERN COMMAND...: the host's answer to COMMAND has a line that matches the extended regular expression.
host_says() {
	pattern=$1
	shift
	said=$(host "$@") || { echo "$said"; return 1; }
	echo "$said" | grep -qE "$pattern" || { echo "host $*: no line matches '$pattern' in: $said"; false; }
}

# archive: packs this guest's files, without the kernel that it carries, as /tmp/initrd, for a kernel started by kexec.
archive() {
	(cd / && find . -xdev ! -path './proc/*' ! -path './sys/*' ! -path './dev/*' ! -path './tmp/*' ! -path ./scenario/kernel |
		cpio -o -H newc 2>/dev/null | gzip -1) >/tmp/initrd
	test -s /tmp/initrd
}

# all_in_use STAGE: loads the bus, the disk and the services, and sees that the host answers each. Whatever ran in this
# guest before has left no connection.
all_in_use() {
	check "no_connection_$1" disconnected
	check "bus_loads_$1" load hv_vmbus
	check "storvsc_loads_$1" load hv_storvsc
	check "utils_load_$1" load hv_utils
	check "disk_$1" wait_for 30 test -b /dev/sda
	check "heartbeat_$1" wait_for 20 host_says 'answered=[1-9]' heartbeat
}
disconnected() { ! host version; }
# read_on: reads the disk for as long as this kernel runs; the host has no complaint so far.
read_on() {
	while :; do dd if=/dev/sda of=/dev/null bs=64k iflag=direct 2>/dev/null; done &
	sleep 1
	check no_violations_before equal '' "$(host violations)"
}
# all_unloads: takes it away again.
all_unloads() {
	check storvsc_unloads wait_for 20 unload hv_storvsc
	check utils_unload unload hv_utils
	check bus_unloads unload hv_vmbus
	# The C bus of 6.12 sends no UNLOAD when it is unloaded.
	[ "$DRIVERS" = c ] || check connection_ended disconnected
	check no_violations equal '' "$(host violations)"
}

# no_leak [PATTERN]: kmemleak, where the kernel has it at work (the debug kernel with kmemleak=on), finds no memory that
# nobody can reach; with PATTERN, none whose call trace has a line that matches. It looks twice, since what is just being
# handed over looks lost.
no_leak() {
	leaks=/sys/kernel/debug/kmemleak
	echo scan 2>/dev/null >$leaks || { note 'this kernel does not look for leaks'; return 0; }
	sleep 6
	echo scan >$leaks
	grep -A20 unreferenced $leaks | grep -qE "${1:-.}" || return 0
	# A line at a time, since the log takes no long ones.
	head -n 200 $leaks | while read -r line; do note "leak: $line"; done
	grep -A20 unreferenced $leaks | grep -m 4 -E "${1:-.}"
	false
}

# PTP clocks by the system's own calls; a scenario that reads one names the program perl. Errors are printed as numbers.

# ptp_time DEVICE: its time in seconds since 1970.
ptp_time() {
	perl -e 'open(my $ptp, "+<", $ARGV[0]) or die $!; my $time = "\0" x 16;
		# clock_gettime, and FD_TO_CLOCKID of the descriptor.
		syscall(228, (~fileno($ptp) << 3 | 3) & 0xffffffff, $time) == 0 or do { print $! + 0; exit };
		printf "%d.%09d\n", unpack("qq", $time)' "$1"
}
# ptp_advances DEVICE: it goes on, by more than a second and less than twenty.
ptp_advances() {
	was=$(ptp_time "$1")
	sleep 1
	is=$(ptp_time "$1")
	awk -v was="$was" -v is="$is" 'BEGIN { d = is - was; if (d < 1 || d > 20) { print was " became " is; exit 1 } }'
}
# ptp_set DEVICE: tries to set it.
ptp_set() {
	perl -e 'open(my $ptp, "+<", $ARGV[0]) or die $!; my $time = pack("qq", 1, 0);
		print syscall(227, (~fileno($ptp) << 3 | 3) & 0xffffffff, $time) == 0 ? 0 : $! + 0' "$1"
}
# ptp_offset DEVICE: how many seconds it is ahead of the system, by PTP_SYS_OFFSET_EXTENDED.
ptp_offset() {
	perl -e 'open(my $ptp, "+<", $ARGV[0]) or die $!; my $samples = pack("L", 3) . "\0" x 1212;
		ioctl($ptp, 0xC4C03D09, $samples) or do { print $! + 0; exit };
		my @t = unpack("x16(qLx4)3", $samples); my ($a, $p, $b) = map { $t[2 * $_] + $t[2 * $_ + 1] / 1e9 } 0 .. 2;
		$a <= $b or die "the time before is later than the time after"; printf "%.6f\n", $p - ($a + $b) / 2' "$1"
}
# ptp_cross DEVICE: the same by PTP_SYS_OFFSET_PRECISE, both times at one moment.
ptp_cross() {
	perl -e 'open(my $ptp, "+<", $ARGV[0]) or die $!; my $stamp = "\0" x 64;
		ioctl($ptp, 0xC0403D08, $stamp) or do { print $! + 0; exit };
		my @t = unpack("(qLx4)3", $stamp); printf "%.9f\n", $t[0] - $t[2] + ($t[1] - $t[3]) / 1e9' "$1"
}

# has_cross_timestamps: whether a module can give this kernel's PTP core times of both clocks at one moment: not before 6.8.
has_cross_timestamps() { case $(uname -r) in 6.1.*) return 1 ;; esac; }

# Network cards and their peers; a scenario that sends by `peer` names the program perl.

# The shell takes busybox's own program of a name before any other; a scenario that names the program ip means iproute2.
[ ! -x /usr/bin/ip ] || ip() { /usr/bin/ip "$@"; }

# card MAC: the interface with this address.
card() {
	for net in /sys/class/net/*; do
		[ "$(cat "$net/address")" = "$1" ] && basename "$net"
	done
}
has_card() { [ -n "$(card "$1")" ]; }
carrier() { equal "$2" "$(cat "/sys/class/net/$1/carrier")"; }
# pings ADDRESS: it answers within a second. mute ADDRESS: it does not. `ping` by itself waits ten seconds for the last.
pings() { ping -c 1 -W 1 "$1"; }
mute() { ! pings "$1"; }
# first_card: loads bus and driver; the host's first card is there.
first_card() {
	check bus_loads load hv_vmbus
	check network_loads load hv_netvsc
	check card_found wait_for 30 has_card 00:15:5d:00:01:00
}
# far_card: the two first cards of a switch: $a is here, with 10.1.0.1, and $b in a namespace, with 10.1.0.2.
# far COMMAND...: runs it there.
far_card() {
	first_card
	check second_card wait_for 30 has_card 00:15:5d:00:01:01
	a=$(card 00:15:5d:00:01:00)
	b=$(card 00:15:5d:00:01:01)
	check namespace ip netns add far
	check moved ip link set "$b" netns far
	far ip link set lo up
	check up ip link set "$a" up
	check far_up far ip link set "$b" up
	ip addr add 10.1.0.1/24 dev "$a"
	far ip addr add 10.1.0.2/24 dev "$b"
	check ping wait_for 20 pings 10.1.0.2
}
far() { ip netns exec far "$@"; }
# use_card INTERFACE: takes it up, at 10.0.0.2; its peer answers.
use_card() {
	ip link set "$1" up
	ip addr add 10.0.0.2/24 dev "$1" 2>/dev/null
	wait_for 20 pings 10.0.0.1
}
# survives FAULT [VALUE]: it strikes the next frame of net0, and the proper one behind it arrives.
survives() {
	host fault net0 "$1" 1 "$2" || return
	wait_for 20 pings 10.0.0.1 || return
	struck "$1"
}
# struck FAULT: it has, as often as it was to.
struck() { ! host faults | grep -q "net0 $1" || { echo "$1 did not strike"; false; }; }
# starts_with FAULT VALUE [COUNT]: loads the driver while the host does this; stops: ends that, and takes the driver out.
starts_with() {
	host fault net0 "$1" "${3:-1}" "$2" || return
	load hv_netvsc || return
	sleep 2
}
stops() {
	host fault net0 "$1" 0
	unload hv_netvsc
}
# counted CARD NAME: one of the host's counters.
counted() { host nets | sed -n "s/^$1 .* $2=\\([^ ]*\\).*/\\1/p"; }
# Of a card net0, whose interface is $eth, in the namespace that the command $in enters, and its virtual function:
eth='' in=''
# vf: the function's interface, as the card's link says.
vf() { $in ls "/sys/class/net/$eth/" 2>/dev/null | sed -n 's/^lower_//p'; }
has_vf() { [ -n "$(vf)" ]; }
has_no_vf() { ! has_vf; }
path_is() { host_says "^net0 .* path=$1 " nets; }
vf_used() { has_vf && path_is vf; }
# goes_by SENT RECEIVED PINGS: so many pings are answered, and the host counts them by these names.
goes_by() {
	sent=$(counted net0 "$1") received=$(counted net0 "$2")
	$in ping -c "$3" -i 0.2 -W 5 10.0.0.1 || return
	[ "$(counted net0 "$1")" -ge $((sent + $3)) ] && [ "$(counted net0 "$2")" -ge $((received + $3)) ] || { host nets; false; }
}
# all_returned CARD: the guest has completed every packet of the host.
all_returned() { equal 0 "$(counted "$1" held)"; }
# peer echo|discard|source|udp ADDRESS BYTES...: uses a service of the peer, or of whoever offers the like, and compares
# what comes back. ADDRESS is one of IPv4, or of IPv6 as 32 digits with % and the number of an interface, or `vsock` for
# the same services of the host over Hyper-V sockets.
# peer listen ADDRESS BYTES: takes one connection on port 7 and echoes.
peer() {
	perl -e '$SIG{PIPE} = "IGNORE"; alarm 100; my ($what, $host, @sizes) = @ARGV;
		sub fail { print "$what: $_[0]: ", $! + 0, "\n"; exit 1 }
		my $v6 = $host =~ /^([0-9a-f]{32})%(\d+)$/;
		my @ip = $v6 ? ($1, $2) : split /\./, $host;
		my $vm = $host eq "vsock";
		my $family = $vm ? 40 : $v6 ? 10 : 2;
		sub address { $vm ? pack("SSLLx4", 40, 0, $_[0], 2) : $v6 ? pack("SnNH32L", 10, $_[0], 0, @ip) : pack("SnC4x8", 2, $_[0], @ip) }
		sub make { socket(my $s, $family, $_[0], 0) or fail("socket");
			# A connection of that kind is given two seconds otherwise.
			setsockopt($s, 40, 6, pack("qq", 60, 0)) if $vm; $s }
		sub pattern { substr(join("", map chr, 0 .. 250) x (int($_[0] / 251) + 1), 0, $_[0]) }
		sub send_all { my ($to, $b) = @_; while (length $b) { substr($b, 0, syswrite($to, $b, 65536) || fail("write")) = "" } }
		sub read_all { my ($s, $all) = ($_[0], ""); while (my $n = sysread($s, $all, 65536, length $all) // fail("read")) { } $all }
		sub same { $_[0] eq $_[1] or fail(length($_[0]) . " bytes came back, not the same " . length $_[1]) }
		if ($what eq "listen") {
			my $s = make(1); setsockopt($s, 1, 2, pack("i", 1));
			bind($s, address(7)) && listen($s, 4) or fail("listen"); accept(my $c, $s) or fail("accept");
			while (sysread $c, my $b, 65536) { send_all($c, $b) } exit }
		if ($what eq "udp") {
			my $s = make(2); connect($s, address(7)) or fail("connect");
			for my $n (@sizes) { my $tries = 0;
				for (;;) { send($s, pattern($n), 0); my $r = ""; vec($r, fileno $s, 1) = 1;
					if (select($r, undef, undef, 2)) { recv($s, my $b, 65536, 0); same($b, pattern($n)); last }
					++$tries < 5 or fail("no answer to $n bytes") } }
			exit }
		my $s = make(1); my $port = { echo => 7, discard => 9, source => 19 }->{$what};
		connect($s, address($port)) or fail("connect"); my $n = $sizes[0];
		if ($what eq "source") { send_all($s, "$n\n"); same(read_all($s), pattern($n)) }
		elsif ($what eq "discard") { send_all($s, pattern($n)); shutdown $s, 1; same(read_all($s), $vm ? "$n\n" : "$n bytes\n") }
		else { unless (fork) { alarm 100; send_all($s, pattern($n)); shutdown $s, 1; exit } same(read_all($s), pattern($n)); wait }' "$@"
}
# Traffic in the background, until `quiet`. A transfer may fail while something happens to its card, but it ends, and what arrives is
# right: what is not, is told in /tmp/wrong.
traffic_begins() {
	touch /tmp/go
	: >/tmp/wrong
}
quiet() {
	rm /tmp/go
	wait
}
# transfers ARGUMENT...: `peer` with these, again and again; a line for each in /tmp/rounds-WHAT. Of a connection that was reset, the
# one who writes may be told, and who reads sees an end.
transfers() {
	while [ -e /tmp/go ]; do
		peer "$@" >"/tmp/out-$1" 2>&1 || {
			grep -q 'not the same' "/tmp/out-$1" && ! grep -q ' write: ' "/tmp/out-$1" && echo "$*: $(cat "/tmp/out-$1")" >>/tmp/wrong
			sleep 1
		}
		echo >>"/tmp/rounds-$1"
	done
}
# flood ADDRESS: datagrams of all lengths to the echo service there, eight at once, whatever becomes of them; those that come back are
# compared, and ten of them are a line in /tmp/flooded.
flood() {
	: >/tmp/flooded
	perl -e '$| = 1; my $to = pack("SnC4x8", 2, 7, split /\./, $ARGV[0]); my ($n, $back) = (0, 0); socket(my $s, 2, 2, 0) or die;
		my $bytes = join("", map chr, 0 .. 250) x 8; my $all = ""; vec($all, fileno $s, 1) = 1;
		sub datagram { pack("N", $_[0]) . substr($bytes, $_[0] % 251, $_[0] * 37 % 1469) }
		while (-e "/tmp/go") {
			for (1 .. 8) { send($s, datagram($n), 64, $to); $n = ($n + 1) & 0xffffffff }
			while (select(my $ready = $all, undef, undef, 0.01) > 0) { defined recv($s, my $b, 65536, 64) or last;
				length $b >= 4 && $b eq datagram(unpack "N", $b) or do { open my $wrong, ">>", "/tmp/wrong"; print $wrong "a datagram of ", length $b, " bytes\n"; exit 1 };
				++$back % 10 or print "\n" }
			select(undef, undef, undef, 0.02) }' "$1" >>/tmp/flooded
}
# flood_comes_back: what was sent since this was called.
flood_comes_back() {
	local came
	came=$(wc -l </tmp/flooded)
	floods() { [ "$(wc -l </tmp/flooded)" -ge $((came + 2)) ]; }
	wait_for 30 floods || { echo "nothing comes back; $((came * 10)) datagrams did before"; return 1; }
}
# asks_for_links: until `quiet`, somebody asks for all interfaces; a line in /tmp/slow for whoever waited longer than five seconds.
asks_for_links() {
	: >/tmp/slow
	while [ -e /tmp/go ]; do
		asked=$(uptime)
		ip link >/dev/null 2>&1
		took=$(($(uptime) - asked))
		[ $took -le $((5 * PATIENCE)) ] || echo "ip link took $took s, until $(uptime)" >>/tmp/slow
		sleep 0.5
	done
}
# ethtool_refuses ARGUMENT...: it fails.
ethtool_refuses() { ! ethtool "$@" >/tmp/said 2>&1 || { echo "ethtool $*: $(cat /tmp/said)"; false; }; }
# echoes_in NAMESPACE ADDRESS: starts a program there that takes a connection to port 7 of ADDRESS and sends all back.
echoes_in() {
	ip netns exec "$1" sh -c ". /scenario/lib.sh; peer listen $2 1" &
	wait_for 20 echo_is_there "$1" || { echo "nobody listens"; return 1; }
}
echo_is_there() { ip netns exec "$1" netstat -lnt | grep -q ':7 '; }

# Freezing: for scenarios with one disk and the programs hv_vss_daemon and mke2fs.

# writer_on_ext4: loads all that is needed, mounts the disk at /mnt and starts a daemon, $daemon, and a writer, $writer.
writer_on_ext4() {
	check bus_loads load hv_vmbus
	check disk_driver_loads load hv_storvsc
	check disk_there wait_for 30 test -b /dev/sda
	# By its path: the shell would take its own.
	check file_system /usr/bin/mke2fs -q -t ext4 /dev/sda
	check mounted mount -t ext4 /dev/sda /mnt
	check utils_load load hv_utils
	check device_node wait_for 10 test -c /dev/vmbus/hv_vss
	hv_vss_daemon -n & daemon=$!
	sleep 3
	while :; do echo line >>/mnt/log; sleep 0.2; done &
	writer=$!
	check writer_writes wait_for 10 grows
}
# writer_ends: and the daemon, and nothing is mounted any more.
writer_ends() {
	kill $writer
	kill -KILL $daemon
	wait
	check unmounted umount /mnt
}
size() { stat -c %s /mnt/log; }
grows() { was=$(size); sleep 2; is=$(size); [ "$is" -gt "$was" ] || { echo "stood at $was"; false; }; }
stands() { was=$(size); sleep 4; is=$(size); [ "$is" = "$was" ] || { echo "went from $was to $is"; false; }; }
