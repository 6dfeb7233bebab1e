# SPDX-License-Identifier: GPL-2.0
#: what     Another disk in the place of one is found as another: the former goes, with what was not yet written to it
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=8M --disk scsi0:0:1,size=8M
#: cpus     2
#: seconds  300

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
# disk LUN: the name of the disk there.
disk() { set -- "/sys/class/scsi_device/$scsi:0:0:$1/device/block"/*; [ -e "$1" ] && basename "$1"; }
controller() { find /sys/class/scsi_host -name 'host*' | sed 's/.*host//' | grep .; }
check controller_there wait_for 20 controller
scsi=$(controller)
both() { disk 0 && disk 1; }
check disks_there wait_for 30 both || exit 1
serial() { od -An -c -j4 "/sys/class/scsi_device/$scsi:0:0:$1/device/vpd_pg80" | tr -d ' \n'; }
sectors() { cat "/sys/block/$(disk "$1")/size"; }
other=$(serial 0)
# found SECTORS SERIAL: the disk at LUN 1 has that size and another serial number; that at LUN 0 stays.
found() {
	[ "$(sectors 1)" = "$1" ] && [ "$(serial 1)" != "$2" ] && [ "$(serial 0)" = "$other" ] ||
		{ echo "size $(sectors 1), serial $(serial 1), before $2"; false; }
}
# device_of LUN: what tells its disk from any other there ever was.
device_of() { readlink -f "/sys/block/$(disk "$1")/device" && cat "/sys/block/$(disk "$1")/diskseq"; }
size=8
for attention in '' 29/00 3f/03 3f/0e; do
	with=$(echo "${attention:-none}" | tr / _)
	size=$((size + 8))
	before=$(serial 1) kept=$(device_of 0)
	# Not written back, as long as the disk is open: it must not reach the other disk.
	exec 6<"/dev/$(disk 1)"
	dirty() { dd if=/dev/zero bs=4096 count=16 2>/dev/null | tr '\0' 'Z' | dd of="/dev/$(disk 1)" bs=4096 conv=notrunc 2>/dev/null; }
	check "written_to_cache_$with" dirty
	check "replaced_$with" host lun-replace "scsi0:0:1,size=${size}M" $attention
	check "found_$with" wait_for 30 found $((size * 2048)) "$before"
	exec 6<&-
	clean() { equal 0 "$(dd if="/dev/$(disk 1)" bs=4096 count=16 iflag=direct 2>/dev/null | tr -d '\0' | wc -c)"; }
	check "other_disk_untouched_$with" clean
	check "neighbour_stays_$with" equal "$kept" "$(device_of 0)"
done
check is_logged logged 'LUN 0:0:1 is another disk now'

# The same disk that says so stays, with whoever uses it.
kept=$(device_of 1)
exec 5<"/dev/$(disk 1)"
for attention in 29/00 3f/03 3f/0e 2a/09; do
	check "attention_$(echo $attention | tr / _)" host lun-attention scsi0:0:1 $attention
	read_it() { dd if="/dev/$(disk 1)" of=/dev/null bs=4096 count=1 iflag=direct; }
	check "reads_on_$(echo $attention | tr / _)" read_it
done
sleep 3
exec 5<&-
check same_disk_stays equal "$kept" "$(device_of 1)"
check resized_on_the_host host lun-resize scsi0:0:1 16M
# The host tells it to the next command.
check resized_disk_reads read_it
check size_follows wait_for 30 found 32768 none
check resized_disk_stays equal "$kept" "$(device_of 1)"
# An announcement says that something has changed, and not what: a disk that is the same is not looked at for its size, as with
# the C driver. But its unit attention is asked for then, if nobody else has been told.
check resized_again host lun-resize scsi0:0:1 24M
check neighbour_added host lun-add scsi0:0:2,size=4M
check size_follows_the_announcement wait_for 30 found 49152 none
check same_disk_is_not_replaced equal "$kept" "$(device_of 1)"
check no_violations equal '' "$(host violations)"
