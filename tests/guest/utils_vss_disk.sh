# SPDX-License-Identifier: GPL-2.0
#: what     A mounted disk is frozen and thawed by the distribution's VSS daemon
#: host     rlis
#: drivers  mixed c
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc ptp
#: programs hv_vss_daemon mke2fs
#: args     --scsi scsi0 --disk scsi0:0:0,size=64M
#: cpus     1
#: seconds  180

check bus_loads load hv_vmbus
check utils_load load hv_utils
check storage_loads load hv_storvsc
check disk_found wait_for 30 test -b /dev/sda
hv_vss_daemon -n >/tmp/vss.log 2>&1 &
/usr/bin/mke2fs -q /dev/sda && mkdir -p /mnt/disk && mount /dev/sda /mnt/disk
check freeze host vss freeze
# A frozen file system lets no write through until it is thawed.
(echo written >/mnt/disk/file; sync; echo yes >/tmp/written) &
sleep 2
check write_waits test ! -e /tmp/written
check thaw host vss thaw
check write_goes_on wait_for 10 test -e /tmp/written
check umount umount /mnt/disk
