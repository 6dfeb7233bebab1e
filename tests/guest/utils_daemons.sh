# SPDX-License-Identifier: GPL-2.0
#: what     The distribution's KVP and VSS daemons, asked by the host
#: host     rlis
#: drivers  c
#: modules  hv_vmbus hv_utils hv_storvsc
#: programs hv_kvp_daemon hv_vss_daemon mke2fs
#: args     --scsi scsi0 --disk scsi0:0:0,size=64M
#: cpus     1
#: seconds  180

check bus_loads load hv_vmbus
check utils_load load hv_utils
check storage_loads load hv_storvsc
check disk_found wait_for 30 test -b /dev/sda
check kvp_device test -c /dev/vmbus/hv_kvp
check vss_device test -c /dev/vmbus/hv_vss
hv_kvp_daemon -n >/tmp/kvp.log 2>&1 &
hv_vss_daemon -n >/tmp/vss.log 2>&1 &

check kvp_negotiated wait_for 20 host_says 'OSName=' kvp-list auto
check kvp_os_name host_says '^OSVersion=' kvp-list auto
check kvp_set host kvp-set external other '"two words"'
check kvp_in_the_pool sh -c 'tr -d "\0" </var/lib/hyperv/.kvp_pool_0 | grep -q "two words"'
check kvp_set_number host kvp-set external number 4294967295 --type u32
check kvp_set_umlaut host kvp-set external umlaut größe
# The C driver answers to GET with an empty value: it tells the daemon that there is room for 0 bytes, and looks for the
# value four bytes too far. Whether the key is there is right, and ENUMERATE gives the values.
check kvp_get host kvp-get external other
check kvp_text host_says '^other=two words$' kvp-list external
check kvp_number host_says '^number=4294967295$' kvp-list external
check kvp_umlaut host_says '^umlaut=größe$' kvp-list external
check kvp_delete host kvp-delete external other
deleted() { ! host kvp-get external other >/tmp/answer && grep -q 'no key' /tmp/answer; }
check kvp_deleted deleted
check kvp_list_external equal 2 "$(host kvp-list external | grep -cE '^(number|umlaut)=')"

/usr/bin/mke2fs -q /dev/sda && mkdir -p /mnt/disk && mount /dev/sda /mnt/disk
# The flags should say 5, no automatic recovery; the C driver compares the daemon's status, which lies where the operation
# was, so that it sends 0.
check backup_possible host_says '^0x[05]$' vss hot-backup
check freeze host vss freeze
# A frozen file system lets no write through until it is thawed.
(echo written >/mnt/disk/file; sync; echo done >/tmp/written) &
sleep 2
check write_waits test ! -e /tmp/written
check thaw host vss thaw
check write_goes_on wait_for 10 test -e /tmp/written
check umount umount /mnt/disk
