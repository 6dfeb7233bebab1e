# SPDX-License-Identifier: GPL-2.0
#: what     Devices go and come back as fast as the host can say so; bus and drivers are loaded over and over
#: host     rlis
#: drivers  rustbus rust
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     1
#: memory   256M
#: when     all
#: seconds  900

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check utils_load load hv_utils
check storvsc_loads load hv_storvsc
bound() { test -e "$(vmbus_device $heartbeat)/driver"; }
is_open() { equal 3 "$(cat "$(vmbus_device $heartbeat)/state")"; }
works() { wait_for 30 bound && wait_for 30 is_open; }
check works_at_first works
check disk_comes wait_for 30 test -e /sys/block/sda

gone() { ! vmbus_device $heartbeat >/dev/null; }
taken() { [ -z "$(host faults)" ]; }
# storm DEVICE "COUNT [WITHIN]"
storm() { host offer-storm "$1" $2 && sleep 1; }
check storm_heartbeat storm heartbeat 1000
check works_after_storm works
# From offer to rescind 0 to 20 ms: the rescind comes while the device is added, probed, opened, and in use.
check storm_through_probe_and_open storm heartbeat "1000 20000"
check works_after_sweep works
check storm_of_a_disk storm scsi0 "100 100000"
disk() { for disk in /sys/block/sd*; do [ -e "$disk" ] && basename "$disk" && return 0; done; return 1; }
check disk_after_storm wait_for 60 disk
rescinded_while_opened() {
	host rescind heartbeat && wait_for 15 gone || return 1
	for round in $(seq "$1"); do
		host fault heartbeat bus-rescind-during-open 1 && host offer heartbeat && wait_for 15 taken && wait_for 15 gone || {
			echo "round $round: $(host list)"
			return 1
		}
	done
	host offer heartbeat
}
check rescinded_while_opened rescinded_while_opened 50
check works_after_that works
check disk_still_there dd if=/dev/"$(disk)" of=/dev/null bs=64k count=16 iflag=direct

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
