# SPDX-License-Identifier: GPL-2.0
#: what     A channel that is closed and opened again while the host moves its interrupts is not lost when a CPU goes offline
#: host     rlis
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: args     --no-ic --net net0
#: cpus     2
#: seconds  240
#: c:bus-slow-modify-response  no more interrupts for the channel once a CPU goes offline

nic=f8615163-df3e-46c5-913f-f2d2f965ed0e
check bus_loads load hv_vmbus
check network_loads load hv_netvsc
card() { eth=$(basename "$(ls -d "$(vmbus_device $nic)"/net/* 2>/dev/null)") && [ -n "$eth" ]; }
check card_found wait_for 30 card
card
ip addr add 10.0.0.2/24 dev "$eth"
ip link set "$eth" up
pings() { ping -c 2 -w 20 10.0.0.1; }
check pings_at_first pings
device=$(vmbus_device $nic)
cpu=$device/channels/$(cat "$device/id")/cpu
is_on() { equal "$1" "$(cat "$cpu")"; }
set_cpu() { echo "$1" >"$cpu"; }
online() { echo "$1" >/sys/devices/system/cpu/cpu1/online; }
opens() { host list | grep -c '^net0 .* open$'; }
is_on 1 || check moves_to_1 set_cpu 1

# The host has moved the channel to CPU 0 and is slow to say so. Meanwhile the driver opens it again, on CPU 1.
check slow_armed host fault vmbus bus-slow-modify-response 1 10000
(set_cpu 0 2>/dev/null; echo $? >/tmp/moved) &
check slow_struck wait_for 10 none_armed
check reopened ip link set "$eth" mtu 1400
check reopened_in_time test ! -e /tmp/moved
wait
note "the write ended with $(cat /tmp/moved), the channel is on CPU $(cat "$cpu")"
check pings_after_that pings
online 0 && note "CPU 1 is offline, the channel on CPU $(cat "$cpu")"
check pings_without_the_cpu pings
online 1
check pings_with_it pings

# The same while the CPU goes offline: the channel is opened again on the CPU that leaves.
is_on 1 || check moves_to_1_again set_cpu 1
check slow_armed_again host fault vmbus bus-slow-modify-response 1 10000
(online 0 2>/dev/null; echo $? >/tmp/left) &
check slow_struck_again wait_for 10 none_armed
check reopened_again ip link set "$eth" mtu 1300
check reopened_again_in_time test ! -e /tmp/left
wait
note "offline ended with $(cat /tmp/left), the channel is on CPU $(cat "$cpu")"
check pings_after_offline pings
online 1 2>/dev/null
check pings_at_last pings
check no_violations equal '' "$(host violations)"
