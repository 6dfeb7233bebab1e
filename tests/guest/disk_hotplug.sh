# SPDX-License-Identifier: GPL-2.0
#: what     Units come, go, grow and shrink while another one is written and verified, as does the whole controller
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs fio mke2fs e2fsck resize2fs
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=16M --disk scsi0:0:1,size=32M --scsi scsi1 --disk scsi1:0:0,size=8M
#: cpus     2
#: seconds  600

disk_at() { for h in /sys/bus/scsi/devices/*:"$1"/block/*; do [ -d "$h" ] && [ "$(cat "$h/size")" != 16384 ] && basename "$h"; done | grep .; }
has_disk() { [ -b "/dev/$(disk_at "$1")" ]; }
no_disk() { ! disk_at "$1" >/dev/null; }
blocks() { cat "/sys/block/$(disk_at "$1")/size"; }
has_blocks() { equal "$2" "$(blocks "$1")"; }
touch_disk() { dd if="/dev/$(disk_at "$1")" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; true; }

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk wait_for 60 has_disk 0:0
check second_disk wait_for 30 has_disk 0:1
loaded=/dev/$(disk_at 0:0)

# Writes and verifies until it is told to stop.
touch /tmp/load
while [ -e /tmp/load ]; do
	fio --name=load --minimal --filename="$loaded" --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --size=512k --iodepth=8 \
		--numjobs=2 --offset_increment=1m --verify=crc32c --verify_fatal=1 --random_generator=lfsr >/tmp/fio 2>&1 || { tail -n 3 /tmp/fio >/tmp/failed; break; }
	echo round >>/tmp/rounds
done &
load=$!

come_and_go() {
	for lun in 3 4 5; do
		host lun-add "scsi0:0:$lun,size=4M" || return 1
		wait_for 60 has_disk "0:$lun" || { echo "unit $lun does not come"; return 1; }
		dd if=/dev/urandom of=/tmp/new bs=64k count=4 2>/dev/null
		dd if=/tmp/new of="/dev/$(disk_at "0:$lun")" bs=64k oflag=direct 2>/dev/null &&
			dd if="/dev/$(disk_at "0:$lun")" bs=64k count=4 iflag=direct 2>/dev/null | cmp - /tmp/new || return 1
	done
	for lun in 4 3 5; do
		host lun-remove "scsi0:0:$lun" || return 1
		wait_for 60 no_disk "0:$lun" || { echo "unit $lun does not go"; return 1; }
	done
}
check units_come_and_go come_and_go
check units_come_and_go_again come_and_go
at_once() {
	for lun in 10 11 12 13; do host lun-add "scsi0:1:$lun,size=2M" || return 1; done
	for lun in 10 11 12 13; do wait_for 60 has_disk "1:$lun" || { echo "unit $lun does not come"; return 1; }; done
	for lun in 10 11 12 13; do host lun-remove "scsi0:1:$lun" || return 1; done
	for lun in 10 11 12 13; do wait_for 60 no_disk "1:$lun" || { echo "unit $lun does not go"; return 1; }; done
}
check four_at_once at_once

# A file system grows with its disk, and the disk shrinks again after it.
disk=/dev/$(disk_at 0:1)
check ext4_made /usr/bin/mke2fs -q -t ext4 "$disk" 24M
mkdir -p /mnt/disk
check grow host lun-resize scsi0:0:1 64M
touch_disk 0:1
check grown wait_for 20 has_blocks 0:1 131072
check ext4_grows /usr/bin/resize2fs "$disk" 60M
check ext4_mounts mount "$disk" /mnt/disk
check ext4_has_room dd if=/dev/zero of=/mnt/disk/file bs=1M count=40
check ext4_unmounts umount /mnt/disk
check fsck /usr/bin/e2fsck -fn "$disk"
check shrink host lun-resize scsi0:0:1 62M
touch_disk 0:1
check shrunk wait_for 20 has_blocks 0:1 126976
check fsck_after_shrink /usr/bin/e2fsck -fn "$disk"
beyond() { ! dd if="$disk" of=/dev/null bs=1M skip=63 count=1 iflag=direct 2>/dev/null || equal 0 "$(dd if="$disk" bs=1M skip=63 count=1 iflag=direct 2>/dev/null | wc -c)"; }
check nothing_beyond_the_end beyond

# The other controller goes and comes back. The C driver never ends a command that it could not send to one that has gone,
# for which the power-off would wait.
other() { [ "$(cat /sys/block/sd*/size | grep -cx 16384)" = "$1" ]; }
check other_controller wait_for 30 other 1
controller_goes() { host rescind scsi1 && wait_for 60 other 0; }
controller_comes() { host offer scsi1 && wait_for 60 other 1; }
if ! c_drivers; then
	for round in 1 2 3; do
		check "controller_goes_$round" controller_goes
		check "controller_comes_$round" controller_comes
	done
fi
# Who still has a disk of it open does not keep it from coming back; with the C bus the new device is taken for the old one.
if [ "$DRIVERS" = rust ]; then
	exec 8<"/dev/$(grep -lx 16384 /sys/block/sd*/size | cut -d/ -f4)"
	check open_controller_goes controller_goes
	check open_controller_comes controller_comes
	# A disk that is gone has no blocks any more: reading it is an error, or meets its end at once.
	check old_disk_is_gone equal 0 "$(dd bs=4096 count=1 <&8 2>/dev/null | wc -c)"
	exec 8<&-
fi

rm /tmp/load
wait $load
check load_was_verified equal '' "$(cat /tmp/failed 2>/dev/null)"
check load_went_on test "$(wc -l </tmp/rounds)" -ge 2
check host_has_no_complaint equal '' "$(host violations)"
