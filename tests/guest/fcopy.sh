# SPDX-License-Identifier: GPL-2.0
#: what     The host copies files into the guest through the distribution's daemon on uio_hv_generic
#: host     rlis
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus uio_hv_generic
#: programs hv_fcopy_uio_daemon
#: cpus     1
#: seconds  120

check bus_loads load hv_vmbus
check uio_loads load uio_hv_generic
check uio_device wait_for 10 test -c /dev/uio0
hv_fcopy_uio_daemon -n >/tmp/fcopy.log 2>&1 &
sleep 1
check copied host fcopy '"text:hello guest"' /tmp greeting
check content equal 'hello guest' "$(cat /tmp/greeting)"
exists() { ! host fcopy text:other /tmp greeting >/tmp/answer && grep -q status /tmp/answer; }
check existing_file_kept exists
check still_the_old equal 'hello guest' "$(cat /tmp/greeting)"
check overwritten host fcopy text:other /tmp greeting --overwrite
check new_content equal other "$(cat /tmp/greeting)"
check folder_made host fcopy text:deep /tmp/a/b/ file --create-path
check content_in_folder equal deep "$(cat /tmp/a/b/file)"
