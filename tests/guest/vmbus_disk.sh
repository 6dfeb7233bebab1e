# SPDX-License-Identifier: GPL-2.0
#: what     The C storage driver over our bus: reads what it wrote, with sub-channels, while a disk comes and goes
#: host     rlis
#: drivers  rustbus c
#: quick    none
#: modules  hv_vmbus hv_storvsc hv_utils
#: args     --scsi scsi0,channels=2 --disk scsi0:0:0,size=32M
#: cpus     1
#: seconds  180

check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check disk_comes wait_for 30 test -b /dev/sda
pattern() {
	dd if=/dev/urandom of=/tmp/pattern bs=1M count=4 2>/dev/null
	dd if=/tmp/pattern of=/dev/sda bs=1M oflag=direct 2>/dev/null && sync
	echo 3 >/proc/sys/vm/drop_caches
	dd if=/dev/sda of=/tmp/back bs=1M count=4 iflag=direct 2>/dev/null
	cmp /tmp/pattern /tmp/back
}
check reads_what_it_wrote pattern

scsi=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
device=$(vmbus_device $scsi)
check modalias equal vmbus:d96361baa104294db60572e2ffb1dc7f "$(cat "$device/modalias")"
check uevent_modalias grep -q MODALIAS=vmbus:d96361baa104294db60572e2ffb1dc7f "$device/uevent"
check vendor equal 0x1414 "$(cat "$device/vendor")"
check device equal 0x1 "$(cat "$device/device")"
check state equal 3 "$(cat "$device/state")"
check vp_mapping grep -qE '^[0-9]+:0$' "$device/channel_vp_mapping"
relid=$(cat "$device/id")
check channel_folder test -d "$device/channels/$relid"
for file in out_mask in_mask read_avail write_avail cpu interrupts events intr_in_full intr_out_empty out_full_first \
	out_full_total subchannel_id; do
	check "channel_$file" grep -qE '^[0-9]+$' "$device/channels/$relid/$file"
done
check signals_counted test "$(cat "$device/channels/$relid/events")" -gt 0
for file in out_intr_mask out_read_index out_write_index out_read_bytes_avail out_write_bytes_avail in_intr_mask \
	in_read_index in_write_index in_read_bytes_avail in_write_bytes_avail; do
	check "device_$file" grep -qE '^[0-9]+$' "$device/$file"
done
check monitor_files_hidden test ! -e "$device/monitor_id"
check no_such_cpu sh -c "! echo 7 >$device/channels/$relid/cpu"
check same_cpu sh -c "echo 0 >$device/channels/$relid/cpu"

# The driver is bound by hand.
drivers=/sys/bus/vmbus/drivers
instance=$(basename "$device")
check unbind sh -c "echo $instance >$drivers/hv_storvsc/unbind"
check closed_reads_invalid sh -c "! cat $device/out_read_index"
check state_after_unbind equal 2 "$(cat "$device/state")"
check bind sh -c "echo $instance >$drivers/hv_storvsc/bind"
check disk_back wait_for 60 sh -c 'ls /sys/block | grep -q sd'

check utils_load load hv_utils
check new_id sh -c "echo 11111111-2222-3333-4444-555555555555 >$drivers/hv_utils/new_id"
check new_id_twice sh -c "! echo 11111111-2222-3333-4444-555555555555 >$drivers/hv_utils/new_id"
check remove_id sh -c "echo 11111111-2222-3333-4444-555555555555 >$drivers/hv_utils/remove_id"
check remove_id_twice sh -c "! echo 11111111-2222-3333-4444-555555555555 >$drivers/hv_utils/remove_id"
check new_id_rubbish sh -c "! echo rubbish >$drivers/hv_utils/new_id"
check driver_override sh -c "echo hv_utils >$device/driver_override && grep -q hv_utils $device/driver_override && echo >$device/driver_override"
check hibernation_file grep -qE '^[01]$' /sys/bus/vmbus/hibernation
