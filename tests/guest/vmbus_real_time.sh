# SPDX-License-Identifier: GPL-2.0
#: what     Real-time kernels: a thread for each CPU does the work of interrupts, wakes up for nothing else, and comes and goes with the bus
#: host     rlis
#: kernels  stock-6.12-rt debug-rt
#: drivers  rustbus rust
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --scsi scsi0 --disk scsi0:0:0,size=32M
#: cpus     2
#: seconds  240

scsi=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
# thread CPU: the number of the process.
thread() {
	for process in /proc/[0-9]*; do
		[ "$(cat "$process/comm" 2>/dev/null)" = "vmbus_irq/$1" ] && { basename "$process"; return; }
	done
	echo "there is no thread vmbus_irq/$1"
	return 1
}
# switches CPU: how often the thread has gone to sleep.
switches() { sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$(thread "$1")/status"; }
reads() { dd if=/dev/sda of=/dev/null bs=64k count="$1" iflag=direct 2>/dev/null; }
online() { echo "$1" >/sys/devices/system/cpu/cpu1/online; }

check real_time_kernel sh -c 'uname -v | grep -q PREEMPT_RT'
check no_thread_yet sh -c '! grep -qs vmbus_irq /proc/[0-9]*/comm'
check bus_loads load hv_vmbus
for n in 0 1; do
	check "thread_$n" thread $n
	# SCHED_FIFO with the priority of threaded handlers.
	check "policy_$n" equal '50 1' "$(cut -d' ' -f40,41 "/proc/$(thread $n)/stat")"
	check "stays_on_cpu_$n" grep -qE "^Cpus_allowed_list:[^0-9]*$n\$" "/proc/$(thread $n)/status"
done
check storvsc_loads load hv_storvsc
check disk_comes wait_for 30 test -b /dev/sda
device=$(vmbus_device $scsi)
cpu=$device/channels/$(cat "$device/id")/cpu

# works_on CPU: what the channel's interrupts have to do there is the thread's.
works_on() {
	echo "$1" >"$cpu" || return 1
	before=$(switches "$1")
	reads 64 || return 1
	after=$(switches "$1")
	[ "$after" -gt "$before" ] || { echo "$after switches after $before"; false; }
}
check works_on_0 works_on 0
check works_on_1 works_on 1
# A clock ticks meanwhile, and nothing else happens. The kernel may still look at the disk.
idle() {
	before=$(($(switches 0) + $(switches 1)))
	sleep 3
	after=$(($(switches 0) + $(switches 1)))
	between 0 20 $((after - before))
}
check idle wait_for 15 idle

check cpu_goes online 0
check reads_without_it reads 16
check cpu_comes_back online 1
check works_on_1_again works_on 1
check policy_is_kept equal '50 1' "$(cut -d' ' -f40,41 "/proc/$(thread 1)/stat")"

check storvsc_unloads wait_for 20 unload hv_storvsc
check bus_unloads unload hv_vmbus
check threads_are_gone sh -c '! grep -qs vmbus_irq /proc/[0-9]*/comm'
check bus_loads_again load hv_vmbus
check thread_again thread 1
check bus_unloads_again unload hv_vmbus
check no_violations equal '' "$(host violations)"
