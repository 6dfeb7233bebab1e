# SPDX-License-Identifier: GPL-2.0
#: what     Every command of rlis-host ctl through the control socket, with a guest that has all drivers and daemons
#: host     rlis
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc hv_netvsc hv_utils uio_hv_generic
#: programs hv_kvp_daemon hv_vss_daemon hv_fcopy_uio_daemon
#: args     --scsi scsi0 --disk scsi0:0:0,size=64M --net net0
#: cpus     1
#: seconds  240

# What is checked stands in ctl.host, which runs beside the host; this side makes the guest answer, and ends when the
# host has asked it to shut down.
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check network_loads load hv_netvsc
check utils_load load hv_utils
check uio_loads load uio_hv_generic
check disk wait_for 30 test -b /dev/sda
check kvp_node wait_for 10 test -c /dev/vmbus/hv_kvp
check fcopy_node wait_for 10 test -c /dev/uio0
check card_up ip link set eth0 up
check card_address ip addr add 10.0.0.2/24 dev eth0
hv_kvp_daemon -n &
hv_vss_daemon -n &
hv_fcopy_uio_daemon -n >/tmp/fcopy.log 2>&1 &
cat >/tmp/poweroff <<'EOF'
#!/bin/sh
echo 'rlis-check: powered_off_on_request ok' >/dev/kmsg
echo 'rlis-end: 0' >/dev/kmsg
/sbin/poweroff -f
EOF
chmod +x /tmp/poweroff
echo /tmp/poweroff >/proc/sys/kernel/poweroff_cmd
sleep 220
report powered_off_on_request FAIL 'nobody asked'
