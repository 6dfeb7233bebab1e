# SPDX-License-Identifier: GPL-2.0
#: what     A controller with sub-channels under parallel load with comparison, and the other protocol version
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    rust
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,channels=3 --disk scsi0:0:0,size=64M --scsi scsi1,version=6.0,max-transfer=64K --disk scsi1:0:0,size=16M
#: cpus     2
#: seconds  240

disks() { ls -d /sys/block/sd? 2>/dev/null | wc -l; }
two_disks() { [ "$(disks)" = 2 ]; }
# disk_of SECTORS: the disk with that size.
disk_of() { for d in /sys/block/sd?; do [ "$(cat "$d/size")" = "$1" ] && basename "$d"; done; }
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks_found wait_for 30 two_disks
check sub_channel_open wait_for 20 host_says '^scsi0 relid=[0-9]+ sub=1 .* open$' list
multi=/dev/$(disk_of 131072)
small=/dev/$(disk_of 32768)
check max_transfer equal 64 "$(cat "/sys/block/$(basename "$small")/queue/max_hw_sectors_kb")"

# Writers and readers side by side, each with its own part of the disk, 16 KiB requests past the page cache.
part() {
	head -c 2097152 /dev/urandom >"/tmp/$2-$3"
	dd if="/tmp/$2-$3" of="$1" bs=16384 seek=$(($3 * 128)) oflag=direct 2>/dev/null
	dd if="$1" bs=16384 skip=$(($3 * 128)) count=128 iflag=direct 2>/dev/null | cmp - "/tmp/$2-$3" && touch "/tmp/ok-$2-$3"
}
verify() {
	for i in 0 1 2 3; do part "$1" "$2" $i & done
	wait
	[ "$(ls /tmp/ok-"$2"-* | wc -l)" = 4 ]
}
check parallel_on_sub_channels verify "$multi" multi
check parallel_on_one_channel verify "$small" small
# Both channels carried requests.
check both_channels_used test "$(host stats | grep -cE '^scsi0 .*received=[0-9]{2,}')" = 2
# The host withdraws the sub-channels when the device is closed, and offers them anew when it is asked again.
sub_channels() { host list | grep -c '^scsi0 .* sub=[1-9]'; }
none_left() { equal 0 "$(sub_channels)"; }
check storage_unloads unload hv_storvsc
check sub_channels_released wait_for 20 none_left
check storage_loads_again load hv_storvsc
check sub_channel_open_again wait_for 20 host_says '^scsi0 relid=[0-9]+ sub=1 .* open$' list
check disks_found_again wait_for 30 two_disks
multi=/dev/$(disk_of 131072)
check reads_what_it_writes_again part "$multi" again 0
check host_has_no_complaint equal '' "$(host violations)"
