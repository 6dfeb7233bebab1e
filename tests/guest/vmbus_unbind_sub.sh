# SPDX-License-Identifier: GPL-2.0
#: what     A driver is unbound while the host is slow to open one of its sub-channels: nothing is used after it was freed, none is left behind
#: host     rlis
#: drivers  rustbus rust
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=16M
#: cpus     2
#: seconds  240
#: c:bus-slow-open-result  uses what was freed; the sub-channel stays

scsi=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
sub_channels() { equal "$1" "$(host list | grep -c '^scsi0 .* sub=[1-9] .*open$')"; }
disk() { test -b /dev/sda; }
check disk_comes wait_for 30 disk
check sub_channel_open wait_for 30 sub_channels 1
id=$(basename "$(vmbus_device $scsi)")
driver=/sys/bus/vmbus/drivers/storvsc
[ -d $driver ] || driver=/sys/bus/vmbus/drivers/hv_storvsc
unbind() { echo "$id" >$driver/unbind; }
bind() { echo "$id" >$driver/bind; }
only_primary() { ! host list | grep -qv '^scsi0 .* sub=0 .* offered$'; }
check unbinds unbind
check none_left wait_for 20 only_primary
armed() { host faults | grep -q "bus-slow-open-result $1\$"; }
for round in 1 2 3; do
	# The device's own channel opens slowly, too. Then the sub-channel's answer is on its way.
	check "slow_armed_$round" host fault scsi0 bus-slow-open-result 2 6000
	bind &
	check "primary_opening_$round" wait_for 30 armed 1
	check "sub_channel_opening_$round" wait_for 60 none_armed
	wait
	check "unbinds_meanwhile_$round" unbind
	check "none_left_$round" wait_for 30 only_primary
	sleep 2
done
check binds_again bind
check disk_again wait_for 30 disk
check sub_channel_again wait_for 30 sub_channels 1
check reads dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct
check storage_unloads wait_for 20 unload hv_storvsc
check bus_unloads unload hv_vmbus
check no_violations equal '' "$(host violations)"
