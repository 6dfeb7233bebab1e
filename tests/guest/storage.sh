# SPDX-License-Identifier: GPL-2.0
#: what     Disks and a DVD on a SCSI controller: found, read and written by every command, resized, added, removed
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs mke2fs e2fsck sg_raw sg_unmap sg_write_same sg_verify sg_sync sg_luns sg_readcap sg_inq sg_turs
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=64M --disk scsi0:0:1,size=3000G,block=4096 --disk scsi0:1:3,size=8M,readonly --dvd scsi0:0:2,size=1M
#: cpus     1
#: seconds  180

# disk_at TARGET:LUN: the device name of a unit.
disk_at() { basename "$(echo /sys/bus/scsi/devices/*:"$1"/block/*)"; }
has_disk() { [ -b "/dev/$(disk_at "$1")" ]; }
no_disk() { ! has_disk "$1"; }
blocks() { cat "/sys/block/$(disk_at "$1")/size"; }

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk_found wait_for 30 has_disk 0:0
check large_disk_found wait_for 10 has_disk 0:1
check second_target_found wait_for 10 has_disk 1:3
check dvd_found wait_for 10 test -b /dev/sr0
check size equal 131072 "$(blocks 0:0)"
check size_over_2_TB equal 6291456000 "$(blocks 0:1)"
check block_size_4096 equal 4096 "$(cat "/sys/block/$(disk_at 0:1)/queue/logical_block_size")"
check read_only_disk equal 1 "$(cat "/sys/block/$(disk_at 1:3)/ro")"
check missing_units_not_found equal 4 "$(ls -d /sys/bus/scsi/devices/*:*:*:* | wc -l)"
disk=/dev/$(disk_at 0:0)
large=/dev/$(disk_at 0:1)

# Written through one path, read back through another.
head -c 2097152 /dev/urandom >/tmp/data
round_trip() {
	dd if=/tmp/data of="$1" bs="$2" seek="$3" oflag=direct conv=fsync 2>/dev/null &&
		dd if="$1" of=/tmp/back bs="$2" skip="$3" count=$((2097152 / $2)) iflag=direct 2>/dev/null && cmp /tmp/data /tmp/back
}
check write_read_4k round_trip "$disk" 4096 0
check write_read_64k round_trip "$disk" 65536 100
check write_read_512 sh -c 'head -c 51200 /tmp/data >/tmp/small && dd if=/tmp/small of="$1" bs=512 seek=3 oflag=direct 2>/dev/null && dd if="$1" of=/tmp/small2 bs=512 skip=3 count=100 iflag=direct 2>/dev/null && cmp /tmp/small /tmp/small2' sh "$disk"
check write_read_behind_2_TB round_trip "$large" 4096 700000000

