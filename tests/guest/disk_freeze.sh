# SPDX-License-Identifier: GPL-2.0
#: what     A disk that the host adds or takes away in the very moment of hibernation does not keep it from coming to its end
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc slow_freeze
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=512M
#: cpus     2
#: memory   384M
#: seconds  300
# The SCSI layer lets no command pass from the time a disk is frozen. A scan that begins then would wait for that, and the driver
# for the scan. The device of slow_freeze, which was there before, is frozen after the disks and takes seconds.

check slow_device load slow_freeze ms=5000
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk wait_for 60 disk_of_mib 512 || exit 1
swap=/dev/$(disk_of_mib 512)
mkswap "$swap" >/dev/null
check swap swapon "$swap"
echo test_resume >/sys/power/disk
# disk_freeze.host adds and removes a disk meanwhile, again and again.
check round_trip hibernate
check last_disk_came wait_for 120 disk_of_mib 19
check still_reads dd if="$swap" of=/dev/null bs=4096 count=4 iflag=direct
check swap_off swapoff "$swap"
check driver_unloads wait_for 30 unload hv_storvsc
check host_has_no_complaint equal '' "$(host violations)"
