# SPDX-License-Identifier: GPL-2.0
#: what     All that ethtool shows of a network card and sets: the C driver and ours say the same, and do the same
#: host     rlis
#: drivers  c rust
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,offload,rsc,channels=4,batch=8,speed=25000
#: cpus     4
#: seconds  400

first_card
eth=$(card 00:15:5d:00:01:00)
check ping use_card "$eth"
check four_channels wait_for 20 host_says '^net0 .* channels=4 ' nets
check flows_are_spread wait_for 20 host_says '^net0 .* spread=128 ' nets

# says OPTION LINE...: ethtool says each of these lines, without regard to blanks; with OPTION in several words.
# shellcheck disable=SC2086 # an option of several words
says() {
	option=$1
	shift
	ethtool $option >/tmp/said 2>&1 || { echo "ethtool $option: $(cat /tmp/said)"; return 1; }
	tr -s ' \t' ' ' </tmp/said | sed 's/^ //; s/ $//' >/tmp/lines
	for line in "$@"; do grep -qxF "$line" /tmp/lines || { echo "ethtool $option does not say '$line': $(xargs </tmp/lines | cut -c1-400)"; return 1; }; done
}

check i says "-i $eth" 'driver: hv_netvsc' "version: $(uname -r)" 'firmware-version: N/A' \
	"bus-info: $(basename "$(readlink "/sys/class/net/$eth/device")" | cut -c1-31)" 'supports-statistics: yes' 'supports-test: no' \
	'supports-eeprom-access: no' 'supports-register-dump: yes' 'supports-priv-flags: no'
check link says "$eth" 'Speed: 25000Mb/s' 'Duplex: Full' 'Port: Other' 'Link detected: yes' \
	'Current message level: 0x000000f7 (247)' 'drv probe link ifdown ifup rx_err tx_err'
for feature in rx-checksumming tx-checksumming tx-checksum-ipv4 tx-checksum-ipv6 tcp-segmentation-offload tx-tcp-segmentation \
	tx-tcp6-segmentation generic-segmentation-offload generic-receive-offload large-receive-offload receive-hashing; do
	check "k_$feature" says "-k $eth" "$feature: on"
done
check k_fixed says "-k $eth" 'rx-vlan-offload: on [fixed]' 'tx-vlan-offload: on [fixed]' 'highdma: on [fixed]' \
	'rx-vlan-filter: off [fixed]' 'tx-udp-segmentation: off [fixed]' 'ntuple-filters: off [fixed]'
for feature in rxhash lro tso rx tx; do
	check "K_${feature}_off" ethtool -K "$eth" $feature off
	check "ping_without_$feature" ping -c 1 -w 10 10.0.0.1
	check "K_${feature}_on" ethtool -K "$eth" $feature on
done
check K_all_as_before says "-k $eth" 'receive-hashing: on' 'large-receive-offload: on' 'tx-tcp-segmentation: on' 'rx-checksumming: on' 'tx-checksumming: on'
check K_echo peer echo 10.0.0.1 60000
check K_of_what_is_not_there ethtool_refuses -K "$eth" ntuple on

check l says "-l $eth" 'Combined: 4' 'RX: n/a' 'TX: n/a' 'Other: n/a'
check L ethtool -L "$eth" combined 3
check l_after says "-l $eth" 'Combined: 3' 'Combined: 4'
check L_too_many ethtool_refuses -L "$eth" combined 5
check L_none ethtool_refuses -L "$eth" combined 0
check L_of_receiving ethtool_refuses -L "$eth" rx 1
check L_back ethtool -L "$eth" combined 4
check four_again wait_for 20 host_says '^net0 .* channels=4 ' nets
check g says "-g $eth" 'RX: 18811' 'TX: 2560' 'RX: 9709' 'TX: 170'
check G ethtool -G "$eth" rx 500 tx 50
check g_after says "-g $eth" 'RX: 500' 'TX: 50'
check G_too_many ethtool_refuses -G "$eth" rx 20000
check G_least ethtool -G "$eth" rx 1 tx 1
# The C driver shows the sections that the host has cut whole pages into.
check g_least says "-g $eth" "RX: $(c_drivers && echo 11 || echo 10)" 'TX: 10'
check ping_at_least wait_for 20 pings 10.0.0.1
check G_back ethtool -G "$eth" rx 9709 tx 170
check four_once_more wait_for 20 host_says '^net0 .* channels=4 ' nets
check spread_once_more wait_for 20 host_says '^net0 .* spread=128 ' nets

