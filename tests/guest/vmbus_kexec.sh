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
all_in_use "$stage"
if [ $stage = first ]; then
	check archive archive
	yes 'what the first kernel wrote' | dd of=/dev/sda bs=4096 count=16 iflag=fullblock oflag=direct 2>/dev/null
	check kernel_loads kexec -a -l /scenario/kernel --initrd=/tmp/initrd --append="$(cat /proc/cmdline) rlis_stage=second"
	# Reads are under way when it starts.
	read_on
	kexec -e
	sleep 60
	report second_kernel FAIL 'was not started'
	exit 1
fi
check disk_as_written sh -c "yes 'what the first kernel wrote' | dd bs=4096 count=16 iflag=fullblock 2>/dev/null >/tmp/want
	dd if=/dev/sda of=/tmp/got bs=4096 count=16 iflag=direct 2>/dev/null && cmp /tmp/want /tmp/got"
all_unloads