# Every command for itself. Block 10 of the disk is written by WRITE of one size and read by READ of another.
head -c 512 /dev/urandom >/tmp/block
raw_pair() { sg_raw -s 512 -i /tmp/block "$disk" $1 >/dev/null && sg_raw -r 512 -o /tmp/block2 "$disk" $2 >/dev/null && cmp /tmp/block /tmp/block2; }
check opcodes_6_and_10 raw_pair '0a 00 00 0a 01 00' '28 00 00 00 00 0a 00 00 01 00'
check opcodes_10_and_16 raw_pair '2a 00 00 00 00 0b 00 00 01 00' '88 00 00 00 00 00 00 00 00 0b 00 00 00 01 00 00'
check opcodes_12_and_6 raw_pair 'aa 00 00 00 00 0c 00 00 00 01 00 00' '08 00 00 0c 01 00'
check opcodes_16_and_12 raw_pair '8a 08 00 00 00 00 00 00 00 0d 00 00 00 01 00 00' 'a8 00 00 00 00 0d 00 00 00 01 00 00'
check test_unit_ready sg_turs "$disk"
check verify sg_verify --count=8 "$disk"
check synchronize sg_sync "$disk"
check report_luns sh -c 'sg_luns "$1" | grep -q "0002000000000000"' sh "$disk"
check read_capacity_16 sh -c 'sg_readcap --16 "$1" | grep -q "Last LBA=786431999"' sh "$large"
check vpd_pages sh -c 'for page in 0x80 0x83 0xb0 0xb1 0xb2; do sg_inq --page=$page "$1" >/dev/null || exit 1; done' sh "$disk"
is_zero() { dd if="$1" bs=512 skip="$2" count="$3" iflag=direct 2>/dev/null | tr -d '\0' | wc -c | grep -qx 0; }
check unmap sg_unmap --lba=100 --num=64 "$disk"
check unmapped_reads_zero is_zero "$disk" 100 64
check not_unmapped_is_kept test "$(dd if="$disk" bs=512 skip=164 count=1 iflag=direct 2>/dev/null | tr -d '\0' | wc -c)" -gt 0
check write_same sg_write_same --16 --lba=200 --num=32 --in=/tmp/block "$disk"
check written_same sh -c 'dd if="$1" bs=512 skip=231 count=1 iflag=direct of=/tmp/b 2>/dev/null && cmp /tmp/b /tmp/block' sh "$disk"
check discard blkdiscard -o 1048576 -l 1048576 "$disk"
check discarded_reads_zero is_zero "$disk" 2048 2048
unknown_command() { ! sg_raw "$disk" ff 00 00 00 00 00 >/tmp/sense 2>&1 && grep -qi 'invalid command' /tmp/sense; }
check sense_of_unknown_command unknown_command
beyond_end() { ! sg_raw -r 512 "$disk" 28 00 00 02 00 00 00 00 01 00 >/tmp/sense 2>&1 && grep -qi 'out of range' /tmp/sense; }
check sense_beyond_end beyond_end
residual() { sg_raw -r 255 "$disk" 12 00 00 00 ff 00 2>&1 | grep -q 'Received 36 bytes'; }
check residual residual

check ext4_made /usr/bin/mke2fs -q -t ext4 "$disk"
mkdir -p /mnt/disk
check ext4_mounts mount "$disk" /mnt/disk
check ext4_written sh -c 'for i in 1 2 3 4 5; do cp /tmp/data /mnt/disk/$i || exit 1; done; sync; echo 3 >/proc/sys/vm/drop_caches; for i in 1 2 3 4 5; do cmp /tmp/data /mnt/disk/$i || exit 1; done'
check ext4_unmounts umount /mnt/disk
check ext4_clean /usr/bin/e2fsck -fn "$disk"

check resize host lun-resize scsi0:0:0 128M
dd if="$disk" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null
bigger() { [ "$(blocks 0:0)" = 262144 ]; }
check resize_seen wait_for 10 bigger
check read_after_resize sh -c 'dd if="$1" bs=1M skip=120 count=1 iflag=direct of=/dev/null 2>/dev/null' sh "$disk"

check hot_add host lun-add scsi0:0:7,size=16M
check hot_add_seen wait_for 20 has_disk 0:7
check hot_added_works round_trip "/dev/$(disk_at 0:7)" 65536 0
check hot_remove host lun-remove scsi0:0:7
check hot_remove_seen wait_for 20 no_disk 0:7
# Nobody asks a disk for its size that is gone.
unasked() { ! dmesg | grep -F ' 0:0:0:7: ' | grep 'Read Capacity'; }
[ "$DRIVERS" = c ] || [ "$DRIVERS" = rustbus ] || check not_asked_again unasked
check other_disks_stay has_disk 0:0

check dvd_readable sh -c 'dd if=/dev/sr0 bs=2048 count=512 of=/dev/null 2>/dev/null'
unloads() { unload hv_storvsc && ! [ -b "$disk" ]; }
check unloads unloads
check loads_again load hv_storvsc
check found_again wait_for 30 has_disk 0:0
