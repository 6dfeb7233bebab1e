# SPDX-License-Identifier: GPL-2.0
#: what     A disk that is added while the guest runs is found, read, and survives an error of the host
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0
#: cpus     1

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check host_adds_disk host lun-add scsi0:0:1,size=16M
disk() { ls /sys/bus/scsi/devices/*:0:1/block 2>/dev/null; }
check disk_appears wait_for 20 disk
read_it() { dd if="/dev/$(disk)" of=/dev/null bs=4096 count=16 iflag=direct; }
check reads read_it
# Medium error, unrecovered read error: sense key 3, ASC 0x11, ASCQ 0.
check error_is_armed host fault scsi0 check-condition 1 0x031100
fails() { ! read_it; }
check error_reaches_reader fails
check reads_again read_it
check no_violations equal '' "$(host violations)"
