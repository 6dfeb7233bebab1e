# SPDX-License-Identifier: GPL-2.0
#: what     Channels move between CPUs while they work
#: host     rlis
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     2
#: seconds  180

check bus_loads load hv_vmbus
check utils_load load hv_utils
check storage_loads load hv_storvsc
check disk wait_for 30 test -b /dev/sda
scsi=ba6163d9-04a1-4d29-b605-72e2ffb1dc7f
cpu=$(echo "$(vmbus_device $scsi)"/channels/*/cpu)
works() { dd if=/dev/sda of=/dev/null bs=65536 count=8 iflag=direct 2>/dev/null; }
for target in 1 0 1; do
	check "moved_to_$target" sh -c "echo $target >$cpu"
	check "now_on_$target" equal $target "$(cat "$cpu")"
	check "works_on_$target" works
done
interrupts() { awk '/HYP:/ { print $3 }' /proc/interrupts; }
before=$(interrupts)
works
check interrupts_on_cpu_1 test "$(interrupts)" -gt "$before"
no_such_cpu() { ! echo 7 >"$cpu" 2>/dev/null; }
check no_such_cpu no_such_cpu
