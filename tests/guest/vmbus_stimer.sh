# SPDX-License-Identifier: GPL-2.0
#: what     On a host whose timers expire with messages, the bus passes them on, and stays for as long as they are needed
#: host     rlis
#: kernels  stock-6.1 stock-6.12
#: drivers  rust c
#: quick    none
#: modules  hv_vmbus hv_utils
#: args     --stimer message
#: cpus     2
#: seconds  300

clocks=/sys/devices/system/clockevents
# on NAME CPU...: these CPUs take their time from the clock event device of that name.
on() {
	local name=$1 cpu
	shift
	for cpu; do equal "$name" "$(cat $clocks/clockevent"$cpu"/current_device)" || return 1; done
}
# Both clocks go on, and no slower than each other: a timer that is lost would leave a sleeper behind.
sleeps() {
	local before after round
	for cpu in 0 1; do
		[ $cpu = 0 ] || [ "$(cat /sys/devices/system/cpu/cpu1/online)" = 1 ] || continue
		before=$(date +%s)
		for round in 1 2 3 4 5; do taskset -c $cpu sleep 0.2 || return 1; done
		after=$(date +%s)
		[ $((after - before)) -ge 1 ] && [ $((after - before)) -le 30 ] ||
			{ echo "CPU $cpu slept $((after - before)) s instead of 1"; return 1; }
	done
}
timer='Hyper-V clockevent'

before=$(cat $clocks/clockevent0/current_device)
check another_timer_before sh -c '[ "$1" != "$2" ]' sh "$before" "$timer"
check bus_loads load hv_vmbus
check timer_of_the_host on "$timer" 0 1
check clock_goes sleeps
check utils_load load hv_utils
check messages_come_through wait_for 30 host_says '^heartbeat .* open$' list
check heartbeats wait_for 30 host_says 'answered=[1-9]' heartbeat
for round in 1 2 3; do
	check "rescind_$round" host rescind heartbeat
	check "offer_$round" host offer heartbeat
	check "open_$round" wait_for 30 host_says '^heartbeat .* open$' list
done
check cpu_leaves sh -c 'echo 0 >/sys/devices/system/cpu/cpu1/online'
check clock_goes_on_one sleeps
check cpu_comes sh -c 'echo 1 >/sys/devices/system/cpu/cpu1/online'
check timer_again on "$timer" 0 1
check clock_goes_again sleeps
check utils_unload unload hv_utils
# With the C bus the kernel jumps to address 0 when it is unloaded here.
if [ "$DRIVERS" = rust ]; then
	check bus_stays sh -c '! rmmod hv_vmbus'
	check bus_says_why logged 'timers expire with messages, so this module cannot be unloaded'
	check timer_stays on "$timer" 0 1
	check clock_goes_on sleeps
fi