check x says "-x $eth" "RX flow hash indirection table for $eth with 4 RX ring(s):" '0: 0 1 2 3 0 1 2 3' '120: 0 1 2 3 0 1 2 3' 'toeplitz: on' 'xor: off' 'crc32: off'
check X_equal ethtool -X "$eth" equal 2
check x_equal says "-x $eth" '0: 0 1 0 1 0 1 0 1' '120: 0 1 0 1 0 1 0 1'
check X_weight ethtool -X "$eth" weight 0 0 1 3
check x_weight says "-x $eth" '0: 2 2 2 2 2 2 2 2' '64: 3 3 3 3 3 3 3 3' '120: 3 3 3 3 3 3 3 3'
check echo_on_two peer echo 10.0.0.1 60000
key=$(seq 1 40 | awk '{ printf "%s%02x", s, $1; s = ":" }')
check X_key ethtool -X "$eth" hkey "$key"
check x_key says "-x $eth" "$key" '0: 2 2 2 2 2 2 2 2'
check X_short_key ethtool_refuses -X "$eth" hkey 01:02
check X_other_function ethtool_refuses -X "$eth" hfunc xor
check X_no_such_queue ethtool_refuses -X "$eth" weight 0 0 0 0 1
check echo_with_key peer echo 10.0.0.1 60000
check X_default ethtool -X "$eth" default
check x_default says "-x $eth" '0: 0 1 2 3 0 1 2 3' "$key"

# Which fields choose the queue to send on. flows COUNT: so many of UDP, each with an answer.
flows() {
	perl -e 'alarm 60; my @open; for (1 .. $ARGV[0]) { socket(my $s, 2, 2, 0) or die; connect($s, pack("SnC4x8", 2, 7, 10, 0, 0, 1)) or die; push @open, $s }
		for my $s (@open) { my $tries = 0;
			for (;;) { send($s, "x" x 100, 0); my $r = ""; vec($r, fileno $s, 1) = 1;
				if (select($r, undef, undef, 2)) { recv($s, my $b, 200, 0); last }
				++$tries < 5 or die "no answer" } }' "$1"
}
sent() { ethtool -S "$eth" | sed -n 's/^ *tx_queue_[0-9]*_packets: //p'; }
# used_for COUNT: how many channels have sent more than a few of so many flows.
used_for() {
	sent >/tmp/before
	flows "$1" || return
	sent | paste /tmp/before - | awk '$2 - $1 > 4 { n++ } END { print n }'
}
all='IP SA|IP DA|L4 bytes 0 & 1 [TCP/UDP src port]|L4 bytes 2 & 3 [TCP/UDP dst port]'
hashed() { equal "$2|" "$(ethtool -n "$eth" rx-flow-hash "$1" | tail -n +2 | sed '/^$/d' | tr '\n' '|')"; }
for flow in tcp4 udp4 tcp6 udp6; do check "n_$flow" hashed $flow "$all"; done
check all_used_for_flows equal 4 "$(used_for 60)"
check N_udp4 ethtool -N "$eth" rx-flow-hash udp4 sd
check n_udp4_after hashed udp4 'IP SA|IP DA'
check n_tcp4_as_before hashed tcp4 "$all"
check one_used_for_all_flows equal 1 "$(used_for 60)"
check N_udp4_back ethtool -N "$eth" rx-flow-hash udp4 sdfn
check all_used_again equal 4 "$(used_for 60)"
for flow in tcp4 tcp6 udp6; do
	check "N_$flow" ethtool -N "$eth" rx-flow-hash $flow sd
	check "n_${flow}_after" hashed $flow 'IP SA|IP DA'
	check "N_${flow}_back" ethtool -N "$eth" rx-flow-hash $flow sdfn
