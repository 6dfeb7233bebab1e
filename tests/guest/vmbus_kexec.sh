# SPDX-License-Identifier: GPL-2.0
#: what     Another kernel is started with kexec while all devices are in use, and finds the bus as if after a boot
#: host     rlis
#: drivers  rustbus rust c
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: programs kexec
#: carries_kernel yes
#: args     --scsi scsi0,channels=2 --disk scsi0:0:0,size=16M
#: cpus     2
#: memory   512M
#: seconds  240

stage=first
grep -q rlis_stage=second /proc/cmdline && stage=second
disconnected() { ! host version; }
# What the kernel before this one has left behind.
check "no_connection_$stage" disconnected
check "bus_loads_$stage" load hv_vmbus
check "storvsc_loads_$stage" load hv_storvsc
check "utils_load_$stage" load hv_utils
check "disk_$stage" wait_for 30 test -b /dev/sda
check "heartbeat_$stage" wait_for 20 host_says 'answered=[1-9]' heartbeat
if [ $stage = first ]; then
	check archive archive
	yes 'what the first kernel wrote' | dd of=/dev/sda bs=4096 count=16 iflag=fullblock oflag=direct 2>/dev/null
	check kernel_loads kexec -a -l /scenario/kernel --initrd=/tmp/initrd --append="$(cat /proc/cmdline) rlis_stage=second"
	# Reads are under way when it starts.
	(while :; do dd if=/dev/sda of=/dev/null bs=64k iflag=direct 2>/dev/null; done) &
	sleep 1
	check no_violations_before equal '' "$(host violations)"
	kexec -e
	sleep 60
	report second_kernel FAIL 'was not started'
	exit 1
fi
check disk_as_written sh -c "yes 'what the first kernel wrote' | dd bs=4096 count=16 iflag=fullblock 2>/dev/null >/tmp/want
	dd if=/dev/sda of=/tmp/got bs=4096 count=16 iflag=direct 2>/dev/null && cmp /tmp/want /tmp/got"
check storvsc_unloads wait_for 20 unload hv_storvsc
check utils_unload unload hv_utils
check bus_unloads unload hv_vmbus
# The C bus of 6.12 sends no UNLOAD when it is unloaded.
[ "$DRIVERS" = c ] || check connection_ended disconnected
check no_violations equal '' "$(host violations)"
