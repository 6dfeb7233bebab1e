# SPDX-License-Identifier: GPL-2.0
#: what     A guest of 512 MiB needs more and more memory: its reports have the host add to it in time, and nothing is killed
#: host     rlis
#: drivers  c rustbus rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --hot-add 2G
#: memory   512M
#: seconds  300

# balloon_burst.host is the host's part: it adds 256 MiB whenever the guest's report says that little is available.
check bus_loads load hv_vmbus
check balloon_loads load hv_balloon pressure_report_delay=0
check agreed wait_for 20 host_says 'ready=1 balloon=1 hot-add=1' memory
echo online >/sys/devices/system/memory/auto_online_blocks
check reports wait_for 20 host_says 'reports=[1-9]' memory
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
before=$(total)
mkdir -p /mnt
mount -t tmpfs -o size=4G tmpfs /mnt
# 1.2 GiB, 24 MiB at a time, each as soon as a report could have come since the last.
burst() {
	local n
	for n in $(seq 50); do
		dd if=/dev/urandom of="/mnt/$n" bs=64K count=16 2>/dev/null && dd if=/dev/zero of="/mnt/$n" bs=1M seek=1 count=23 2>/dev/null ||
			{ echo "at $n of 50"; return 1; }
		md5sum <"/mnt/$n" >"/mnt/$n.sum"
		sleep 1
	done
}
check takes_all_it_needs burst
not_killed() { ! logged 'Out of memory|oom-kill'; }
check nothing_was_killed not_killed
check memory_was_added test "$(total)" -ge $((before + 768 * 1024))
holds() { for n in $(seq 50); do [ "$(md5sum <"/mnt/$n")" = "$(cat "/mnt/$n.sum")" ] || { echo "file $n changed"; return 1; }; done; }
check content_stays holds
rm -rf /mnt/[0-9]*
less_promised() { host_says ' available=[0-9]{6}' memory; }
check report_says_it_is_free wait_for 20 less_promised
check no_violations equal '' "$(host violations)"
