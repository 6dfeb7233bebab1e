# SPDX-License-Identifier: GPL-2.0
#: what     A host that does not answer costs two minutes and an error, never a hang; one that is slow costs nothing
#: host     rlis
#: drivers  rustbus
#: modules  hv_vmbus hv_utils
#: cpus     1
#: when     all
#: seconds  1500
#: c:bus-no-gpadl-created  waits for ever
#: c:bus-no-gpadl-torndown  waits for ever
#: c:bus-no-open-result  waits for ever
#: c:bus-no-unload-response  waits for ever
#: c:bus-no-version-response  waits for ever
#: ours:bus-connection-state  the bus does not load, with a line
#: ours:bus-no-gpadl-created  the probe fails after two minutes; offered again, the device works
#: ours:bus-no-gpadl-torndown  goes on after two minutes, with a line; the memory stays out of use
#: ours:bus-no-open-result  the probe fails after two minutes; bound again, the device works
#: ours:bus-no-unload-response  the bus unloads, with a line
#: ours:bus-no-version-response  the bus does not load, with a line
#: ours:bus-refuse-version  the bus does not load, with a line
#: ours:bus-slow-open-result  waits, with a line, and works

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
gone() { ! vmbus_device $heartbeat >/dev/null; }
bound() { test -e "$(vmbus_device $heartbeat)/driver"; }
is_open() { equal 3 "$(cat "$(vmbus_device $heartbeat)/state")"; }
works() { wait_for 30 bound && wait_for 30 is_open; }
# busybox tries to load a module twice when the kernel refuses it, so these faults have to strike twice as often.
refused() { ! load hv_vmbus; }

check no_version_armed host fault vmbus bus-no-version-response 2
check no_version_refused refused
check no_version_logged logged 'the host did not answer within 30 s'
check refused_version_armed host fault vmbus bus-refuse-version 14
check refused_version_refused refused
check refused_version_logged logged 'the host supports no VMBus version from 4\.0 to 6\.0'
check failed_state_armed host fault vmbus bus-connection-state 2
check failed_state_refused refused
check failed_state_logged logged 'the host refused the connection'
check bus_loads load hv_vmbus
check utils_load load hv_utils
check works_at_first works

# A host that is busy with itself for three quarters of a minute.
host rescind heartbeat && wait_for 15 gone
check slow_open_result_armed host fault heartbeat bus-slow-open-result 1 45000
host offer heartbeat
check slow_open_result_works wait_for 90 is_open
check slow_open_result_logged logged 'has not confirmed the opening of a channel for 30 s, waiting'

host rescind heartbeat && wait_for 15 gone
check no_open_result_armed host fault heartbeat bus-no-open-result 1
host offer heartbeat
check no_open_result_logged wait_for 150 logged 'probe failed for device .* \(-110\)'
# The host is well again: binding is enough.
rebind() { basename "$(vmbus_device $heartbeat)" >/sys/bus/vmbus/drivers/hv_utils/bind; }
check no_open_result_bound_again rebind
check no_open_result_then_works works

host rescind heartbeat && wait_for 15 gone
check no_gpadl_created_armed host fault vmbus bus-no-gpadl-created 1
host offer heartbeat
sleep 125
host rescind heartbeat && wait_for 40 gone
host offer heartbeat
check no_gpadl_created_then_works works

# Neither the GPADL nor its end is answered: twice two minutes, and the rings' memory stays out of use.
failed_probes() { dmesg | grep -c 'probe failed for device .* (-110)'; }
another_failed_probe() { [ "$(failed_probes)" -gt "$1" ]; }
host rescind heartbeat && wait_for 15 gone
check no_gpadl_at_all_armed host fault vmbus bus-no-gpadl-created 1
check no_end_of_it_armed host fault vmbus bus-no-gpadl-torndown 1
before=$(failed_probes)
start=$(uptime)
host offer heartbeat
check no_gpadl_at_all_ends wait_for 280 another_failed_probe "$before"
took=$(($(uptime) - start))
check no_gpadl_at_all_took_four_minutes test "$took" -ge 238 -a "$took" -le 270
check no_end_of_it_logged logged 'the host did not end GPADL'
host rescind heartbeat && wait_for 15 gone
host offer heartbeat
check no_gpadl_at_all_then_works works

check no_gpadl_torndown_armed host fault vmbus bus-no-gpadl-torndown 1
check utils_unload unload hv_utils
check no_gpadl_torndown_logged logged 'the host did not end GPADL'
check utils_load_again load hv_utils
check works_again works

check utils_unload_again unload hv_utils
check no_unload_response_armed host fault vmbus bus-no-unload-response 1
check bus_unload unload hv_vmbus
check no_unload_response_logged logged 'the host did not confirm the end of the connection'
check bus_loads_again load hv_vmbus
check utils_load_at_last load hv_utils
check works_at_last works
host violations --take
