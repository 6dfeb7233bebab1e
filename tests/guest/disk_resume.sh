# SPDX-License-Identifier: GPL-2.0
#: what     Hibernation while disks come and go: what came is found, and an adapter that does not come back fails its commands
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=512M --disk scsi0:0:1,size=24M --scsi scsi1 --disk scsi1:0:0,size=8M
#: cpus     2
#: memory   384M
#: seconds  400
#: expect   PM: .* (failed|returned -)
# What happens while the guest sleeps is done by disk_resume.host: it adds a disk and takes one away each time, and the second
# time withdraws scsi1 for good.

three_disks() { disk_of_mib 512 && disk_of_mib 24 && disk_of_mib 8; }
no_disk_of() { ! disk_of_mib "$1" >/dev/null; }
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks wait_for 120 three_disks || exit 1
swap=/dev/$(disk_of_mib 512)
lost=/dev/$(disk_of_mib 8)
mkswap "$swap" >/dev/null
check swap swapon "$swap"

echo test_resume >/sys/power/disk
check round_trip_1 hibernate
check disk_came wait_for 20 disk_of_mib 17
check disk_went wait_for 20 no_disk_of 24

check round_trip_2 hibernate
check disk_came_again wait_for 20 disk_of_mib 18
# A command ends, with an error.
reads() { dd if="$lost" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; }
check lost_adapter_fails_commands ends_in_error 20 reads
check loss_is_told logged 'the channel cannot be opened again, so the adapter is out of use'
check the_other_reads dd if="$swap" of=/dev/null bs=4096 count=4 iflag=direct
check swap_off swapoff "$swap"
check driver_unloads wait_for 30 unload hv_storvsc
check host_has_no_complaint equal '' "$(host violations)"
