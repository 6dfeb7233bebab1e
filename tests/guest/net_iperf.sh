# SPDX-License-Identifier: GPL-2.0
#: what     What iperf3 and tcpdump say of two network cards on a switch: TCP both ways at once and without copies, UDP, checksums
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: programs iperf3 tcpdump ethtool ip
#: args     --no-ic --net net0,switch=a,offload,rsc,batch=16,channels=2 --net net1,switch=a,offload,rsc,mode=openvmm,batch=8,channels=2
#: cpus     2
#: seconds  300
# shellcheck disable=SC2154 # far_card sets a and b

far_card

# Datagrams wait in a socket until a busy machine gets to them.
echo 4194304 >/proc/sys/net/core/rmem_max
far iperf3 -s -B 10.1.0.2 >/tmp/server 2>&1 &
serves() { far netstat -lnt | grep -q 10.1.0.2:5201; }
check server wait_for 20 serves
# moves OPTION...: iperf3 moves what the options say, and says that all has arrived.
moves() { timeout $((60 * PATIENCE)) iperf3 -c 10.1.0.2 "$@" >/tmp/iperf 2>&1 || { tail -n 4 /tmp/iperf /tmp/server; false; }; }
check tcp moves -n 1M
check tcp_back moves -n 1M -R
check tcp_both_ways moves -n 1M --bidir
check tcp_four_streams moves -n 1M -P 4
check zerocopy moves -n 1M --zerocopy
check zerocopy_back moves -n 1M --zerocopy -R
check tcp_small_writes moves -n 200K -l 100 --no-delay
# datagrams LEAST OPTION...: at least so many were sent, and of a hundred not more than five were lost on the way: the
# sockets of the programs hold so much.
datagrams() {
	least=$1
	shift
	moves -u -w 2M "$@" || return
	set -- "$(sed -n 's/.* \([0-9]*\)\/\([0-9]*\) (.*receiver.*/\1 \2/p' /tmp/iperf)"
	set -- $1
	[ $# -ge 2 ] && [ "$2" -ge "$least" ] && [ $(($1 * 20)) -le "$2" ] || { tail -n 6 /tmp/iperf; false; }
}
check udp datagrams 300 -b 2M -l 1000 -n 300K
check udp_back datagrams 300 -b 2M -l 1000 -n 300K -R
check udp_small datagrams 1000 -b 200K -l 16 -n 16K
check udp_in_fragments datagrams 20 -b 2M -l 8000 -n 160K

# What a card receives, frame by frame: nobody joins frames, so each has the checksum of its sender, or of the host
# where the sender left it to that.
check frame_by_frame ethtool -K "$a" gro off lro off
check far_frame_by_frame far ethtool -K "$b" gro off lro off
tcpdump -Z root -i "$a" -Q in -l -nn -vv 'tcp or udp' >/tmp/near.dump 2>/tmp/near.said &
far tcpdump -Z root -i "$b" -Q in -l -nn -vv 'tcp or udp' >/tmp/far.dump 2>/tmp/far.said &
watching() { grep -q 'listening on' /tmp/near.said && grep -q 'listening on' /tmp/far.said; }
check tcpdump_watches wait_for 20 watching
check watched_tcp moves -n 200K --bidir
check watched_udp datagrams 50 -b 2M -l 1000 -n 50K
check watched_udp_back datagrams 50 -b 2M -l 1000 -n 50K -R
sleep 3
killall tcpdump iperf3
wait
right() {
	bad=$(grep -cE 'incorrect|bad udp cksum|bad cksum' "/tmp/$1.dump")
	good=$(grep -cE 'correct\)|udp sum ok' "/tmp/$1.dump")
	[ "$bad" = 0 ] && [ "$good" -ge 150 ] || { echo "$good right, $bad wrong: $(grep -m 2 -E 'incorrect|bad' "/tmp/$1.dump")"; false; }
}
check checksums_near right near
check checksums_far right far
check all_returned wait_for 10 all_returned net0
check all_returned_far wait_for 10 all_returned net1
check namespace_ends ip netns del far
check no_violations equal '' "$(host violations)"
