# SPDX-License-Identifier: GPL-2.0
#: what     The C drivers of Debian's kernel, unmodified, load over our bus; one with a device works; all come and go
#: host     qemu
#: kernels  stock-6.1 stock-6.12 stock-6.12-rt
#: drivers  rustbus
#: modules  hv_vmbus hv_balloon hv_netvsc hid-hyperv hyperv-keyboard hv_sock pci-hyperv uio_hv_generic hv_storvsc hv_utils
#: args     -device hv-balloon
#: seconds  300

check bus_loads load hv_vmbus
check bus_is_ours test -e /sys/module/hv_vmbus/parameters/max_version
check bus_version logged 'Vmbus version:4\.0'

# Module, and the name of its driver on the bus.
drivers='hv_netvsc:hv_netvsc hid-hyperv:hid_hyperv hyperv-keyboard:hyperv_keyboard hv_sock:hv_sock pci-hyperv:hv_pci uio_hv_generic:uio_hv_generic hv_storvsc:hv_storvsc hv_utils:hv_utils'
registered() { [ -d "/sys/bus/vmbus/drivers/$1" ]; }
for driver in $drivers; do
	check "loads_${driver%%:*}" load "${driver%%:*}"
	check "registers_${driver%%:*}" registered "${driver##*:}"
done

check balloon_loads load hv_balloon
balloon=525074dc-8985-46e2-8057-a307dc18a502
check balloon_offered vmbus_device $balloon
check balloon_opened wait_for 20 logged 'Using Dynamic Memory protocol version 2\.0'
check balloon_gets_interrupts test "$(cat "$(vmbus_device $balloon)"/channels/*/interrupts)" -gt 0

# None was built against our bus: a symbol version that differs would have been refused, and a layout would show here.
check no_symbol_refused sh -c '! dmesg | grep -E "disagrees about version|Unknown symbol"'

# hv_balloon cannot be unloaded in this version, and keeps the bus.
reload() {
	for round in $(seq 5); do
		for driver in $drivers; do
			rmmod "${driver%%:*}" || { echo "round $round: ${driver%%:*} did not unload"; return 1; }
			! registered "${driver##*:}" || { echo "round $round: ${driver##*:} is still on the bus"; return 1; }
			load "${driver%%:*}" && registered "${driver##*:}" || { echo "round $round: ${driver%%:*} did not load"; return 1; }
		done
	done
}
check reload_5 reload
check balloon_still_bound test -e "$(vmbus_device $balloon)/driver"
