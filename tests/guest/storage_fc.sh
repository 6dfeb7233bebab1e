# SPDX-License-Identifier: GPL-2.0
#: what     A synthetic Fibre Channel adapter: its names in sysfs, a disk behind it
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    c
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --fc fc0 --disk fc0:0:0,size=16M
#: cpus     1
#: seconds  240

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check fc_host wait_for 60 test -e /sys/class/fc_host/host0/port_name
check port_name equal 0x200000155d000000 "$(cat /sys/class/fc_host/host0/port_name)"
check node_name equal 0x100000155d000000 "$(cat /sys/class/fc_host/host0/node_name)"
check disk wait_for 120 test -b /dev/sda
check disk_works sh -c 'head -c 65536 /dev/urandom >/tmp/a; dd if=/tmp/a of=/dev/sda bs=4096 oflag=direct 2>/dev/null && dd if=/dev/sda of=/tmp/b bs=4096 count=16 iflag=direct 2>/dev/null && cmp /tmp/a /tmp/b'
