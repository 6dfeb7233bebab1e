# SPDX-License-Identifier: GPL-2.0
#: what     Hyper-V sockets with the unmodified C driver: both ways, much data, half closed, many, withdrawn, refused
#: host     rlis
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hv_sock
#: programs perl
#: args     --no-ic --sockets
#: seconds  420

# vsock COMMAND...: what the checks need of AF_VSOCK. An error that ends it is printed with its number.
cat >/tmp/vsock <<'PERL'
$SIG{PIPE} = 'IGNORE';
$| = 1;
# Sockets of AF_VSOCK are streams; struct sockaddr_vm has port and CID. 2 is the host, -1 any.
sub fail { print STDERR "$_[0]: ", $! + 0, " $!\n"; exit 1 }
sub address { pack 'SSLLx4', 40, 0, @_ }
# make([SECONDS]): the kernel waits two seconds for a connection unless told otherwise.
sub make {
	socket(my $s, 40, 1, 0) or fail('socket');
	setsockopt($s, 40, 6, pack('qq', $_[0], 0)) or fail('SO_VM_SOCKETS_CONNECT_TIMEOUT') if $_[0];
	$s;
}
sub connected { my $s = make(30); connect($s, address($_[0], 2)) or fail('connect'); $s }
sub write_all {
	my ($to, $bytes) = @_;
	while (length $bytes) { substr($bytes, 0, syswrite($to, $bytes) || fail('write')) = '' }
}
sub copy { my ($from, $to) = @_; while (sysread $from, my $b, 65536) { write_all($to, $b) } }
sub read_all { my ($s, $all) = ($_[0], ''); 1 while sysread $s, $all, 65536, length $all; $all }
my %do = (
	# Standard input to a port of the host, from a port of our own if one is named; what comes to standard output.
	connect => sub {
		my ($port, $own, $pause) = @_;
		my $s = make(30);
		bind($s, address($own, 0xffffffff)) or fail('bind') if $own;
		connect($s, address($port, 2)) or fail('connect');
		unless (fork) { copy(*STDIN, $s); shutdown $s, 1; exit }
		sleep $pause if $pause;
		copy($s, *STDOUT);
		wait;
		exit $?;
	},
	# Takes so many connections to a port and sends back what comes.
	listen => sub {
		my ($port, $count) = @_;
		my $s = make();
		bind($s, address($port, 0xffffffff)) or fail('bind');
		listen($s, 16) or fail('listen');
		while ($count--) { accept(my $c, $s) or fail('accept'); copy($c, $c); close $c }
	},
	# So many connections open at a time; each gets its own answers.
	many => sub {
		my ($port, $count) = @_;
		my @s = map connected($port), 1 .. $count;
		for my $round (1 .. 3) {
			write_all($s[$_], "$round of $_\n") for 0 .. $#s;
			for (0 .. $#s) {
				my $want = "$round of $_\n";
				sysread $s[$_], my $got, 100;
				$got eq $want or die "wanted $want, got $got";
			}
		}
	},
	# Opens and ends so many connections, one after the other.
	series => sub {
		for (1 .. $_[1]) {
			my $s = connected($_[0]);
			write_all($s, "hello $_");
			shutdown $s, 1;
			read_all($s) eq "hello $_" or die "the answer was not hello $_\n";
		}
	},
	# Writes to an echo until nothing more is taken, says how much that was, and reads it all.
	stuff => sub {
		my ($s, $sent, $n) = (connected($_[0]), '', 0);
		my $quiet = 0;
		while ($quiet < 3) {
			my $bytes = pack 'L*', $n .. $n + 1023;
			# MSG_DONTWAIT
			my $took = send $s, $bytes, 0x40;
			unless (defined $took) { $! == 11 or fail('send'); $quiet++; sleep 1; next }
			($quiet, $n) = (0, $n + 1024);
			$sent .= substr $bytes, 0, $took;
			length $sent < 1 << 22 or die "no end to what is taken\n";
		}
		print length $sent;
		shutdown $s, 1;
		read_all($s) eq $sent or die "what came back differs\n";
	},
	# Reads to the host's end of data, and can still write.
	ended => sub {
		my $s = connected($_[0]);
		write_all($s, "3\n");
		length read_all($s) == 3 or die "not 3 bytes\n";
		sleep 1;
		write_all($s, 'x' x 5000);
	},
	# Takes a little of much data, and closes.
	leave => sub { my $s = connected($_[0]); write_all($s, "1000000\n"); sysread $s, my $b, 10 },
	# Waits for data until there will be none, then writes until that fails. Says how each ended.
	wait => sub {
		my $s = connected($_[0]);
		my $n = sysread $s, my $b, 10;
		print defined $n ? "read $n" : 'read error ' . ($! + 0);
		my $w;
		for (1 .. 100) { defined($w = syswrite $s, 'x' x 4000) or last }
		print defined $w ? ", writes on\n" : ', write error ' . ($! + 0) . "\n";
	},
	# Writes to an echo that nobody reads from, until that fails.
	push => sub {
		my $s = connected($_[0]);
		1 while defined syswrite $s, 'x' x 4000;
		print 'write error ', $! + 0, "\n";
	},
	# How long the kernel tries in vain, in seconds, and its error.
	refused => sub {
		my ($s, $begun) = (make(), time);
		connect($s, address($_[0], 2)) and die "connected\n";
		print 'error ', $! + 0, ' after ', time - $begun, " s\n";
		time - $begun < 20 or exit 1;
	},
);
my $command = shift;
$do{$command}->(@ARGV);
PERL
vsock() { perl /tmp/vsock "$@"; }

