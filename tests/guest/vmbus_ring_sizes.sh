# SPDX-License-Identifier: GPL-2.0
#: what     Whatever storvsc_ringbuffer_size says there is a disk: up to the most that a GPADL names, on memory in many pieces; what is out of range is told
#: host     rlis
#: drivers  rust
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=64M
#: cpus     2
#: memory   768M
#: seconds  300

disk() { ls -d /sys/block/sd? 2>/dev/null; }
written() {
	head -c 4194304 /dev/urandom >/tmp/content
	for i in 0 1 2 3; do
		dd if=/tmp/content of="$1" bs=262144 seek=$((i * 16)) oflag=direct 2>/dev/null &
	done
	wait
	for i in 0 1 2 3; do
		dd if="$1" bs=262144 skip=$((i * 16)) count=16 iflag=direct 2>/dev/null | cmp - /tmp/content || return 1
	done
}
check bus_loads load hv_vmbus
told() { dmesg | grep -c 'storvsc_ringbuffer_size=.* is out of range'; }
before=0
# 64 MiB is more than a GPADL names, and the largest ring there can be is taken; less than 16 KiB are no ring for a disk.
for kib in -1 4 1024 2048 4096 65536; do
	check "loads_$kib" load hv_storvsc storvsc_ringbuffer_size=$((kib * 1024))
	case $kib in -1 | 4 | 65536) lines=1 ;; *) lines=0 ;; esac
	check "told_$kib" equal $lines $(($(told) - before))
	before=$(told)
	check "disk_$kib" wait_for 30 disk || continue
	check "sub_channel_$kib" wait_for 20 host_says '^scsi0 .* sub=1 .* open' list
	case $kib in -1 | 4) most=20 ;; 65536) most=16380 ;; *) most=$kib ;; esac
	in_size=$(($(cat /sys/bus/vmbus/devices/*/in_write_bytes_avail | head -n 1) / 1024))
	check "ring_is_that_large_$kib" test "$in_size" -ge $((most - 8)) -a "$in_size" -le "$most"
	check "content_$kib" written "/dev/$(basename "$(disk)")"
	check "unloads_$kib" wait_for 20 unload hv_storvsc
done
check nothing_reported sh -c '! dmesg | grep -E "page allocation failure|WARNING"'
check bus_unloads unload hv_vmbus
check no_violations equal '' "$(host violations)"
