# SPDX-License-Identifier: GPL-2.0
#: what     Power-off and restart on request of the host: answered first, then done by user space
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: cpus     1
#: seconds  120

check bus_loads load hv_vmbus
check utils_load load hv_utils
check negotiated wait_for 10 logged 'Shutdown IC version 3\.2'
# What the kernel starts to go down. These note that they were called instead.
for program in poweroff reboot; do
	rm -f /sbin/$program
	printf '#!/bin/sh\necho called >>/run/%s\n' $program >/sbin/$program
	chmod 755 /sbin/$program
done
check poweroff_answered equal 0x0 "$(host shutdown poweroff)"
check poweroff_done wait_for 10 test -s /run/poweroff
check reboot_answered equal 0x0 "$(host shutdown reboot)"
check reboot_done wait_for 10 test -s /run/reboot
check forced_answered equal 0x0 "$(host shutdown poweroff --force)"
twice() { [ "$(grep -c called /run/poweroff)" = 2 ]; }
check forced_done wait_for 10 twice
check refused equal 0x80004005 "$(host shutdown-flags 0x100)"
sleep 2
check refused_is_not_done twice
check no_violations equal '' "$(host violations)"
# The scenario ends by itself, with the real programs of busybox.
rm -f /sbin/poweroff /sbin/reboot
ln -s /bin/busybox /sbin/poweroff
