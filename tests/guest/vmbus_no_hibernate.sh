# SPDX-License-Identifier: GPL-2.0
#: what     A hibernation that is called off, because a sub-channel is not withdrawn, loses no device that was offered meanwhile
#: host     rlis
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --scsi 0 --disk 0:0:0,size=512M --scsi scsi1,channels=1
#: cpus     2
#: seconds  700
#: expect   smp_call_function_many_cond|PM: (failed to|.*error)
#: c:bus-no-rescind  offers that come before the hibernation is called off are lost
# With lockdep the kernel's own hv_suspend() is told that it must not patch its hypercalls with interrupts off.

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
check utils_load load hv_utils
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda
sub_open() { host_says '^scsi1 .* sub=1 .*open$' list; }
check sub_channel_open wait_for 30 sub_open
kvp=a9a0f4e7-5a45-4d96-b827-8a841e8c03e6
gone() { ! vmbus_device "$1" >/dev/null; }
check heartbeat_withdrawn host rescind heartbeat
check heartbeat_gone wait_for 15 gone $heartbeat
check kvp_withdrawn host rescind kvp
check kvp_gone wait_for 15 gone $kvp
check armed host fault scsi1 bus-no-rescind 1
# While the guest waits for the sub-channel, vmbus_no_hibernate.host offers both, and takes the second away again.
echo test_resume >/sys/power/disk
fails() { ! echo disk >/sys/power/state; }
check called_off fails
check reason_logged logged 'sub-channels or sockets did not close, not suspending'
check host_here wait_for 20 host ping
check offered_meanwhile_is_there wait_for 30 vmbus_device $heartbeat
check heartbeat_answered wait_for 30 host_says '^heartbeat .* open$' list
check withdrawn_meanwhile_is_not gone $kvp
released() { ! host list | grep -q '^kvp '; }
check withdrawn_is_released wait_for 20 released
check reads_after_that dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct
check swap_off swapoff /dev/sda
host violations --take
