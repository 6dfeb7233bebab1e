# SPDX-License-Identifier: GPL-2.0
#: what     The host takes memory and gives it back, down to the floor and no further, and adds memory in whole and half blocks
#: host     rlis
#: drivers  c rustbus rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --hot-add 1G
#: memory   512M
#: seconds  300

check bus_loads load hv_vmbus
check balloon_loads load hv_balloon pressure_report_delay=0
check agreed wait_for 20 host_says 'version=2\.0 ready=1 balloon=1 hot-add=1 alignment=128M' memory
check told_the_most logged 'Max\. dynamic memory size: 1536 MB'
check reports wait_for 20 host_says 'reports=([2-9]|..+) available=[1-9].* committed=[1-9]' memory
# The floor of 512 MiB or a little less, in pages, is always promised.
promised() { host memory | sed 's/.* committed=\([0-9]*\).*/\1/'; }
check floor_is_promised test "$(promised)" -gt $((150 * 256))

# MemTotal in KiB, without what the kernel may have freed of its own beginnings since.
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
before=$(total)
takes() { check "takes_$1" host_says "^pages=$2 " balloon "$1"; }
gives() { check "gives_$1" host_says "^pages=$2 " unballoon "$3"; }
takes 64M 16384
check total_is_less equal $((before - 65536)) "$(total)"
grep -q '^Balloon:' /proc/meminfo && check meminfo_has_it grep -qE '^Balloon: +65536 kB' /proc/meminfo
check host_has_them host_says 'ballooned=16384 ' memory
ballooned() { grep -E "^pages_ballooned +: $1\$" /sys/kernel/debug/hv-balloon; }
check debugfs_has_them ballooned 16384
# The tracepoint of the C driver, whose format has this MD5 sum, here its beginning.
tracing=/sys/kernel/tracing
check tracefs mount -t tracefs tracefs $tracing
status=$tracing/events/hyperv/balloon_status
check format_is_that_of_c equal 62147235 "$(grep -v '^ID:' $status/format | md5sum | cut -c1-8)"
check tracing_on sh -c "echo 1 >$status/enable"
n='[1-9][0-9]*'
traced() { grep -E "balloon_status: available $n, committed $n; vm_memory_committed $n; pages_ballooned 16384, pages_added 0, pages_onlined 0\$" $tracing/trace; }
check reports_are_traced wait_for 10 traced
check tracing_off sh -c "echo 0 >$status/enable && echo >$tracing/trace"
sleep 3
untraced() { ! grep -q balloon_status: $tracing/trace; }
check nothing_is_traced_when_off untraced
takes 4K 1
takes 2044K 511
gives some 16384 64M
gives rest 512
check total_is_back equal "$before" "$(total)"
check debugfs_has_none ballooned 0

# Small pieces in many messages.
rounds() {
	for round in $(seq 20); do
		host_says '^pages=2100 ' balloon 8400K && host_says '^pages=2100 ' unballoon --ranges 1 || { echo "round $round"; return 1; }
	done
}
check up_and_down_20 rounds
check total_is_back_again equal "$before" "$(total)"

# More than there is: the guest keeps its floor.
check takes_down_to_the_floor host_says '^pages=[1-9]' balloon 512M
check it_says_so logged 'partially fulfilled'
# 440 MiB or more keep 150, of which some are in use by now.
available() { sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
check floor_is_kept test "$(available)" -gt $((100 * 1024))
check gives_all host_says '^pages=[1-9]' unballoon
check total_is_back_from_the_floor equal "$before" "$(total)"

# Whole blocks, half a block, and its other half.
echo online >/sys/devices/system/memory/auto_online_blocks
adds() { check "adds_$1" host_says "^pages=$2 result=1" hot-add "$3" --region "$4"; }
adds block 32768 128M whole
check total_has_a_block equal $((before + 131072)) "$(total)"
adds half 16384 64M whole
check total_has_half_a_block equal $((before + 196608)) "$(total)"
adds other_half 16384 64M again
check total_has_two_blocks equal $((before + 262144)) "$(total)"
added() { grep -E "^pages_(added|onlined) +: $1\$" /sys/kernel/debug/hv-balloon | wc -l; }
check debugfs_counts_them equal 2 "$(added 65536)"
# What was added can be taken, and used.
takes 300M 76800
gives 300M 76800
use() { mkdir -p /mnt && mount -t tmpfs -o size=100% tmpfs /mnt && dd if=/dev/zero of=/mnt/file bs=1M count=500 2>/dev/null && rm /mnt/file && umount /mnt; }
check it_can_be_used use

# Memory that nobody onlines counts as promised, until somebody does.
echo offline >/sys/devices/system/memory/auto_online_blocks
now=$(total)
adds offline_block 32768 128M whole
check total_is_the_same equal "$now" "$(total)"
more_promised() { [ "$(promised)" -gt $((150 * 256 + 32768)) ]; }
check it_is_promised wait_for 10 more_promised
online() { grep -lx offline /sys/devices/system/memory/memory*/state | while read -r state; do echo online >"$state"; done; }
check onlines online
check total_has_it equal $((now + 131072)) "$(total)"
check no_violations equal '' "$(host violations)"
