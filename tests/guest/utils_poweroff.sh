# SPDX-License-Identifier: GPL-2.0
#: what     The guest goes down for good when the host asks
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: cpus     1
#: seconds  90

check bus_loads load hv_vmbus
check utils_load load hv_utils
# The kernel calls this program when the host asks; the end of the scenario is told there.
cat >/tmp/poweroff <<'EOF'
#!/bin/sh
echo 'rlis-check: powered_off_on_request ok' >/dev/kmsg
echo 'rlis-end: 0' >/dev/kmsg
/usr/sbin/poweroff -f || /sbin/poweroff -f
EOF
chmod +x /tmp/poweroff
echo /tmp/poweroff >/proc/sys/kernel/poweroff_cmd
check shutdown_accepted host_says '^0x0$' shutdown poweroff --force
sleep 30
report powered_off_on_request FAIL 'the guest still runs 30 s after the request'