done
check N_other_fields ethtool_refuses -N "$eth" rx-flow-hash udp4 s
check N_other_flow ethtool_refuses -N "$eth" rx-flow-hash sctp4 sd

# The channel for each remainder of the hash, 16 words.
check d equal '0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3' "$(ethtool -d "$eth" raw on | od -An -v -tu4 | xargs)"

check s_speed ethtool -s "$eth" speed 2500 duplex half
check s_shown says "$eth" 'Speed: 2500Mb/s' 'Duplex: Half'
check s_in_sysfs equal '2500 half' "$(cat "/sys/class/net/$eth/speed" "/sys/class/net/$eth/duplex" | xargs)"
check s_autoneg ethtool_refuses -s "$eth" autoneg on
check s_port ethtool_refuses -s "$eth" port tp
check s_still says "$eth" 'Speed: 2500Mb/s' 'Duplex: Half'
check host_says_another_speed host net net0 speed 40000
speed() { equal "$1" "$(cat "/sys/class/net/$eth/speed")"; }
check another_speed wait_for 10 speed 40000
check s_back ethtool -s "$eth" speed 25000 duplex full
check s_msglvl ethtool -s "$eth" msglvl 0x3
check msglvl says "$eth" 'Current message level: 0x00000003 (3)' 'drv probe'
check s_msglvl_by_name ethtool -s "$eth" msglvl rx_err on
check msglvl_by_name says "$eth" 'Current message level: 0x00000043 (67)'
# Ours says nothing of what is wrong with frames if nobody wants to know.
said_of_frames() { dmesg -r | grep -c '^<4>.*hv_netvsc '; }
if ! c_drivers; then
	check quiet ethtool -s "$eth" msglvl 0x0
	before=$(said_of_frames)
	check bad_frame_quietly survives net-message-type 127
	check nothing_said equal "$before" "$(said_of_frames)"
	check loud ethtool -s "$eth" msglvl 0xf7
	check bad_frame survives net-message-type 127
	check something_said test "$(said_of_frames)" -gt "$before"
fi