nothing_open() { equal 'live=0' "$(host sockets | sed -n '1s/.* //p')" && equal '' "$(host list)" && equal '' "$(ls /sys/bus/vmbus/devices)"; }
all_gone() { check "nothing_left_$1" wait_for 30 nothing_open; }
# echoed FILE [PORT-OF-OURS]: the host sends back what it gets.
echoed() { vsock connect 7 "${2:-0}" <"$1" >/tmp/back && cmp "$1" /tmp/back; }
is_open() { [ "$(host sockets | grep -c ' open ')" = "$1" ]; }

check bus_loads load hv_vmbus
check socket_driver_loads load hv_sock
check nothing_before nothing_open

small() { equal hello "$(echo hello | vsock connect 7)"; }
check echo_small small
all_gone small
head -c 3145728 /dev/urandom >/tmp/big
sizes() {
	for size in 1 7 8 4087 4088 4089 16383 16384 16385 70001; do
		head -c $size /tmp/big >/tmp/part
		echoed /tmp/part || { echo "$size bytes"; return 1; }
	done
}
check echo_sizes sizes
check echo_3m echoed /tmp/big
all_gone big
side_by_side() {
	for i in 1 2 3 4 5 6; do
		(tail -c +$((i * 1000)) /tmp/big | head -c 300000 >/tmp/part$i
			vsock connect 7 </tmp/part$i >/tmp/back$i) &
	done
	wait
	for i in 1 2 3 4 5 6; do cmp /tmp/part$i /tmp/back$i || return 1; done
}
check echo_6_at_a_time side_by_side
check forty_open vsock many 7 40
all_gone many

# One direction ends long before the other.
generated() {
	perl -e 'print substr((join "", map chr, 0 .. 250) x 8000, 0, 2000000)' >/tmp/pattern
	echo 2000000 | vsock connect 19 >/tmp/back && cmp /tmp/pattern /tmp/back
}
check guest_ends_first generated
check counted equal 1000000 "$(head -c 1000000 /tmp/big | vsock connect 9)"
check host_ends_first vsock ended 19
# All was said and the channel withdrawn long before the first byte is read here.
late() { equal 5000 "$(echo 5000 | vsock connect 19 0 3 | wc -c)"; }
check data_outlives_the_channel late
all_gone half_closed

# Neither side loses anything where nobody reads, nor takes without end.
held_up() { taken=$(vsock stuff 7) && [ "$taken" -gt 40000 ]; }
check full_rings held_up
check closed_with_data_unread vsock leave 19
all_gone full

check hundred_one_after_the_other vsock series 7 100
all_gone series
# The same ends again and again: the last connection of that name may still be on its way out.
same_port() {
	for i in 1 2 3 4 5; do
		head -c 100 /tmp/big >/tmp/part
		wait_for 10 echoed /tmp/part 5000 || { echo "round $i"; return 1; }
	done
}
check same_port_again same_port
all_gone same_port

# The host connects.
vsock listen 1234 3 2>/tmp/listen &
listener=$!
sleep 1
check host_connects host_says '^sent=5 received=5 ended=yes same=yes text=hello$' socket-connect 1234 text:hello
check host_sends_much host_says '^sent=700000 received=700000 ended=yes same=yes$' socket-connect 1234 pattern:700000
check host_sends_nothing host_says '^sent=0 received=0 ended=yes same=yes$' socket-connect 1234 text:
wait "$listener"
check listener_content equal 0 $?
nobody() { out=$(host socket-connect 1235 text:hello) && return 1; echo "$out" | grep -q 'did not accept'; }
check host_finds_nobody nobody
all_gone host

# Nobody has that port at the host. The kernel is not told by its driver, so that it gives up by itself.
refused() { out=$(vsock refused 8) || { echo "$out"; return 1; }; equal 'error 110' "$(echo "$out" | sed 's/ after.*//')"; }
check no_such_service refused
check refusal_counted host_says '^from_guest=.* refused=1 live=0$' sockets
all_gone refused

# The host ends a connection while a program waits for data, and one while it waits for room.
withdrawn() {
	vsock "$1" 7 >/tmp/said &
	program=$!
	wait_for 20 is_open 1 || return 1
	sleep 2
	host rescind "$(host list | sed -n 's/ .*//p')" || return 1
	wait "$program"
	equal "$2" "$(cat /tmp/said)"
}
check withdrawn_from_reader withdrawn wait 'read 0, write error 32'
check withdrawn_from_writer withdrawn push 'write error 32'
all_gone withdrawn

# In use it stays; after that it comes and goes, with the bus.
vsock wait 7 >/tmp/said &
program=$!
check open_again wait_for 20 is_open 1
in_use() { ! unload hv_sock 2>/dev/null; }
check module_is_in_use in_use
check host_ends_it host rescind "$(host list | sed -n 's/ .*//p')"
wait "$program"
all_gone in_use
for i in 1 2 3; do
	check "unloads_$i" wait_for 10 unload hv_sock
	check "loads_again_$i" load hv_sock
	check "echo_after_reload_$i" small
done
all_gone reloads
check unloads unload hv_sock
check bus_unloads unload hv_vmbus
check bus_loads_again load hv_sock
check echo_after_bus small
all_gone bus
check no_violations equal '' "$(host violations)"
