# SPDX-License-Identifier: GPL-2.0
#: what     A guest that is restored by a host which knows only older versions: nothing hangs, and the bus can be loaded anew
#: host     rlis
#: drivers  rust
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc
#: args     --ic heartbeat,shutdown --scsi 0 --disk 0:0:0,size=512M
#: cpus     1
#: seconds  400
#: expect   smp_call_function_many_cond|PM: .*(failed|error|returned)
# With lockdep the kernel's own hv_suspend() is told that it must not patch its hypercalls with interrupts off.
# The C storage driver never ends a command that it could not send, and is not to be unloaded then.
# vmbus_other_host.host makes it another host when the image has been written and read. As with the C driver, a resumed guest
# asks for the version that it had.

check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda
check utils_load load hv_utils
check heartbeat_before wait_for 20 host_says 'answered=[1-9]' heartbeat
check version_before host_says '^6\.0$' version
echo test_resume >/sys/power/disk
# Whether that says success is the kernel's business: the devices are what is lost.
hibernate
check host_here wait_for 20 host ping
check no_connection disconnected
check version_is_told logged 'the host supports no VMBus version from 6\.0 to 6\.0'
check bus_is_told logged 'resuming the bus failed: -[0-9]+'
# What is sent to the disk ends, with an error.
reads() { dd if=/dev/sda of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null; }
check disk_fails_commands ends_in_error 30 reads
swapoff /dev/sda
check utils_unload wait_for 60 unload hv_utils
check storvsc_unloads wait_for 60 unload hv_storvsc
check bus_unloads wait_for 60 unload hv_vmbus
check bus_loads_again load hv_vmbus
check version_after host_says '^5\.2$' version
check storvsc_loads_again load hv_storvsc
check utils_load_again load hv_utils
check disk_is_back wait_for 30 test -b /dev/sda
check reads_again reads
answered() { host heartbeat | sed -n 's/answered=\([0-9]*\).*/\1/p'; }
progress() { was=$(answered); sleep 5; [ "$(answered)" -gt "$was" ]; }
check heartbeat_after wait_for 30 progress
check no_violations equal '' "$(host violations)"
