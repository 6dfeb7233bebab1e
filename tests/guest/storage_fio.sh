# SPDX-License-Identifier: GPL-2.0
#: what     Random data by every kind of read and write that fio has, verified; ext4 made, filled and checked
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs fio mke2fs e2fsck
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=96M --disk scsi0:0:1,size=32M,block=4096
#: cpus     2
#: seconds  900

two_disks() { [ "$(ls -d /sys/block/sd? 2>/dev/null | wc -l)" = 2 ]; }
disk_of() { for d in /sys/block/sd?; do [ "$(cat "$d/size")" = "$1" ] && echo "/dev/$(basename "$d")"; done; }
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks_found wait_for 30 two_disks
disk=$(disk_of 196608)
large=$(disk_of 65536)

# verified NAME DISK OPTION...: writes, then reads back and compares. Its output is shown only if it fails.
verified() {
	name=$1 file=$2
	shift 2
	fio --minimal --name="$name" --filename="$file" --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
		--random_generator=lfsr "$@" >"/tmp/$name" 2>&1 || { grep -v '^[0-9];' "/tmp/$name" | tail -n 5; false; }
}
# Through the block layer: READ and WRITE of 10 bytes, many in flight, each size up to the largest transfer and beyond.
check random_512 verified random_512 "$disk" --size=1m --rw=randwrite --bs=512 --ioengine=libaio --iodepth=8
check random_4k verified random_4k "$disk" --size=4m --rw=randwrite --bs=4k --ioengine=libaio --iodepth=32
check mixed_sizes verified mixed_sizes "$disk" --size=16m --rw=randwrite --bsrange=4k-256k --bs_unaligned=0 --ioengine=libaio --iodepth=8
check large_blocks verified large_blocks "$disk" --size=24m --rw=write --bs=4m --ioengine=libaio --iodepth=2
check read_while_writing verified read_while_writing "$disk" --size=4m --rw=randrw --bs=16k --ioengine=libaio --iodepth=16
check block_of_4096 verified block_of_4096 "$large" --size=4m --rw=randwrite --bsrange=4k-64k --ioengine=libaio --iodepth=16
# SYNCHRONIZE CACHE after every fourth write, WRITE with FUA after each.
check flushes verified flushes "$disk" --size=1m --rw=randwrite --bs=4k --ioengine=psync --fsync=4
check forced_unit_access verified forced_unit_access "$disk" --size=512k --rw=randwrite --bs=4k --ioengine=psync --sync=dsync
# UNMAP between the writes; what was given back is not read again.
trims() {
	fio --minimal --name=trims --filename="$disk" --direct=1 --size=8m --rw=randtrim --bs=64k --ioengine=libaio >/tmp/trims 2>&1 || { tail -n 5 /tmp/trims; return 1; }
	dd if="$disk" bs=64k count=128 iflag=direct 2>/dev/null | tr -d '\0' | wc -c | grep -qx 0
}
check unmap trims
# Straight to the device, past the block layer's own splitting: READ and WRITE of 10 and 16 bytes, FUA in both.
check sg verified sg "$disk" --size=1m --rw=randwrite --bs=4k --ioengine=sg
check sg_forced verified sg_forced "$disk" --size=512k --rw=randwrite --bs=4k --ioengine=sg --readfua=1 --writefua=1
check four_jobs verified four_jobs "$disk" --size=1m --offset_increment=1m --numjobs=4 --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16

mkdir -p /mnt/disk
for device in "$disk" "$large"; do
	name=$(basename "$device")
	check "ext4_made_$name" /usr/bin/mke2fs -q -F -t ext4 "$device"
	check "ext4_mounts_$name" mount "$device" /mnt/disk
	check "ext4_fio_$name" verified "ext4_$name" /mnt/disk/file --size=2m --rw=randwrite --bsrange=1k-64k --ioengine=psync --end_fsync=1 --direct=0
	check "ext4_files_$name" sh -c 'i=0; while [ $i -lt 200 ]; do head -c $((i * 37)) /dev/urandom >/mnt/disk/f$i || exit 1; i=$((i + 1)); done; cd /mnt/disk && md5sum f* >/tmp/sums && sync && echo 3 >/proc/sys/vm/drop_caches && md5sum -c /tmp/sums >/tmp/sums.out || grep -v OK /tmp/sums.out'
	check "ext4_unmounts_$name" umount /mnt/disk
	check "ext4_clean_$name" /usr/bin/e2fsck -fn "$device"
done
