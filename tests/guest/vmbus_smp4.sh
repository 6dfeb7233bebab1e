# SPDX-License-Identifier: GPL-2.0
#: what     Four CPUs: each gets channels, all come and go under the load of a disk and while devices come and go
#: host     rlis
#: drivers  rustbus rust
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --scsi scsi0,channels=4 --disk scsi0:0:0,size=32M
#: cpus     4
#: when     all
#: seconds  600

scsi=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check four_cpus equal 0-3 "$(cat /sys/devices/system/cpu/online)"
check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc storvsc_vcpus_per_sub_channel=1
check utils_load load hv_utils
check disk_comes wait_for 60 test -b /dev/sda
device=$(vmbus_device $scsi)
channels() { ls "$device/channels" | wc -l; }
all_channels() { [ "$(channels)" -ge 4 ]; }
check channels wait_for 20 all_channels
used() { cat "$device"/channels/*/cpu | sort -u | wc -l; }
check a_cpu_for_each equal 4 "$(used)"

reads() { dd if=/dev/sda of=/dev/null bs=64k count="$1" iflag=direct 2>/dev/null; }
check reads_at_first reads 64
load_all() {
	for cpu in 0 1 2 3; do
		(while [ ! -e /tmp/stop ]; do taskset $((1 << cpu)) dd if=/dev/sda of=/dev/null bs=16k count=64 iflag=direct 2>/dev/null || sleep 0.1; done) &
	done
}
load_all
online() { echo "$2" >/sys/devices/system/cpu/cpu"$1"/online; }
rounds() {
	for round in $(seq "$1"); do
		for cpu in 1 2 3; do
			online $cpu 0 || { echo "round $round: cpu $cpu stays"; return 1; }
			cat "$device"/channels/*/cpu | grep -qx $cpu && { echo "round $round: a channel is left on cpu $cpu"; return 1; }
			[ $((round % 2)) = 0 ] && { online $cpu 1 || return 1; }
		done
		[ $((round % 2)) = 1 ] && for cpu in 3 1 2; do online $cpu 1 || return 1; done
		for channel in "$device"/channels/*; do echo $((round % 4)) >"$channel"/cpu || { echo "round $round: channel does not move"; return 1; }; done
	done
	true
}
check cpus_come_and_go rounds 6
check storm_meanwhile host offer-storm heartbeat 200 5000
check cpus_come_and_go_again rounds 2
touch /tmp/stop
wait
check reads_at_last reads 64
beats() { host_says 'answered=[1-9]' heartbeat && host_says '^heartbeat .* open$' list; }
check heartbeat_at_last wait_for 30 beats
check storvsc_unloads wait_for 20 unload hv_storvsc
check utils_unload unload hv_utils
check bus_unloads unload hv_vmbus
check loads_again load hv_vmbus
check no_violations equal '' "$(host violations)"
