# SPDX-License-Identifier: GPL-2.0
#: what     A SCSI status that says all there is to say reaches the mid-layer, whatever the SRB status beside it
#: drivers  rust
#: when     all
#: cpus     2
#: seconds  150
#: fault:error  answers BUSY and TASK SET FULL, beside any SRB status
#: c:error  an I/O error, if the SRB status beside it is 0x04

driver_args='logging_level=2'
check starts start luns=1 lun_mib=32
check disk wait_for 10 has_disk 0 0 || exit 1
a=$(disk 0 0)

# read_after SRB SCSI: one read succeeds although it is answered so twenty times. As a failed try it has six.
disarmed() { grep -q '^dev 0 .* armed 0' $bus/stat; }
one_read() { dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct; }
read_after() {
	ctl fault 0 error 20 0x28 "$1" "$2" 0 0 0 && one_read && disarmed
	status=$?
	ctl fault 0 error 0 0 0 0 0 0 0
	return $status
}
# BUSY and TASK SET FULL with each SRB status that hosts send them with.
for srb in 0x01 0x04 0x05 0x84; do
	check "busy_20_times_srb_$srb" read_after $srb 0x08
	check "task_set_full_20_times_srb_$srb" read_after $srb 0x28
done

# The mid-layer shortens the queue when it has been told eleven times, not more often than every 16 jiffies.
depth() { cat /sys/block/$a/device/queue_depth; }
before=$(depth)
shrinks() {
	ctl fault 0 error 200 0x28 0x84 0x28 0 0 0
	for round in $(seq 40); do
		run_fio --name=r --filename=/dev/$a --size=256k --rw=randread --bs=4k --iodepth=4 || return 1
		[ "$(depth)" -lt "$before" ] && break
		sleep 0.1
	done
	ctl fault 0 error 0 0 0 0 0 0 0
	[ "$(depth)" -lt "$before" ] || { echo "queue depth $before stays in round $round"; return 1; }
}
# The lines of the scan are as many as there may be in five seconds.
sleep 6
check queue_depth_shrinks shrinks

# SG_IO learns the status, and no error of the host adapter's.
# sg_status SRB SCSI WANT
sg_status() {
	ctl fault 0 error 1 0x28 "$1" "$2" 0 0 0
	said=$(sg_raw -v -r 512 /dev/$a 28 00 00 00 00 00 00 00 01 00 2>&1)
	ctl fault 0 error 0 0 0 0 0 0 0
	echo "$said" | grep -qi "$3" && ! echo "$said" | grep -qi 'DID_ERROR\|host_status' || { echo "$said"; false; }
}
check reservation_conflict_is_told sg_status 0x04 0x18 'reservation conflict'
check task_aborted_is_told sg_status 0x82 0x40 'task aborted'
check logged_with_level_2 logged 'tag#[0-9]+ cmd 0x28 status: scsi 0x28 srb 0x84'

# With logging level 2 the sense data are told, too. Ten lines in five seconds are the limit.
sleep 6
medium_error() { ctl fault 0 error 1 0x28 0x84 2 3 0x11 0 && ! one_read; }
check medium_error_fails medium_error
check sense_is_told logged 'hv_storvsc.*tag#[0-9]+ sense: key 0x3 asc 0x11 ascq 0x0'
check no_violations no_violations
check module_goes stop
