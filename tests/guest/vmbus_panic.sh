# SPDX-License-Identifier: GPL-2.0
#: what     A panic is reported to the host, and ends the connection before the guest starts anew
#: host     rlis
#: drivers  rustbus rust c
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --outlive-crash --scsi scsi0,channels=2 --disk scsi0:0:0,size=16M
#: cmdline  panic=-1
#: cpus     2
#: seconds  120
#: ends     10
#: host_log crashes reported: 1; VMBus at the end: not connected
#: expect   Kernel panic - not syncing: sysrq triggered crash

check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check utils_load load hv_utils
check disk wait_for 30 test -b /dev/sda
(while :; do dd if=/dev/sda of=/dev/null bs=64k iflag=direct 2>/dev/null; done) &
sleep 1
check no_violations equal '' "$(host violations)"
# The last word of this scenario; the rest is in the host's log.
echo 'rlis-end: 0' >/dev/kmsg
echo 1 >/proc/sys/kernel/sysrq
echo c >/proc/sysrq-trigger
