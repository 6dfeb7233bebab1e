# SPDX-License-Identifier: GPL-2.0
#: what     Bus, storage and services go and come back twenty times; each time disks and answers are there again
#: host     rlis
#: drivers  rust mixed
#: modules  hv_vmbus hv_utils hv_storvsc ptp scsi_transport_fc
#: args     --scsi scsi0,channels=2 --disk scsi0:0:0,size=8M --ide ide0 --disk ide0:0:0,size=8M
#: cpus     2
#: memory   384M
#: when     all
#: seconds  900

# Without a Fibre Channel adapter, whose thousand addresses take half a minute to be looked through here each time.
check bus_loads load hv_vmbus
check utils_load load hv_utils
check storvsc_loads load hv_storvsc

disks() { for disk in /sys/block/sd*; do [ -e "$disk" ] && basename "$disk"; done; true; }
both() { [ "$(disks | wc -l)" = 2 ] || { echo "disks: $(disks | tr '\n' ' ')"; false; }; }
answered() { host heartbeat | sed -n 's/.*answered=\([0-9]*\).*/\1/p'; }
asked=0
answers() { [ "$(answered)" -gt "$asked" ]; }
offered() { wait_for 30 both && wait_for 30 answers; }
check all_work_at_first offered

# A different megabyte on each; names may change, contents may not.
fill() { for disk in $(disks); do dd if=/dev/urandom of="/dev/$disk" bs=64k count=16 oflag=direct 2>/dev/null || return 1; done; }
sums() { for disk in $(disks); do dd if="/dev/$disk" bs=64k count=16 iflag=direct 2>/dev/null | sha256sum; done | sort; }
check disks_filled fill
contents=$(sums)
check two_contents test "$(echo "$contents" | sort -u | wc -l)" = 2
devices=$(ls /sys/bus/vmbus/devices | wc -l)

# The bus stays where it is built in.
bus() { built_in hv_vmbus || "$1" hv_vmbus; }
round() {
	# A disk that is still being looked at holds its driver.
	wait_for 20 unload hv_storvsc && unload hv_utils && bus unload || { echo 'did not unload'; return 1; }
	[ -z "$(disks)" ] || { echo "left: $(disks)"; return 1; }
	asked=$(answered)
	bus load && load hv_utils && load hv_storvsc && offered || { echo 'did not come back'; return 1; }
	[ "$(ls /sys/bus/vmbus/devices | wc -l)" = "$devices" ] || { echo 'other devices than before'; return 1; }
	[ "$(sums)" = "$contents" ] || { echo 'other contents than before'; return 1; }
}
check reload_5 repeated 5 round
before=$(kernel_memory) free=$(free_memory)
check reload_15_more repeated 15 round
after=$(kernel_memory) left=$(free_memory)
note "kernel memory before $before kB, after $after kB; free before $free kB, after $left kB"
check kernel_memory_does_not_grow test $((after - before)) -lt 2048
# Rings and buffers: a module that kept its own would take this much in four rounds.
check pages_are_given_back test $((free - left)) -lt 8192
check host_has_no_complaint equal '' "$(host violations)"
