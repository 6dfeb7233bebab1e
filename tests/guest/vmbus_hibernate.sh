# SPDX-License-Identifier: GPL-2.0
#: what     The bus is suspended and resumed around a hibernation on one of its own disks, twice, with sub-channels
#: host     rlis
#: drivers  rustbus rust c
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --scsi 0,channels=2 --disk 0:0:0,size=512M --disk 0:0:1,size=16M
#: cpus     1
#: seconds  600
#: expect   smp_call_function_many_cond
# With lockdep the kernel's own hv_suspend() is told that it must not patch its hypercalls with interrupts off.

check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
check data_disk_there wait_for 30 test -b /dev/sdb
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda
check utils_load load hv_utils
dd if=/dev/urandom of=/tmp/pattern bs=1M count=4 2>/dev/null
check written dd if=/tmp/pattern of=/dev/sdb bs=1M oflag=direct
same() { dd if=/dev/sdb of=/tmp/back bs=1M count=4 iflag=direct 2>/dev/null && cmp /tmp/pattern /tmp/back; }
check reads_before same
check heartbeat_before wait_for 20 host_says 'answered=[1-9]' heartbeat

answered() { host heartbeat | sed -n 's/answered=\([0-9]*\).*/\1/p'; }
progress() { was=$(answered); sleep 5; [ "$(answered)" -gt "$was" ]; }
devices() { ls /sys/bus/vmbus/devices | sort; }
# The image is written, and restored at once.
echo test_resume >/sys/power/disk
before=$(devices)
for n in 1 2; do
	check "round_trip_$n" hibernate
	check "host_here_$n" wait_for 20 host ping
	check "devices_as_before_$n" equal "$before" "$(devices)"
	check "reads_after_$n" same
	check "heartbeat_after_$n" wait_for 30 progress
done
check connected_again sh -c '[ "$(dmesg | grep -c "present after resume")" = 0 ]'
check offline_free swapoff /dev/sda
check unload_utils unload hv_utils
check unload_storvsc wait_for 20 unload hv_storvsc
check unload_bus unload hv_vmbus
check no_violations equal '' "$(host violations)"
