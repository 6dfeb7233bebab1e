# SPDX-License-Identifier: GPL-2.0
#: what     A host that does not confirm the end of a channel: its commands stay with it, others fail at once, a withdrawal ends all
#: host     rlis
#: drivers  rust
#: quick    none
#: when     all
#: modules  hv_vmbus hv_storvsc
#: programs sg_reset
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=16M
#: cpus     2
#: seconds  1000
# Our bus waits ten minutes for the end of a disk controller's channel.

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk wait_for 60 test -b /dev/sda || exit 1
echo 5 >/sys/block/sda/device/timeout
check loss_armed host fault scsi0 no-reply 1
dd if=/dev/sda of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null &
reader=$!
check command_lost wait_for 20 none_armed
# Of the sub-channel, which is closed first. A host that withdraws it then is through with it, so this one does not.
check no_withdrawal_armed host fault scsi0 bus-no-rescind 1
check no_end_armed host fault vmbus bus-no-gpadl-torndown 1
begin=$(uptime)
fails() { ! timeout 900 sg_reset -H /dev/sda 2>/dev/null; }
check reset_fails fails
took=$(($(uptime) - begin))
check it_was_patient test $took -ge 600 -a $took -le 700
check it_is_told logged 'hv_storvsc.*the host does not confirm that the channel is closed, so 1 commands stay with it'
still_out() { kill -0 $reader; }
check command_stays_out still_out
others_fail() { ! timeout 20 dd if=/dev/sda of=/dev/null bs=4096 count=1 skip=8 iflag=direct 2>/dev/null && [ $? = 0 ]; }
check others_fail_at_once others_fail
check host_withdraws host rescind scsi0
ended() { ! kill -0 $reader 2>/dev/null; }
check command_ends wait_for 30 ended
gone() { [ ! -b /dev/sda ]; }
check disk_goes wait_for 30 gone
check host_offers host offer scsi0
check disk_again wait_for 60 test -b /dev/sda
check reads dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct
check driver_unloads wait_for 30 unload hv_storvsc
host violations --take >/dev/null
