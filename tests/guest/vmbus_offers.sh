# SPDX-License-Identifier: GPL-2.0
#: what     The bus at version 6.0: devices come, go and come back while the guest runs
#: host     rlis
#: drivers  c rustbus
#: quick    rustbus
#: modules  hv_vmbus hv_utils
#: cpus     1
#: seconds  240

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check bus_version logged 'Vmbus version:6\.0'
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
