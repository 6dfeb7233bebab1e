# SPDX-License-Identifier: GPL-2.0
#: what     A disk whose channels are signalled by monitor pages: read and written, and sysfs tells of the monitor
#: host     rlis
#: drivers  c rustbus mixed rust
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,monitor --disk scsi0:0:0,size=16M --scsi scsi1,monitor,channels=1 --disk scsi1:0:0,size=16M
#: cpus     2
#: seconds  120

disks() { [ "$(ls -d /sys/block/sd? 2>/dev/null | wc -l)" = 2 ]; }
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks wait_for 30 disks
device=/sys/bus/vmbus/devices/$(host list | sed -n 's/^scsi1 .*sub=0 instance=\([^ ]*\) .*/\1/p')
check monitor_id equal 1 "$(cat "$device/monitor_id")"
check latency equal 10000 "$(cat "$device/client_monitor_latency")"
check connection equal "$((0x10000 + $(cat "$device/id")))" "$(cat "$device/client_monitor_conn_id")"
round_trip() {
	head -c 1048576 /dev/urandom >"/tmp/$1"
	dd if="/tmp/$1" of="/dev/$1" bs=16384 oflag=direct 2>/dev/null && dd if="/dev/$1" bs=16384 count=64 iflag=direct 2>/dev/null | cmp - "/tmp/$1"
}
check write_read_sda round_trip sda
check write_read_sdb round_trip sdb
triggered() { host stats | sed -n "s/^scsi$1 .* triggers=\\([0-9]*\\) .*/\\1/p" | awk '{ n += $1 } END { exit n < 100 }'; }
check by_monitor_0 triggered 0
check by_monitor_1 triggered 1
check no_hypercalls test "$(host stats | grep -cE '^scsi.* signals_in=0 ')" -ge 2
check unloads unload hv_storvsc
check loads_again load hv_storvsc
check disks_again wait_for 30 disks
