# SPDX-License-Identifier: GPL-2.0
#: what     The system is written to a disk of the driver and read back from it; all disks, names and sub-channels are as before
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs fio mke2fs e2fsck
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=512M --disk scsi0:0:1,size=16M --fc fc0 --disk fc0:0:0,size=8M
#: cpus     2
#: memory   384M
#: seconds  400

three_disks() { disk_of_mib 512 && disk_of_mib 16 && disk_of_mib 8; }
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks wait_for 120 three_disks || exit 1
swap=/dev/$(disk_of_mib 512)
files=/dev/$(disk_of_mib 16)
fc=/dev/$(disk_of_mib 8)
fc_host=$(basename "$(readlink -f "/sys/block/$(disk_of_mib 8)/device")" | cut -d: -f1)
name() { cat "/sys/class/fc_host/host$fc_host/port_name"; }
name_before=$(name)
sub_open() { host_says '^scsi0 .* sub=1 .* open' list; }
check sub_channel_open wait_for 20 sub_open

check ext4_made /usr/bin/mke2fs -q -t ext4 "$files"
mkdir -p /mnt/disk
check ext4_mounts mount -t ext4 "$files" /mnt/disk
head -c 1000000 /dev/urandom >/tmp/content
check written_before cp /tmp/content /mnt/disk/before
dd if=/tmp/content of="$fc" bs=4096 count=64 oflag=direct 2>/dev/null
mkswap "$swap" >/dev/null
check swap swapon "$swap"

# Writes the image, restores from it at once, and goes on.
echo test_resume >/sys/power/disk
for n in 1 2; do
	check "round_trip_$n" hibernate
	check "host_here_$n" wait_for 20 host ping
	check "sub_channel_open_$n" wait_for 20 sub_open
	check "one_sub_channel_$n" equal 1 "$(host list | grep -c '^scsi0 .* sub=[1-9]')"
	check "written_after_$n" cp /tmp/content "/mnt/disk/after$n"
done
echo 3 >/proc/sys/vm/drop_caches
check content_holds sh -c 'for f in before after1 after2; do cmp /tmp/content /mnt/disk/$f || exit 1; done'
same() { dd if="$fc" bs=4096 count=64 iflag=direct 2>/dev/null | cmp - /tmp/fc; }
head -c 262144 /tmp/content >/tmp/fc
check fibre_channel_content same
check fibre_channel_name equal "$name_before" "$(name)"
check fio_after fio --name=after --minimal --filename="$fc" --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --size=1m --iodepth=8 --verify=crc32c --verify_fatal=1
check ext4_unmounts umount /mnt/disk
check ext4_clean /usr/bin/e2fsck -fn "$files"
check swap_off swapoff "$swap"
check host_has_no_complaint equal '' "$(host violations)"
