# SPDX-License-Identifier: GPL-2.0
#: what     The bus at version 6.0: devices come, go and come back while the guest runs
#: host     rlis
#: drivers  c rustbus
#: quick    rustbus
#: modules  hv_vmbus hv_utils
#: args     --bystanders
#: cpus     1
#: seconds  240

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check bus_version logged 'Vmbus version:6\.0'
# What comes with every VM and has no driver in Linux is no news; the one that nobody knows is told of.
imc=c376c1c3-d276-48d2-90a9-c04748072c60
check windows_device_there wait_for 10 vmbus_device $imc
unknown() { dmesg | sed -n 's/.*Unknown GUID: //p' | tr '\n' ' '; }
one_unknown() { equal '0badcafe-0001-4e17-9e5d-726c69730001 ' "$(unknown)"; }
check one_is_unknown wait_for 10 one_unknown
# Devices are added and removed also when there is no memory for another thread: storage may be what gives it.
rescuers() {
	local names queues='hv_vmbus_rescind hv_pri_chan hv_sub_chan'
	names=$(cat /proc/[0-9]*/comm | grep '^kworker/R')
	[ "$DRIVERS" = c ] || queues="$queues hv_nic_chan hv_pci_chan"
	for queue in $queues; do
		echo "$names" | grep -q "^kworker/R-$queue" || { echo "$queue has none: $names"; return 1; }
	done
}
check queues_have_rescuers rescuers
check utils_load load hv_utils
check heartbeat_bound test -e "$(vmbus_device $heartbeat)/driver"
check heartbeat_answered wait_for 10 host_says 'answered=[1-9]' heartbeat

gone() { ! vmbus_device $heartbeat >/dev/null; }
check rescind host rescind heartbeat
check device_gone wait_for 10 gone
check offer_again host offer heartbeat
check device_back wait_for 10 vmbus_device $heartbeat
check channel_open_again wait_for 10 host_says '^heartbeat .* open$' list

for round in 1 2 3 4 5; do
	host rescind heartbeat && wait_for 10 gone && host offer heartbeat &&
		wait_for 10 host_says '^heartbeat .* open$' list || break
done
check five_rounds equal 5 "$round"
check still_open host_says '^heartbeat .* open$' list
