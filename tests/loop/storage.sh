# SPDX-License-Identifier: GPL-2.0
#: what     Disks come up, hold what is written, and change size and number while in use
#: drivers  c rust
#: quick    rust
#: cpus     2
#: seconds  150

check starts start luns=3 lun_mib=64
check first_disk wait_for 10 has_disk 0 0 || exit 1
check third_disk wait_for 10 has_disk 0 2
check disk_size has_size 0 67108864
a=$(disk 0 0)
b=$(disk 0 1)
check vendor equal 'Msft Virtual Disk' "$(cat /sys/block/$a/device/vendor /sys/block/$a/device/model | xargs)"
check timeout_is_180 equal 180 "$(cat /sys/block/$a/device/timeout)"
check host_template equal storvsc_host "$(cat /sys/class/scsi_host/host$(host 0)/proc_name)"
check virt_boundary equal 4095 "$(cat /sys/block/$a/queue/virt_boundary_mask)"
check discard_offered test "$(cat /sys/block/$a/queue/discard_max_bytes)" -gt 0

check write_and_verify verified $a 8m
check large_requests verified $a 32m --bs=1m --iodepth=8 --rw=write
check odd_sizes verified $a 4m --bsrange=512-96k --bs=512 --rw=write
check buffered verified $b 8m --direct=0 --ioengine=psync --iodepth=1
check four_jobs verified $a 2m --numjobs=4 --offset_increment=4m --iodepth=8
check four_jobs_read_and_write verified $a 2m --numjobs=4 --offset_increment=4m --rw=randrw --iodepth=8
check four_jobs_buffered verified $b 2m --numjobs=4 --offset_increment=4m --direct=0 --ioengine=psync --iodepth=1
check trim trimmed $a 4m
check two_disks_four_jobs run_fio --name=x --filename=/dev/$a:/dev/$b --size=8m --rw=randrw --bs=4k --iodepth=8 --numjobs=4 --runtime=4 --time_based
check discard /usr/bin/blkdiscard -o 4194304 -l 4194304 /dev/$a
discarded_is_zero() { [ "$(dd if=/dev/$a bs=1M skip=4 count=4 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] && [ "$(dd if=/dev/$a bs=1M skip=1 count=1 2>/dev/null | tr -d '\0' | wc -c)" != 0 ]; }
check discarded_is_zero discarded_is_zero
check write_zeroes /usr/bin/blkdiscard -z -o 1048576 -l 1048576 /dev/$a

check mkfs /usr/bin/mke2fs -q -t ext4 /dev/$b
check mount mount -t ext4 /dev/$b /mnt
filled() { for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/$i bs=64k count=64 2>/dev/null || return 1; done; md5sum /mnt/[0-9] >/tmp/sums; }
check write_files filled
check remount sh -c 'umount /mnt && mount -t ext4 /dev/'$b' /mnt'
check files_hold md5sum -c -s /tmp/sums
check umount umount /mnt
check fsck e2fsck -fn /dev/$b

# The host reports a new size with a unit attention on the next command.
check grow ctl lun 0 resize 0 96
dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
check grown wait_for 10 has_size 0 100663296
check shrink ctl lun 0 resize 0 48
dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
check shrunk wait_for 10 has_size 0 50331648
check attention_is_quiet sh -c "ctl() { echo \"\$*\" >$bus/ctl; }; ctl lun 0 attention 0; dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct"

check add_lun sh -c "echo 'lun 0 add 5 32' >$bus/ctl; echo 'notify 0 11' >$bus/ctl"
check lun_appears wait_for 15 has_disk 0 5
check add_4k_lun sh -c "echo 'lun 0 add 6 32 4096' >$bus/ctl; echo 'notify 0 11' >$bus/ctl"
check lun_4k_appears wait_for 15 has_disk 0 6
check block_size_4k equal 4096 "$(cat /sys/block/$(disk 0 6)/queue/logical_block_size)"
check verify_4k verified "$(disk 0 6)" 4m
check add_large_lun sh -c "echo 'lun 0 add 7 4194304' >$bus/ctl; echo 'notify 0 11' >$bus/ctl"
check lun_4tib_appears wait_for 15 has_disk 0 7
check size_4tib has_size 7 4398046511104
check verify_beyond_2tib verified "$(disk 0 7)" 2m --offset=3t

fio --name=load --filename=/dev/$a --size=32m --rw=randrw --bs=4k --ioengine=libaio --direct=1 --iodepth=8 --runtime=8 --time_based >/tmp/load 2>&1 &
load=$!
check remove_lun_under_load sh -c "echo 'lun 0 del 5' >$bus/ctl; echo 'notify 0 2' >$bus/ctl"
check lun_disappears wait_for 15 no_disk 0 5
wait $load
check load_unharmed equal 0 $?
check no_violations no_violations

check module_goes stop
check starts_again start luns=1 lun_mib=16
check disk_again wait_for 10 has_disk 0 0
check module_goes_again stop
