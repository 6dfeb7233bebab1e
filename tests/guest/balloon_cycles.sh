# SPDX-License-Identifier: GPL-2.0
#: what     The host takes memory and gives it back 500 times while programs fill and empty memory; no page is lost and none changes
#: host     rlis
#: drivers  c rustbus rust
#: quick    none
#: when     all
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device
#: memory   512M
#: cpus     2
#: cmdline  kmemleak=on
#: seconds  900

check bus_loads load hv_vmbus
check balloon_loads load hv_balloon pressure_report_delay=0
check agreed wait_for 20 host_says 'ready=1 balloon=1' memory
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
debugfs() { sed -n "s/^$1 *: //p" /sys/kernel/debug/hv-balloon; }
before=$(total)

# Two programs that write files to memory, read them back and remove them, each with a content of its own; small files in
# great number leave holes in memory, so that large pieces are not always to be had.
mkdir -p /mnt
mount -t tmpfs -o size=100% tmpfs /mnt
churn() {
	local n=0 sum
	while [ ! -e /tmp/stop ]; do
		n=$((n + 1))
		rm -rf "/mnt/${1:?}"
		mkdir "/mnt/$1"
		dd if=/dev/urandom of="/mnt/$1/large" bs=64K count=$((16 + n % 5 * 32)) 2>/dev/null || return
		sum=$(md5sum <"/mnt/$1/large")
		for file in $(seq 200); do echo "$1 $n $file" >"/mnt/$1/$file"; done
		[ "$sum" = "$(md5sum <"/mnt/$1/large")" ] || { echo "$1 changed in round $n"; return 1; }
		[ "$(cat "/mnt/$1/200")" = "$1 $n 200" ] || { echo "$1/200 changed in round $n"; return 1; }
	done
	echo "$n" >"/tmp/rounds-$1"
}
churn a >/tmp/churn-a 2>&1 & a=$!
churn b >/tmp/churn-b 2>&1 & b=$!

# From one page to 96 MiB, in sizes that are no multiple of a large page, given back in messages of 1 to 510 ranges.
cycles() {
	local round pages
	for round in $(seq 500); do
		pages=$((1 + round * 7919 % 24576))
		host_says "^pages=$pages " balloon $((pages * 4))K && host_says "^pages=$pages " unballoon --ranges $((1 + round * 37 % 510)) ||
			{ echo "round $round: $pages pages"; return 1; }
	done
}
check up_and_down_500 cycles
touch /tmp/stop
wait $a
check content_a_stays equal 0 $?
wait $b
check content_b_stays equal 0 $?
check there_was_load test "$(cat /tmp/rounds-a /tmp/rounds-b | sort -n | head -n 1)" -ge 5
note "$(cat /tmp/churn-a /tmp/churn-b; cat /tmp/rounds-a /tmp/rounds-b | tr '\n' ' ') rounds of load"
umount /mnt
check none_is_ballooned equal 0 "$(debugfs pages_ballooned)"
check host_has_none host_says ' ballooned=0 ' memory
check no_page_is_lost equal "$before" "$(total)"
c_drivers || check unloads unload hv_balloon
check still_none_is_lost equal "$before" "$(total)"
check no_leak no_leak
check no_violations equal '' "$(host violations)"
