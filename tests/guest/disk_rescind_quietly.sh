# SPDX-License-Identifier: GPL-2.0
#: what     Answers that lie in the ring when the controller is withdrawn, and of which nobody was told, count
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=8M
#: cpus     2
#: seconds  180

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
sub_open() { host_says '^scsi0 .* sub=1 .*open$' list; }
check sub_channel_open wait_for 20 sub_open
settled() { [ "$(cat /sys/module/hv_storvsc/refcnt)" = 0 ]; }
check at_rest wait_for 20 settled
# A read on each CPU, and thus on each channel. The host carries it out, and does not signal.
check not_signalled host fault scsi0 no-signal 2
for cpu in 0 1; do
	{ taskset $((1 << cpu)) dd if=/dev/sda of=/tmp/read$cpu bs=4096 count=1 skip=$cpu iflag=direct 2>/tmp/said$cpu; echo $? >/tmp/result$cpu; } &
done
check both_are_answered wait_for 20 none_armed
sleep 1
check nobody_knows sh -c '! [ -e /tmp/result0 ] && ! [ -e /tmp/result1 ]'
check withdrawn host rescind scsi0
wait
for cpu in 0 1; do
	check "read_$cpu" equal 0 "$(cat /tmp/result$cpu)"
	check "whole_$cpu" equal 4096 "$(wc -c </tmp/read$cpu)"
done
gone() { ! [ -e /sys/block/sda ]; }
check disk_goes wait_for 20 gone
check comes_back host offer scsi0
check disk_is_back wait_for 30 test -b /dev/sda
check reads dd if=/dev/sda of=/dev/null bs=4096 count=1 iflag=direct
check no_violations equal '' "$(host violations)"
