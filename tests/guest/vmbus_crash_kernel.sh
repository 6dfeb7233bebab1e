# SPDX-License-Identifier: GPL-2.0
#: what     The kernel panics while all devices are in use; the crash kernel uses the bus to save what it finds
#: host     rlis
#: kernels  stock-6.12
#: drivers  rustbus rust c
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: programs kexec
#: carries_kernel yes
#: args     --outlive-crash --scsi scsi0,channels=2 --disk scsi0:0:0,size=16M
#: cmdline  crashkernel=256M
#: cpus     2
#: memory   1G
#: seconds  300
#: host_log crashes reported: 1
#: expect   Kernel panic - not syncing: sysrq triggered crash

# The test kernels have no /proc/kcore, from which kexec takes where the kernel lies that has crashed.
stage=first
grep -q rlis_stage=crash /proc/cmdline && stage=crash
all_in_use "$stage"
if [ $stage = first ]; then
	check archive archive
	check crash_kernel_loads kexec -a -p /scenario/kernel --initrd=/tmp/initrd \
		--append="$(sed 's/crashkernel=[^ ]*//' /proc/cmdline) rlis_stage=crash nr_cpus=1 reset_devices"
	check crash_kernel_there equal 1 "$(cat /sys/kernel/kexec_crash_loaded)"
	read_on
	echo 1 >/proc/sys/kernel/sysrq
	echo c >/proc/sysrq-trigger
	sleep 60
	report crash_kernel FAIL 'was not started'
	exit 1
fi
check memory_of_the_first test -s /proc/vmcore
saved() {
	dd if=/proc/vmcore bs=64k count=16 of=/dev/sda oflag=direct 2>/dev/null &&
		dd if=/dev/sda bs=64k count=16 iflag=direct of=/tmp/saved 2>/dev/null &&
		head -c $((16 * 65536)) /proc/vmcore | cmp - /tmp/saved && head -c 4 /tmp/saved | grep -q ELF
}
check saved_to_disk saved
all_unloads