check t ethtool_refuses -t "$eth"
check a ethtool_refuses -a "$eth"
check T says "-T $eth" 'software-receive' 'software-system-clock'
names() { ethtool -S "$eth" | sed -n 's/^ *\([a-z0-9_]*\): [0-9]*$/\1/p'; }
# All names of the C driver, which is asked itself where it runs. What ours does not have is in netvsc.md, with reasons.
not_ours='tx_no_space vlan_error'
expected() {
	for name in tx_scattered tx_no_memory tx_no_space tx_too_big tx_busy tx_send_full rx_comp_busy rx_no_memory stop_queue wake_queue vlan_error \
		vf_rx_packets vf_rx_bytes vf_tx_packets vf_tx_bytes vf_tx_dropped; do echo $name; done
	for n in 0 1 2 3; do
		for name in tx_queue_${n}_packets tx_queue_${n}_bytes tx_queue_${n}_xdp_xmit rx_queue_${n}_packets rx_queue_${n}_bytes \
			rx_queue_${n}_xdp_drop rx_queue_${n}_xdp_redirect rx_queue_${n}_xdp_tx cpu${n}_rx_packets cpu${n}_rx_bytes cpu${n}_tx_packets \
			cpu${n}_tx_bytes cpu${n}_vf_rx_packets cpu${n}_vf_rx_bytes cpu${n}_vf_tx_packets cpu${n}_vf_tx_bytes; do echo $name; done
	done
}
names >/tmp/names
missing() { expected | grep -vxF -f /tmp/names | xargs; }
check S_has_all equal "$(c_drivers || echo "$not_ours")" "$(missing)"
# The list above is the C driver's: it has no other names.
others() { expected >/tmp/expected && grep -vxF -f /tmp/expected /tmp/names | xargs; }
check S_has_no_others equal "$(c_drivers || echo 'rx_malformed rx_unknown_completion rx_while_down')" "$(others)"
check S_each_name_once equal '' "$(sort /tmp/names | uniq -d | xargs)"
# What the queues count adds up to what the interface does, and so does what the CPUs count.
counted() { ethtool -S "$eth" | awk -v of="^ *$1:" '$0 ~ of { n += $2 } END { printf "%d\n", n }'; }
adds_up() {
	equal "$(cat "/sys/class/net/$eth/statistics/$1_packets") $(cat "/sys/class/net/$eth/statistics/$1_bytes")" \
		"$(counted "$1_$2_packets") $(counted "$1_$2_bytes")"
}
by_cpu() {
	equal "$(cat "/sys/class/net/$eth/statistics/$1_packets") $(cat "/sys/class/net/$eth/statistics/$1_bytes")" \
		"$(counted "cpu[0-9]*_$1_packets") $(counted "cpu[0-9]*_$1_bytes")"
}
# Each CPU has what the channels have counted that interrupt it.
of_each_cpu() {
	for n in 0 1 2 3; do
		sum=0
		for channel in "/sys/class/net/$eth/device/channels"/*; do
			[ "$(cat "$channel/cpu")" = $n ] || continue
			sum=$((sum + $(counted "rx_queue_$(cat "$channel/subchannel_id")_packets")))
		done
		equal $sum "$(counted "cpu${n}_rx_packets")" || return
	done
}
sleep 2
check S_sent wait_for 10 adds_up tx 'queue_[0-9]*'
check S_received wait_for 10 adds_up rx 'queue_[0-9]*'
check S_sent_by_cpus wait_for 10 by_cpu tx
check S_received_by_cpus wait_for 10 by_cpu rx
check S_of_each_cpu wait_for 10 of_each_cpu

# Statistics of queues by netlink, which the C driver does not have. qstats [queue]: a line of names and numbers for the interface, or
# for each queue in use.
qstats() {
	perl -e 'alarm 60; my ($index, $scope) = @ARGV;
		my @names; @names[8 .. 34] = qw(rx-packets rx-bytes tx-packets tx-bytes rx-alloc-fail rx-hw-drops rx-hw-drop-overruns rx-csum-complete
			rx-csum-unnecessary rx-csum-none rx-csum-bad rx-hw-gro-packets rx-hw-gro-bytes rx-hw-gro-wire-packets rx-hw-gro-wire-bytes
			rx-hw-drop-ratelimits tx-hw-drops tx-hw-drop-errors tx-csum-none tx-needs-csum tx-hw-gso-packets tx-hw-gso-bytes
			tx-hw-gso-wire-packets tx-hw-gso-wire-bytes tx-hw-drop-ratelimits tx-stop tx-wake);
		socket(my $s, 16, 3, 16) or die "socket: $!";
		sub attr { my ($type, $value) = @_; my $len = 4 + length $value; pack("SS", $len, $type) . $value . "\0" x (-$len & 3) }
		sub attrs { my ($bytes, %found) = @_;
			while (length $bytes >= 4) { my ($len, $type) = unpack "SS", $bytes; $found{$type} = substr $bytes, 4, $len - 4;
				substr($bytes, 0, ($len + 3) & ~3) = "" } %found }
		sub ask { my ($family, $flags, $command, $body) = @_; my @answers;
			my $message = pack("CCS", $command, 1, 0) . $body;
			send($s, pack("LSSLL", 16 + length $message, $family, 1 | $flags, 1, 0) . $message, 0) or die "send: $!";
			for (;;) { recv($s, my $all, 65536, 0); length $all or die "recv: $!";
				while (length $all) { my ($len, $type) = unpack "LS", $all; my $one = substr $all, 0, ($len + 3) & ~3, "";
					if ($type == 2 || $type == 3) { my $error = unpack "x16l", $one; $! = -$error; $error and die "refused: $!\n"; return @answers }
					push @answers, {attrs(substr $one, 20, $len - 20)}; return @answers unless $flags } } }
		my ($family) = ask(16, 0, 3, attr(2, "netdev\0"));
		my $body = attr(1, pack "L", $index); $body .= attr(4, pack "L", 1) if $scope;
		for my $one (ask(unpack("S", $family->{1}), 0x300, 12, $body)) {
			my @line = defined $one->{2} ? (unpack("L", $one->{2}) ? "tx" : "rx") . unpack("L", $one->{3}) : "all";
			push @line, "$names[$_]=" . unpack(length $one->{$_} == 8 ? "Q" : "L", $one->{$_}) for grep { $_ >= 8 } sort { $a <=> $b } keys %$one;
			print "@line\n" }' "$(cat "/sys/class/net/$eth/ifindex")" "$1"
}
# qstat WHAT NAME: a number of the interface (`all`) or of a queue (`rx0`).
qstat() { qstats "$([ "$1" = all ] || echo queue)" | tr ' ' '\n' | awk -F= -v of="$1" -v name="$2" 'NF == 1 { found = $1 == of } found && $1 == name { print $2 }'; }
qstats_add_up() {
	for of in rx tx; do for name in packets bytes; do
		equal "$(cat "/sys/class/net/$eth/statistics/${of}_$name")" "$(qstat all "$of-$name")" || return
		for n in 0 1 2 3; do equal "$(counted "${of}_queue_${n}_$name")" "$(qstat "$of$n" "$of-$name")" || return; done
	done; done
}
qstats_refused() { ! qstats || { echo 'there are statistics'; false; }; }
two_queues() { equal 4 "$(qstats queue | wc -l)"; }
if c_drivers; then
	check Q_none qstats_refused
else
	check Q_names equal 'all rx-packets rx-bytes tx-packets tx-bytes rx-alloc-fail tx-hw-drops tx-stop tx-wake' "$(qstats | sed 's/=[0-9]*//g')"
	check Q_queues equal 'rx0 rx1 rx2 rx3 tx0 tx1 tx2 tx3' "$(qstats queue | cut -d' ' -f1 | xargs)"
	check Q_names_of_receiving equal 'rx1 rx-packets rx-bytes rx-alloc-fail' "$(qstats queue | sed -n 's/=[0-9]*//g; s/^rx1 /&/p')"
	check Q_names_of_sending equal 'tx1 tx-packets tx-bytes tx-hw-drops tx-stop tx-wake' "$(qstats queue | sed -n 's/=[0-9]*//g; s/^tx1 /&/p')"
	check Q_adds_up wait_for 20 qstats_add_up
	check Q_stops equal "$(counted stop_queue)" "$(qstat all tx-stop)"
	# What a channel has counted is not lost when it is not in use any more.
	check Q_fewer ethtool -L "$eth" combined 2
	check Q_two_queues equal 'rx0 rx1 tx0 tx1' "$(wait_for 20 two_queues && qstats queue | cut -d' ' -f1 | xargs)"
	total() { equal "$(cat "/sys/class/net/$eth/statistics/$1_packets")" "$(qstat all "$1-packets")"; }
	check Q_total_sent wait_for 10 total tx
	check Q_total_received wait_for 10 total rx
	check Q_more ethtool -L "$eth" combined 4
	check Q_four_queues wait_for 20 host_says '^net0 .* channels=4 ' nets
	check Q_spread wait_for 20 host_says '^net0 .* spread=128 ' nets
fi

# What was set stays over another MTU.
check N_before_mtu ethtool -N "$eth" rx-flow-hash udp4 sd
check X_before_mtu ethtool -X "$eth" weight 1 0 0 1
check K_before_mtu ethtool -K "$eth" lro off
check mtu ip link set "$eth" mtu 4000
check four_after_mtu wait_for 20 host_says '^net0 .* channels=4 ' nets
check spread_after_mtu wait_for 20 host_says '^net0 .* spread=128 ' nets
check n_after_mtu hashed udp4 'IP SA|IP DA'
check k_after_mtu says "-k $eth" 'large-receive-offload: off' 'receive-hashing: on'
# In the C driver all flows go to channel 0 then.
c_drivers || check x_after_mtu says "-x $eth" '0: 0 0 0 0 0 0 0 0' '120: 3 3 3 3 3 3 3 3' "$key"
check ping_after_mtu wait_for 20 pings 10.0.0.1
check all_returned wait_for 10 all_returned net0
check no_violations equal '' "$(host violations)"
