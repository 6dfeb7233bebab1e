# SPDX-License-Identifier: GPL-2.0
#: what     A device with hundreds of sub-channels: the list of its CPUs ends with the page, and the bus unloads in reasonable time
#: host     rlis
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_utils
#: args     --ic heartbeat
#: cpus     2
#: seconds  300

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check utils_load load hv_utils
check heartbeat_answered wait_for 20 host_says 'answered=[1-9]' heartbeat
device=$(vmbus_device $heartbeat)
has() { equal "$1" "$(ls "$device/channels" | wc -l)"; }
check many_offered host sub-channels heartbeat 800
check many_there wait_for 100 has 801
# A file in sysfs has less than a page.
check mapping_fits equal 4095 "$(cat "$device/channel_vp_mapping" | wc -c)"
check mapping_is_what_it_was grep -qxE '[0-9]+:[01]' "$device/channel_vp_mapping"
check rescinded host rescind heartbeat
gone() { ! vmbus_device $heartbeat >/dev/null; }
check all_go wait_for 60 gone
released() { equal '' "$(host list)"; }
check all_released wait_for 60 released
check offered_again host offer heartbeat
check there_again wait_for 20 vmbus_device $heartbeat
device=$(vmbus_device $heartbeat)
check five_hundred_offered host sub-channels heartbeat 500
check five_hundred_there wait_for 100 has 501
check utils_unload unload hv_utils
now() { cut -d. -f1 /proc/uptime; }
start=$(now)
check bus_unloads unload hv_vmbus
note "unloading took $(($(now) - start)) s"
check in_reasonable_time test $(($(now) - start)) -le 20
check no_violations equal '' "$(host violations)"
