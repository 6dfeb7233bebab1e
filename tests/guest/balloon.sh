# SPDX-License-Identifier: GPL-2.0
#: what     Dynamic memory comes up on QEMU's host, with the C driver and with ours; hv_utils comes and goes beside it
#: host     qemu
#: drivers  mixed c rustbus rust
#: quick    mixed
#: modules  hv_vmbus hv_balloon hv_utils
#: args     -device hv-balloon
#: seconds  300

check hyperv_detected logged 'Hypervisor detected: Microsoft Hyper-V'
check bus_loads load hv_vmbus
check bus_version logged 'Vmbus version:4\.0'
check balloon_loads load hv_balloon
balloon=525074dc-8985-46e2-8057-a307dc18a502
check balloon_offered vmbus_device $balloon
check balloon_opened wait_for 20 logged 'Using Dynamic Memory protocol version 2\.0'
check balloon_channel_interrupts test "$(cat "$(vmbus_device $balloon)"/channels/*/interrupts)" -gt 0

reload() {
	for round in $(seq 20); do
		load hv_utils && loaded hv_utils || { echo "round $round: did not load"; return 1; }
		unload hv_utils && ! loaded hv_utils || { echo "round $round: did not unload"; return 1; }
	done
}
check utils_reload_20 reload
check utils_driver_gone test ! -e /sys/bus/vmbus/drivers/hv_utils
check balloon_still_bound test -e "$(vmbus_device $balloon)/driver"
online() { echo "$1" >/sys/devices/system/cpu/cpu1/online; }
cpu_goes_and_comes() { for round in 1 2 3; do online 0 && online 1 || return 1; done; }
check cpu_goes_and_comes cpu_goes_and_comes
# The C driver has no exit function, so neither it nor the bus below it can be unloaded; other scenarios reload the bus.
again() { unload hv_balloon && load hv_balloon && wait_for 20 test -e "$(vmbus_device $balloon)/driver"; }
c_drivers || check balloon_comes_and_goes again
