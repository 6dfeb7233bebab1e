# SPDX-License-Identifier: GPL-2.0
#: what     Channels move between CPUs, and away from one that goes offline, while a disk is read
#: host     rlis
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --scsi scsi0,channels=2 --disk scsi0:0:0,size=32M
#: cpus     2
#: seconds  240
#: c:bus-no-modify-response  waits for ever
#: ours:bus-no-modify-response  the CPU stays online; reads go on
#: ours:bus-refuse-modify  the channel stays where it is

scsi=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check disk_comes wait_for 30 test -b /dev/sda
device=$(vmbus_device $scsi)
relid=$(cat "$device/id")
cpu=$device/channels/$relid/cpu
first=$(cat "$cpu")
other=$((1 - first))
reads() { dd if=/dev/sda of=/dev/null bs=64k count="$1" iflag=direct 2>/dev/null; }
set_cpu() { echo "$1" >"$cpu"; }
online() { echo "$1" >/sys/devices/system/cpu/cpu1/online; }

check reads_at_first reads 8
check moves set_cpu $other
check moved equal $other "$(cat "$cpu")"
check mapping_follows grep -qx "$relid:$other" "$device/channel_vp_mapping"
check reads_after_move reads 8
check refused_move_armed host fault vmbus bus-refuse-modify 1
check refused_move sh -c "! echo $first >$cpu"
check refused_move_stays equal $other "$(cat "$cpu")"
check no_such_cpu sh -c "! echo 5 >$cpu"
check rubbish sh -c "! echo rubbish >$cpu"
check moves_back set_cpu 1

# The CPU that the channel is on goes away under load.
(while [ ! -e /tmp/stop ]; do reads 4; done) &
rounds() {
	for round in 1 2 3 4 5; do
		online 0 || { echo "round $round: offline refused"; return 1; }
		[ "$(cat "$cpu")" = 0 ] || { echo "round $round: channel stayed on cpu $(cat "$cpu")"; return 1; }
		online 1 && set_cpu 1 || { echo "round $round: not back"; return 1; }
	done
}
check cpu_goes_under_load rounds
touch /tmp/stop
wait
check reads_after_load reads 8

# A host that does not say when it has moved a channel: the CPU has to stay.
check no_answer_armed host fault vmbus bus-no-modify-response 1
check no_answer_keeps_cpu sh -c '! echo 0 >/sys/devices/system/cpu/cpu1/online'
check reads_after_no_answer reads 8
check goes_with_answer online 0
check comes_back online 1

# Before 5.3 no host says so.
check storvsc_unloads wait_for 20 unload hv_storvsc
check bus_unloads unload hv_vmbus
check bus_loads_at_4.1 load hv_vmbus max_version=$((4 * 65536 + 1))
check storvsc_loads_at_4.1 load hv_storvsc
check disk_comes_at_4.1 wait_for 30 test -b /dev/sda
device=$(vmbus_device $scsi)
cpu=$device/channels/$(cat "$device/id")/cpu
check moves_at_4.1 set_cpu 1
check reads_at_4.1 reads 8
check cpu_stays_at_4.1 sh -c '! echo 0 >/sys/devices/system/cpu/cpu1/online'
check moves_back_at_4.1 set_cpu 0
