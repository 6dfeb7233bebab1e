# SPDX-License-Identifier: GPL-2.0
#: what     Loading, unloading and sub-channels take no longer because the firmware lists 240 CPUs
#: host     rlis
#: drivers  c mixed rust
#: quick    rust
#: modules  hv_vmbus hv_storvsc
#: programs perl
#: args     --no-ic --possible-cpus 240 --scsi scsi0,channels=4 --disk scsi0:0:0,size=8M --scsi scsi1,channels=4 --scsi scsi2,channels=4
#: cpus     4
#: seconds  180

check cpus_listed equal 0-239 "$(cat /sys/devices/system/cpu/possible)"

# Time is told in grace periods of this guest, which grow with the load of the machine as all else does. What waits for
# one per possible CPU takes 240 of them.
now() { awk '{ print $1 * 1000 }' /proc/uptime; }
# membarrier(MEMBARRIER_CMD_GLOBAL) is a grace period.
grace_periods() { perl -e 'for (1 .. $ARGV[0]) { syscall(324, 1, 0, 0) == 0 or die $! }' "$1"; }
begin=$(now)
check grace_periods_pass grace_periods 50
unit=$((($(now) - begin) / 50 + 1))
# at_most GRACE-PERIODS SINCE
at_most() {
	took=$(($(now) - $2))
	note "$name: $took ms, a grace period is $unit ms"
	[ $took -le $(($1 * unit)) ] || { echo "$took ms, more than $1 grace periods of $unit ms"; false; }
}

check bus_loads load hv_vmbus
begin=$(now)
check storage_loads load hv_storvsc
sub_channels() { host list | grep -c '^scsi[0-2] .* sub=[1-9].* open$'; }
all_open() { [ "$(sub_channels)" = 9 ]; }
disk() { [ -b /dev/sda ]; }
check sub_channels_open wait_for 60 all_open
check opened_in_time at_most 500 "$begin"
check disk_found wait_for 60 disk
check scanned_in_time at_most 1200 "$begin"
read_it() { dd if=/dev/sda of=/dev/null bs=64k iflag=direct; }
check disk_reads read_it
# The scan of the empty controllers may be under way.
sleep 2

controller=$(readlink -f /sys/block/sda/device | sed 's,/host[0-9]*/.*,,')
begin=$(now)
unbind() { basename "$controller" >/sys/bus/vmbus/drivers/hv_storvsc/unbind; }
check controller_unbinds unbind
check unbound_in_time at_most 120 "$begin"
cpu_goes() { echo 0 >/sys/devices/system/cpu/cpu3/online; }
begin=$(now)
check cpu_goes_offline cpu_goes
check cpu_gone_in_time at_most 120 "$begin"
begin=$(now)
check storage_unloads wait_for 20 unload hv_storvsc
check unloaded_in_time at_most 240 "$begin"
check no_violations equal '' "$(host violations)"
