# SPDX-License-Identifier: GPL-2.0
#: what     Devices go and come back as fast as the host can say so; bus and drivers are loaded over and over
#: host     rlis
#: drivers  rustbus rust
#: modules  hv_vmbus hv_utils hv_storvsc hv_netvsc hid-hyperv hyperv-keyboard hv_sock uio_hv_generic
#: args     --scsi scsi0 --disk scsi0:0:0,size=16M --net net0
#: cpus     1
#: memory   512M
#: cmdline  kmemleak=on
#: when     all
#: seconds  1200

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
# The debug kernel takes several times as long.
storms=1000 rounds=100 reloads=90
grep -q debug /proc/version && storms=200 rounds=20 reloads=5
check bus_loads load hv_vmbus
check utils_load load hv_utils
check storvsc_loads load hv_storvsc
bound() { test -e "$(vmbus_device $heartbeat)/driver"; }
is_open() { equal 3 "$(cat "$(vmbus_device $heartbeat)/state")"; }
works() { wait_for 30 bound && wait_for 30 is_open; }
check works_at_first works
check disk_comes wait_for 30 test -e /sys/block/sda

gone() { ! vmbus_device $heartbeat >/dev/null; }
# storm DEVICE "COUNT [WITHIN]"
storm() { host offer-storm "$1" $2 && sleep 1; }
check storm_heartbeat storm heartbeat $storms
check works_after_storm works
# From offer to rescind 0 to 20 ms: the rescind comes while the device is added, probed, opened, and in use.
check storm_through_probe_and_open storm heartbeat "$storms 20000"
check works_after_sweep works
# The C driver never ends a command that it could not send to a device that has gone, and so never lets go of the disk.
[ "$DRIVERS" = rustbus ] || check storm_of_a_disk storm scsi0 "$rounds 100000"
disk() { for disk in /sys/block/sd*; do [ -e "$disk" ] && basename "$disk" && return 0; done; return 1; }
check disk_after_storm wait_for 60 disk
rescinded_while_opened() {
	host rescind heartbeat && wait_for 15 gone || return 1
	for round in $(seq "$1"); do
		host fault heartbeat bus-rescind-during-open 1 && host offer heartbeat && wait_for 15 none_armed && wait_for 15 gone || {
			echo "round $round: $(host list)"
			return 1
		}
	done
	host offer heartbeat
}
check rescinded_while_opened rescinded_while_opened $((rounds / 2))
check works_after_that works
check disk_still_there dd if=/dev/"$(disk)" of=/dev/null bs=64k count=16 iflag=direct

# All drivers of the bus that can be unloaded; hv_balloon cannot.
drivers='hv_utils hv_storvsc hv_netvsc hid-hyperv hyperv-keyboard hv_sock uio_hv_generic'
load_all() {
	for module in hv_vmbus $drivers; do load $module || { echo "$module does not load"; return 1; }; done
}
let_go() {
	# A disk that is still being looked at holds its driver.
	for module in $drivers hv_vmbus; do wait_for 20 unload $module || { echo "$module does not unload"; return 1; }; done
}
slab() { awk '/^Slab:/ { print $2 }' /proc/meminfo; }
reload() {
	for round in $(seq "$1"); do
		why=$(let_go && load_all) || { echo "round $round: $why"; return 1; }
	done
}
check all_drivers load_all
check reload_first reload $((reloads / 9 + 1))
before=$(slab)
check reload reload $reloads
after=$(slab)
note "slab before $before kB, after $after kB"
check slab_does_not_grow test $((after - before)) -lt 2048
check works_at_last works
check devices_all_there test "$(ls /sys/bus/vmbus/devices | wc -l)" = 8
check no_leak no_leak
