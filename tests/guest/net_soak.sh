# SPDX-License-Identifier: GPL-2.0
#: what     Mixed load on network cards while cables, sizes, channels, drivers and cards come and go and the host misbehaves
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: when     all
#: modules  hv_vmbus hv_netvsc
#: programs perl ethtool ip
#: args     --no-ic --net net0,offload,rsc,channels=4,batch=16 --net net1,switch=a,offload,rsc,batch=8,channels=2 --net net2,switch=a,offload,mode=openvmm,batch=8
#: cpus     4
#: memory   1G
#: cmdline  kmemleak=on
#: soak     1800
#: seconds  180

# As long as SOAK_SECONDS says. What is drawn by lot is in the log, from the seed in its first line on.
seed=${SOAK_SEED:-$(date +%s)}
note "seed $seed"
# draw WORD...: sets drawn to one of them.
draw() {
	seed=$(((seed * 1103515245 + 12345) & 0x7fffffff))
	shift $((seed / 65536 % $#))
	drawn=$1
}

first_card
eth=$(card 00:15:5d:00:01:00)
check far_card wait_for 30 has_card 00:15:5d:00:01:02
far=$(card 00:15:5d:00:01:02)
check up use_card "$eth"
check namespace ip netns add far
ip link set "$far" netns far
near_up() {
	near=$(card 00:15:5d:00:01:01) && ip link set "$near" up && { ip addr add 10.1.0.1/24 dev "$near" 2>/dev/null || true; }
}
far_up() { ip netns exec far ip link set "$far" up && { ip netns exec far ip addr add 10.1.0.2/24 dev "$far" 2>/dev/null || true; }; }
check near_up near_up
check far_up far_up
check across wait_for 20 pings 10.1.0.2

traffic_begins
transfers echo 10.0.0.1 100000 &
transfers source 10.0.0.1 200000 &
transfers udp 10.0.0.1 1 200 1472 3000 &
while [ -e /tmp/go ]; do ping -c 20 -i 0.05 -W 1 -s 1200 10.1.0.2 >/dev/null 2>&1; done &

# answers: everybody can ask for the interfaces meanwhile.
answers() {
	before=$(uptime)
	ip link >/dev/null && ethtool -S "$eth" >/dev/null
	took=$(($(uptime) - before))
	[ $took -le $((5 * PATIENCE)) ] || { echo "ip and ethtool took $took s after $event"; return 1; }
}
faults='net-message-type net-message-length net-data-offset net-info-offset net-range-offset net-range-length net-piece-no-first
	net-piece-no-last net-transaction-zero net-completion-status'
# The C driver bears only those.
c_drivers || faults="$faults net-info-size net-info-value net-data-length zero-length-completion unknown-transaction duplicate-completion
	net-range-set net-range-count net-answer-id net-answer-twice net-slow-answer net-answer-type net-no-answer"
# shellcheck disable=SC2086 # lists of words
happens() {
	draw link mtu channels features down promiscuous fault fault fault speed change vf keepalive rings flows far rescind
	event=$drawn
	case $event in
	link) host link net0 down && sleep 0.3 && host link net0 up ;;
	mtu) draw 1500 576 9000 4000 && ip link set "$eth" mtu "$drawn" ;;
	channels) draw 1 2 3 4 && ethtool -L "$eth" combined "$drawn" ;;
	features) draw 'tso off' 'tso on' 'rx off' 'rx on' 'lro off' 'lro on' 'tx off' 'tx on' && ethtool -K "$eth" $drawn ;;
	down) ip link set "$eth" down && ip link set "$eth" up ;;
	promiscuous) ip link set "$eth" promisc on && ip link set "$eth" promisc off ;;
	fault) draw $faults && event="fault $drawn" && host fault net0 "$drawn" 2 ;;
	speed) draw 1000 25000 40000 && host net net0 speed "$drawn" ;;
	change) host net net0 network-change ;;
	vf) host net net0 vf 7 && host net net0 no-vf ;;
	keepalive) host net net0 keepalive ;;
	rings) draw 100 500 2000 && ethtool -G "$eth" rx "$drawn" ;;
	flows) ethtool -X "$eth" equal 1 && ethtool -X "$eth" default ;;
	far) ip netns exec far ip link set "$far" mtu 4000 && ip netns exec far ip link set "$far" mtu 1500 ;;
	rescind)
		host rescind net1
		sleep 0.5
		host offer net1
		wait_for 20 has_card 00:15:5d:00:01:01 && near_up
		;;
	esac
}
until=$(($(uptime) + SOAK_SECONDS))
events=0
result=0
while [ "$(uptime)" -lt "$until" ] && [ $result = 0 ]; do
	happens >/tmp/event 2>&1 || note "$event: $(tail -n 1 /tmp/event)"
	events=$((events + 1))
	if [ $((events % 10)) = 0 ]; then
		note "event $events: $event; rounds $(cat /tmp/rounds-* 2>/dev/null | wc -l)"
		answers >/tmp/answers || result=1
	fi
	[ ! -s /tmp/wrong ] || result=1
	sleep 0.2
done
check answers_throughout equal '' "$(cat /tmp/answers)"
check nothing_wrong_arrived equal '' "$(cat /tmp/wrong)"
quiet
check events test $events -gt 20
for what in echo source udp; do check "rounds_$what" test -s "/tmp/rounds-$what"; done
# Whatever was left as it was, this makes it work.
host fault net0 net-no-answer 0
host link net0 up
ethtool -L "$eth" combined 4
ip link set "$eth" mtu 1500
check works use_card "$eth"
check echo_after peer echo 10.0.0.1 100000
check across_after wait_for 20 pings 10.1.0.2
c_drivers || check all_returned wait_for 20 all_returned net0
check no_violations equal '' "$(host violations)"
ip netns del far
check unloads unload hv_netvsc
check no_leak no_leak netvsc
