# SPDX-License-Identifier: GPL-2.0
#: what     Devices go and come back as fast as the host can say so; bus and drivers are loaded over and over
#: host     rlis
#: drivers  rustbus
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     1
#: memory   256M
#: when     all
#: seconds  400

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check utils_load load hv_utils
check storvsc_loads load hv_storvsc
bound() { test -e "$(vmbus_device $heartbeat)/driver"; }
is_open() { equal 3 "$(cat "$(vmbus_device $heartbeat)/state")"; }
works() { wait_for 30 bound && wait_for 30 is_open; }
check works_at_first works
check disk_comes wait_for 30 test -e /sys/block/sda

storm() { host offer-storm "$1" "$2" && sleep 1; }
check storm_heartbeat storm heartbeat 1000
check works_after_storm works
check disk_still_there dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct

slab() { awk '/^Slab:/ { print $2 }' /proc/meminfo; }
reload() {
	for round in $(seq "$1"); do
		# A disk that is still being looked at holds its driver.
		wait_for 20 unload hv_storvsc && unload hv_utils && unload hv_vmbus || { echo "round $round: did not unload"; return 1; }
		load hv_vmbus && load hv_utils && load hv_storvsc || { echo "round $round: did not load"; return 1; }
	done
}
check reload_first reload 10
before=$(slab)
check reload_100 reload 90
after=$(slab)
note "slab before $before kB, after $after kB"
check slab_does_not_grow test $((after - before)) -lt 2048
check works_at_last works
check devices_all_there test "$(ls /sys/bus/vmbus/devices | wc -l)" = 7
