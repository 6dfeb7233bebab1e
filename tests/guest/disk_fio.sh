# SPDX-License-Identifier: GPL-2.0
#: what     fio with verification on controllers with no, one and three sub-channels, several units, a DVD and a Fibre Channel disk
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs fio mke2fs e2fsck
#: args     --no-ic --scsi one --disk one:0:0,size=32M --disk one:0:1,size=24M,block=4096 --dvd one:0:2,size=1M --scsi two,channels=1 --disk two:0:0,size=40M --scsi four,channels=3,version=6.0 --disk four:0:0,size=48M --disk four:0:1,size=56M --fc fc0 --disk fc0:0:0,size=16M
#: cpus     4
#: seconds  900

# disk_of_mib MIB: the disk with that size. Sizes tell the disks apart, whatever order they are found in.
disks() { [ "$(ls -d /sys/block/sd* 2>/dev/null | wc -l)" = "$1" ]; }
channels() { host list | grep -cE "^$1 .* open$"; }
has_channels() { equal "$2" "$(channels "$1")"; }

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks_found wait_for 120 disks 6
check dvd_found wait_for 30 test -b /dev/sr0
check no_sub_channel wait_for 20 has_channels one 1
check one_sub_channel wait_for 20 has_channels two 2
check three_sub_channels wait_for 20 has_channels four 4

# run NAME ARGUMENT...: fio; what it has to say only if it fails. Every block that is written carries a checksum, which
# is compared when all are written.
run() {
	name=$1
	shift
	fio --name="$name" --minimal --ioengine=libaio --direct=1 --bs=4k --iodepth=8 --size=256k --random_generator=lfsr \
		--verify=crc32c --verify_fatal=1 --thread=0 "$@" >/tmp/fio 2>&1 || { grep -v '^[0-9];' /tmp/fio | tail -n 4; false; }
}
# Discarded block by block in any order, and then zero.
trimmed() {
	fio --name=trim --minimal --filename="$1" --direct=1 --ioengine=libaio --size=2m --rw=randtrim --bs=64k >/tmp/fio 2>&1 || { tail -n 4 /tmp/fio; return 1; }
	equal 0 "$(dd if="$1" bs=64k count=32 iflag=direct 2>/dev/null | tr -d '\0' | wc -c)"
}
four_jobs() { name=$1; file=$2; shift 2; run "$name" --filename="$file" --numjobs=4 --offset_increment=2m "$@"; }

for at in 'one 32' 'two 40' 'four 48'; do
	name=${at% *}
	disk=/dev/$(disk_of_mib "${at#* }")
	check "${name}_random_write" four_jobs w "$disk" --rw=randwrite
	check "${name}_random_read" four_jobs r "$disk" --rw=randread
	check "${name}_random_read_and_write" four_jobs rw "$disk" --rw=randrw --rwmixread=50
	check "${name}_large_requests" run large --filename="$disk" --rw=write --bs=512k --size=2m --iodepth=4
	check "${name}_trim" trimmed "$disk"
	check "${name}_buffered" four_jobs buffered "$disk" --rw=randwrite --direct=0 --ioengine=psync --iodepth=1 --fsync=64
done
check block_of_4096 run k4 --filename="/dev/$(disk_of_mib 24)" --rw=randwrite --iodepth=16
check odd_sizes run odd --filename="/dev/$(disk_of_mib 56)" --rw=write --bsrange=512-40k --bs_unaligned=0 --bs=512 --size=256k
check fibre_channel run fc --filename="/dev/$(disk_of_mib 16)" --rw=randrw
several() {
	names=
	for size in 32 24 40 48 56 16; do names="$names --name=u$size --filename=/dev/$(disk_of_mib $size)"; done
	# shellcheck disable=SC2086
	fio --minimal --ioengine=libaio --direct=1 --bs=4k --iodepth=4 --size=128k --rw=randrw --random_generator=lfsr \
		--verify=crc32c --verify_fatal=1 $names >/tmp/fio 2>&1 || { grep -v '^[0-9];' /tmp/fio | tail -n 4; false; }
}
check six_disks_at_once several
check all_channels_carried_requests test "$(host stats | grep -cE '^(one|two|four|fc0) .*received=[0-9]{2,}')" = 8
check dvd_reads dd if=/dev/sr0 of=/dev/null bs=2048 count=512
check dvd_is_read_only sh -c '! dd if=/dev/zero of=/dev/sr0 bs=2048 count=1 oflag=direct 2>/dev/null'

disk=/dev/$(disk_of_mib 56)
check ext4_made /usr/bin/mke2fs -q -t ext4 "$disk"
mkdir -p /mnt/disk
check ext4_mounts mount -o discard "$disk" /mnt/disk
on_files() { fio --name=files --minimal --directory=/mnt/disk --numjobs=4 --size=256k --bs=16k --rw=randwrite --ioengine=psync --fsync=16 --verify=crc32c --verify_fatal=1 --random_generator=lfsr >/tmp/fio 2>&1 || { tail -n 3 /tmp/fio; false; }; }
check ext4_fio on_files
check ext4_unmounts umount /mnt/disk
check ext4_clean /usr/bin/e2fsck -fn "$disk"
check no_errors sh -c '! dmesg | grep -E "I/O error|ignored a packet|could not be sent"'
# A guest that signals without need costs both sides an exit each time. The host may just have taken a packet on its own.
few_in_vain() {
	host stats | sed -n 's/^\([^ ]* relid=[0-9]*\).* received=\([0-9]*\).* empty_signals=\([0-9]*\).*/\1 \2 \3/p' | while read -r name relid received empty; do
		[ "$empty" -le $((received / 10 + 10)) ] || echo "$name $relid: $empty of $received"
	done
}
check few_signals_in_vain equal '' "$(few_in_vain)"
check host_has_no_complaint equal '' "$(host violations)"
