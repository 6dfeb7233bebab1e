# SPDX-License-Identifier: GPL-2.0
#: what     The driver that is looking at its disks cannot be unloaded, as with the C driver; when it has looked, it can
#: host     rlis
#: drivers  rust c mixed rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs perl
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=8M
#: cpus     1
#: seconds  120

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
quiet() { [ "$(cat /sys/module/hv_storvsc/refcnt)" = 0 ]; }
check at_rest wait_for 20 quiet
# The next command is the TEST UNIT READY that follows an announcement, and it is answered late.
check slow host fault scsi0 slow-reply 1 6000
check announced host lun-add scsi0:0:1,size=4M
# delete_module with O_NONBLOCK, as rmmod does; the error's number or ok.
remove() { perl -e 'my $name = "hv_storvsc"; print syscall(176, $name, 2048) == 0 ? "ok" : $! + 0'; }
check looks_at_it wait_for 3 none_armed
# EAGAIN, in the words of rmmod: resource temporarily unavailable.
check refused_meanwhile equal 11 "$(remove)"
check other_disk_comes wait_for 20 test -b /dev/sdb
check unloads_then wait_for 20 unload hv_storvsc
gone() { ! [ -e /dev/sda ] && ! [ -e /dev/sdb ]; }
check disks_are_gone wait_for 5 gone
check loads_again load hv_storvsc
both() { [ -b /dev/sda ] && [ -b /dev/sdb ]; }
check disks_are_back wait_for 30 both
check no_violations equal '' "$(host violations)"
