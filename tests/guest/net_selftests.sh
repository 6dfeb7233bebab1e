# SPDX-License-Identifier: GPL-2.0
#: what     Linux 7.3's own selftests for drivers of network cards, between two cards on a switch: what passes with the C driver passes with ours
#: host     rlis
#: drivers  c rust mixed rustbus
#: quick    none
#: when     all
#: kernels  fast
#: modules  hv_vmbus hv_netvsc
#: programs bash python3 net_selftests ip tc ethtool ping socat iperf3 perl
#: args     --no-ic --net net0,switch=a,offload,rsc,channels=4,batch=8 --net net1,switch=a,offload,rsc,batch=8
#: cpus     4
#: memory   1G
#: seconds  1800
# shellcheck disable=SC2154 # far_card sets a and b

# What passes with the C driver of 7.3, found by this scenario with DRIVERS=c.
passes_with_c() {
	cat <<'PASSES'
PASSES
}

far_card
ip addr add fd00:1::1/64 dev "$a" nodad
far ip addr add fd00:1::2/64 dev "$b" nodad
check ping_6 wait_for 20 ping -6 -c 1 -W 1 fd00:1::2
check four_channels wait_for 20 host_says '^net0 .* channels=4 ' nets

# An interface that is taken down and up again in a test keeps its address of IPv6 for the next one.
echo 1 >"/proc/sys/net/ipv6/conf/$a/keep_addr_on_down"
# Their shell is one that has no `ip` of its own.
ln -sf /usr/bin/bash /bin/sh
# Their patience is for machines of today; what they ask for stays as it is. Frames wait longer for those that could be joined to them.
cd /linux/tools/testing/selftests || exit
sed -i 's/timeout=20/timeout=200/; s/deadline=5/deadline=50/' net/lib/py/utils.py
sed -i 's/-W0\.5/-W10/; s/-W5/-W10/; s/no_sleep != True/False/' drivers/net/ping.py
sed -i 's/range(50)/range(200)/' drivers/net/lib/py/load.py
sed -i 's/"200000"/"50000000"/' drivers/net/gro.py
find . -name '*.py' -exec sed -i 's/ksft_wait=3/ksft_wait=30/' {} +
# Debian's ethtool cannot tell of channels in JSON.
sed -i 's/ethtool(f"-l {cfg.ifname}", json=True)\[0\].get("combined", 0)/int(ethtool(f"-l {cfg.ifname}").stdout.split()[-1])/' drivers/net/napi_threaded.py
export NETIF="$a" LOCAL_V4=10.1.0.1 REMOTE_V4=10.1.0.2 LOCAL_V6=fd00:1::1 REMOTE_V6=fd00:1::2 REMOTE_TYPE=netns REMOTE_ARGS=far KSFT_MACHINE_SLOW=1
cd drivers/net || exit
# run PROGRAM [OPTION...]: leaves `pass NAME` and the like in /tmp/results. What did not pass, and the end of what was said of it, is in the log.
run() {
	program=$1 began=$(uptime)
	shift
	timeout $((600 * PATIENCE)) python3 "$program" "$@" >/tmp/said 2>&1
	result=$?
	sed -nE 's/^ok [0-9]+ ([^ ]+) # (SKIP|XFAIL).*/skip \1/p; s/^ok [0-9]+ ([^ ]+)$/pass \1/p; s/^not ok [0-9]+ ([^ ]+).*/fail \1/p' /tmp/said >/tmp/of_it
	cat /tmp/of_it >>/tmp/results
	note "$program ended with $result after $(($(uptime) - began)) s: $(cut -d' ' -f1 /tmp/of_it | sort | uniq -c | xargs)"
	while read -r line; do note "selftest $line"; done </tmp/of_it
	[ $result = 0 ] || grep -vE '^ok ' /tmp/said | tail -n 60 | while read -r line; do note "said: $line"; done
}
: >/tmp/results
run queues.py
run napi_id.py
run napi_threaded.py
run ping.py
run stats.py
run ring_reconfig.py
run xdp.py
run hds.py
run so_txtime.py -t 'test_so_txtime_fq_mono.*'
run gro.py -t 'test.sw_ipv4_*' -t 'test.sw_ipv6_*'
cd hw || exit
run csum.py
run tso.py
run rss_ctx.py
run rss_api.py
run rss_drv.py
run xsk_reconfig.py
run pp_alloc_fail.py
cd / || exit

for name in $(passes_with_c); do check "$name" grep -qx "pass $name" /tmp/results; done
check something_ran test -s /tmp/results
check card_works pings 10.1.0.2
check all_returned wait_for 10 all_returned net0
check all_returned_far wait_for 10 all_returned net1
check namespace_ends ip netns del far
check no_violations equal '' "$(host violations)"
