# SPDX-License-Identifier: GPL-2.0
#: what     Sixteen channels on sixteen CPUs: traffic on each of them, and CPUs that go offline and come back under it
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,offload,rsc,channels=16,batch=16
#: cpus     16
#: memory   1G
#: seconds  900

check sixteen_cpus equal 0-15 "$(cat /sys/devices/system/cpu/online)"
first_card
eth=$(card 00:15:5d:00:01:00)
check ping use_card "$eth"
# Without a word of the user, there are as many as there are CPUs, and at most 16 in the C driver.
check sixteen_channels wait_for 60 host_says '^net0 .* channels=16 ' nets
channels() { ls "/sys/class/net/$eth/device/channels"; }
check sixteen_in_sysfs equal 16 "$(channels | wc -l)"
check a_cpu_for_each equal 16 "$(cat /sys/class/net/"$eth"/device/channels/*/cpu | sort -u | wc -l)"

# flows COUNT: so many flows of UDP, each with a datagram there and back.
flows() {
	perl -e 'alarm 200; my ($count, @open) = @ARGV;
		for (1 .. $count) { socket(my $s, 2, 2, 0) or die; connect($s, pack("SnC4x8", 2, 7, 10, 0, 0, 1)) or die; push @open, $s }
		for my $try (1 .. 10) {
			my %wait; for my $s (@open) { send($s, "x" x 200, 0); $wait{fileno $s} = $s }
			my $until = time + 3;
			while (%wait && time < $until) {
				my $r = ""; vec($r, $_, 1) = 1 for keys %wait;
				next unless select($r, undef, undef, 1) > 0;
				for my $n (keys %wait) { next unless vec($r, $n, 1); recv($wait{$n}, my $b, 1000, 0); $b eq "x" x 200 or die "another answer"; delete $wait{$n} } }
			@open = values %wait; exit unless @open }
		print scalar @open, " flows without an answer\n"; exit 1' "$1"
}
# connections COUNT: one after the other. For TCP the host looks at the ports, too, when it chooses a channel; for UDP it does not.
connections() {
	perl -e 'alarm 200; for my $n (1 .. $ARGV[0]) {
		my $s; socket($s, 2, 1, 0) && connect($s, pack("SnC4x8", 2, 7, 10, 0, 0, 1)) or die "connection $n: $!\n";
		syswrite $s, "y" x 200; my $b = "";
		while (length $b < 200) { sysread($s, $b, 200, length $b) or die "connection $n: ", length $b, " bytes came back\n" } }' "$1"
}
# moved rx|tx: how many frames each channel has moved, channel by channel.
moved() { ethtool -S "$eth" | sed -n "s/^ *$1_queue_[0-9]*_packets: //p"; }
all_moved() {
	moved "$1" >/tmp/after
	for channel in $(seq 16); do
		[ "$(sed -n "${channel}p" /tmp/after)" -gt "$(sed -n "${channel}p" "/tmp/before-$1")" ] || { echo "channel $((channel - 1)) has moved nothing"; return 1; }
	done
}
moved rx >/tmp/before-rx
moved tx >/tmp/before-tx
check many_flows flows 300
check sends_on_each all_moved tx
check many_connections connections 160
check receives_on_each all_moved rx
# All flows to one channel, one channel after the other.
steered() {
	for channel in $(seq 0 15); do
		weights=$(for n in $(seq 0 15); do [ "$n" = "$channel" ] && echo 1 || echo 0; done)
		# shellcheck disable=SC2086 # a list
		ethtool -X "$eth" weight $weights || return
		moved rx >/tmp/before-rx
		flows 20 || { echo "channel $channel"; return 1; }
		moved rx | paste /tmp/before-rx - | awk -v one=$((channel + 1)) '{ d = $2 - $1 } NR == one && d < 20 { print "channel " NR - 1 " got " d; bad = 1 } NR != one { others += d }
			END { if (others > 5) { print others " frames on other channels than " one - 1; bad = 1 } exit bad }' || return
	done
}
check each_alone steered
check flows_equal ethtool -X "$eth" equal 16

# CPUs go and come back while bytes flow; what comes back is compared.
touch /tmp/go
: >/tmp/wrong
stream() {
	while [ -e /tmp/go ]; do
		peer echo 10.0.0.1 50000 >"/tmp/out-$1" 2>&1 || echo "stream $1: $(cat "/tmp/out-$1")" >>/tmp/wrong
		echo >>/tmp/rounds
	done
}
for n in 1 2 3; do stream $n & done
online() { echo "$2" >"/sys/devices/system/cpu/cpu$1/online"; }
none_left_on() { ! cat /sys/class/net/"$eth"/device/channels/*/cpu | grep -qx "$1"; }
come_and_go() {
	for cpu in "$@"; do
		online "$cpu" 0 || { echo "CPU $cpu stays"; return 1; }
		none_left_on "$cpu" || { echo "a channel is left on CPU $cpu"; return 1; }
		flows 40 || { echo "without CPU $cpu"; return 1; }
		[ "$cpu" = 3 ] || online "$cpu" 1 || return
	done
	online 3 1
}
check cpus_come_and_go come_and_go 3 1 15 8
several() {
	for cpu in 1 2 3 4 5 6 7; do online $cpu 0 || { echo "CPU $cpu stays"; return 1; }; done
	flows 100 || return
	for cpu in 7 6 5 4 3 2 1; do online $cpu 1 || return; done
}
check seven_at_once several
# Channels go to CPUs that were away.
moves() {
	number=1
	for channel in /sys/class/net/"$eth"/device/channels/*; do
		echo $((number % 16)) >"$channel/cpu" || { echo "$channel does not move"; return 1; }
		number=$((number + 1))
	done
	flows 100
}
check channels_move moves
rm /tmp/go
wait
check nothing_wrong equal '' "$(cat /tmp/wrong)"
check streams_went_on test "$(wc -l </tmp/rounds)" -gt 6
# While a user's table names all channels, the stack takes none of them away.
check table_holds_the_channels ethtool_refuses -L "$eth" combined 5
check flows_as_by_default ethtool -X "$eth" default
for n in 5 16; do
	check "channels_$n" ethtool -L "$eth" combined $n
	check "channels_told_$n" wait_for 60 host_says "^net0 .* channels=$n " nets
	check "flows_over_$n" flows 100
done
check all_returned wait_for 10 all_returned net0
check no_violations equal '' "$(host violations)"
