# SPDX-License-Identifier: GPL-2.0
#: what     Loading, unloading, sub-channels and CPU hotplug wait for RCU no more often because the firmware lists 240 CPUs
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: kernels  stock-6.12
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --possible-cpus 240 --scsi scsi0,channels=4 --disk scsi0:0:0,size=8M --scsi scsi1,channels=4 --scsi scsi2,channels=4
#: cpus     4
#: memory   1G
#: seconds  400

check cpus_listed equal 0-239 "$(cat /sys/devices/system/cpu/possible)"

# How often anybody has waited for RCU. Unlike a time it does not grow with what else the machine does. What waits once for
# each possible CPU does so 240 times for each controller. The C driver waits up to six times, and ours up to eight; half a
# second is time for some 25.
probes=/sys/kernel/tracing
mount -t tracefs tracefs $probes
arm() {
	for f in synchronize_rcu synchronize_rcu_expedited synchronize_srcu rcu_barrier; do
		echo "p:rlis/$f $f" >>$probes/kprobe_events || return
	done
	echo 1 >$probes/events/rlis/enable
}
check waits_are_counted arm
waits() { awk '{ sum += $2 } END { print sum + 0 }' $probes/kprobe_profile; }
now() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
begin() {
	waits=$(waits)
	began=$(now)
}
# at_most COUNT
at_most() {
	count=$(($(waits) - waits))
	note "$count waits, at most $1: $(($(now) - began)) ms"
	[ $count -le "$1" ] || { echo "$count waits instead of $1 at most"; false; }
}

check bus_loads load hv_vmbus
begin
check storage_loads load hv_storvsc
sub_channels() { host list | grep -c '^scsi[0-2] .* sub=[1-9].* open$'; }
all_open() { [ "$(sub_channels)" = 9 ]; }
disk() { [ -b /dev/sda ]; }
check sub_channels_open wait_for 60 all_open
check disk_found wait_for 60 disk
check loaded_without_waiting at_most 20
check disk_reads dd if=/dev/sda of=/dev/null bs=64k iflag=direct
# The scan of the empty controllers may be under way.
sleep 2

cpu() { echo "$1" >/sys/devices/system/cpu/cpu3/online; }
case $DRIVERS in
# The C bus of 6.12 keeps a CPU that a channel interrupts.
c | mixed) ;;
*)
	begin
	check cpu_goes_offline cpu 0
	check cpu_gone_without_waiting at_most 10
	begin
	check cpu_comes_online cpu 1
	check cpu_there_without_waiting at_most 10
	;;
esac
controller=$(readlink -f /sys/block/sda/device | sed 's,/host[0-9]*/.*,,')
unbind() { basename "$controller" >/sys/bus/vmbus/drivers/hv_storvsc/unbind; }
begin
check controller_unbinds unbind
check unbound_without_waiting at_most 20
begin
check storage_unloads wait_for 20 unload hv_storvsc
check unloaded_without_waiting at_most 30
check no_violations equal '' "$(host violations)"
