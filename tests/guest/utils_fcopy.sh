# SPDX-License-Identifier: GPL-2.0
#: what     Files copied from the host by bookworm's unmodified hv_fcopy_daemon through the character device
#: host     rlis
#: drivers  mixed rust
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: programs hv_fcopy_daemon
#: cpus     1
#: memory   768M
#: seconds  240

fcopy=34d14be3-dee4-41c8-9ae7-6b174977c192
node=/dev/vmbus/hv_fcopy
check bus_loads load hv_vmbus
check utils_load load hv_utils
check parameter equal Y "$(cat /sys/module/hv_utils/parameters/fcopy)"
check bound wait_for 10 test -e "$(vmbus_device $fcopy)/driver"
check device_node wait_for 10 test -c $node
check device_mode equal 600 "$(stat -c %a $node)"
check negotiated wait_for 10 logged 'FCOPY IC version 1\.1'
# Without a daemon the host is told so at once.
refused() { ! said=$(host fcopy "$@") && echo "$said" | grep -qi "${expect:-80004005}"; }
check no_daemon refused text:x /tmp x.txt

hv_fcopy_daemon -n & daemon=$!
sleep 3
check second_gets_busy sh -c "timeout 5 cat $node 2>&1 | grep -qi busy"
# The daemon makes the folders before each slash, so the last one needs a slash behind it.
check small host 'fcopy "text:Grüße aus dem Wirt" /tmp/copied/ hello.txt --create-path'
check small_content equal 'Grüße aus dem Wirt' "$(cat /tmp/copied/hello.txt)"
check name_not_ascii host fcopy text:inhalt /tmp/copied größe-日本.txt
check name_not_ascii_content equal inhalt "$(cat /tmp/copied/größe-日本.txt)"
expect=80070050
check existing_file_is_kept refused text:other /tmp/copied hello.txt
expect=
check content_unchanged equal 'Grüße aus dem Wirt' "$(cat /tmp/copied/hello.txt)"
check overwrite host fcopy text:other /tmp/copied hello.txt --overwrite
check content_changed equal other "$(cat /tmp/copied/hello.txt)"
check missing_folder refused text:x /tmp/nowhere x.txt
check empty host fcopy text: /tmp/copied empty
check empty_size equal 0 "$(stat -c %s /tmp/copied/empty)"

sum() { sha256sum "$1" | cut -d ' ' -f 1; }
check large host fcopy pattern:2097229 /tmp/copied large
check large_content equal eeea01a7941373a4c8af4d29668cbad86c2cf76333b3abbd1098b1873352d895 "$(sum /tmp/copied/large)"

# A silent daemon: time-out after half a minute; then it goes on.
kill -STOP $daemon
started=$(date +%s)
check silent_daemon refused text:x /tmp/copied silent.txt
took=$(($(date +%s) - started))
check after_30_seconds sh -c "[ $took -ge 28 ] && [ $took -le 70 ]"
kill -CONT $daemon
sleep 2
check answers_again host fcopy text:x /tmp/copied after.txt

# It dies in the middle of a file: the host is told at once.
(host fcopy pattern:33554432 /tmp/copied middle >/tmp/middle 2>&1; echo $? >/tmp/middle.status) &
check copy_has_begun wait_for 20 test -s /tmp/copied/middle
started=$(date +%s)
kill -KILL $daemon
check killed_while_copying wait_for 20 test -s /tmp/middle.status
took=$(($(date +%s) - started))
check killed_is_noticed_at_once test "$took" -le 10
check killed_is_a_failure equal 1 "$(cat /tmp/middle.status)"
wait
check dead_daemon refused text:x /tmp/copied dead.txt
hv_fcopy_daemon -n & daemon=$!
sleep 2
check new_daemon host fcopy text:again /tmp/copied again.txt
check new_daemon_content equal again "$(cat /tmp/copied/again.txt)"
kill -KILL $daemon
wait
check unload unload hv_utils
check load_without load hv_utils fcopy=0
sleep 2
check not_served test ! -e $node
check not_bound test ! -e "$(vmbus_device $fcopy)/driver"
check no_word_of_it sh -c '! dmesg | grep -E "probe (failed|with driver)|error -19"'
check no_violations equal '' "$(host violations)"
