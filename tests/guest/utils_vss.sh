# SPDX-License-Identifier: GPL-2.0
#: what     Freeze and thaw on request of the host, by the distribution's unmodified hv_vss_daemon
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: programs hv_vss_daemon
#: cpus     1
#: seconds  240

vss=35fa2e29-ea23-4236-96ae-3a6ebacba440
node=/dev/vmbus/hv_vss
check bus_loads load hv_vmbus
check utils_load load hv_utils
check bound wait_for 10 test -e "$(vmbus_device $vss)/driver"
check device_node wait_for 10 test -c $node
check device_mode equal 600 "$(stat -c %a $node)"
check negotiated wait_for 10 logged 'VSS IC version 5\.0'
refused() { ! host vss "$1"; }
check no_daemon refused hot-backup
check kernel_answers_dm_info host_says '^0(x0)?$' vss dm-info

hv_vss_daemon -n & daemon=$!
sleep 3
check second_gets_busy sh -c "timeout 5 cat $node 2>&1 | grep -qi busy"
# The C driver says nothing of what it can do: flags of 0.
flags='^(0x)?5$'
! c_drivers || flags='^0(x0)?$'
check hot_backup host_says "$flags" vss hot-backup
check freeze host vss freeze
check thaw host vss thaw
check freeze_again host vss freeze
check thaw_again host vss thaw
for round in $(seq 10); do host vss freeze >/dev/null && host vss thaw >/dev/null || break; done
check ten_rounds equal 10 "$round"

# It dies in the middle of a request: the host is told at once, and the next one thaws.
kill -STOP $daemon
(host vss freeze >/tmp/frozen; echo $? >/tmp/frozen.status) &
sleep 3
kill -KILL $daemon
c_drivers || check killed_while_freezing wait_for 15 test -s /tmp/frozen.status
c_drivers || check killed_is_a_failure equal 1 "$(cat /tmp/frozen.status)"
if ! c_drivers; then
	hv_vss_daemon -n & daemon=$!
	sleep 3
	check new_daemon host_says '^(0x)?5$' vss hot-backup
	# A request other than freeze is given up after half a minute.
	kill -STOP $daemon
	started=$(date +%s)
	check silent_daemon refused hot-backup
	took=$(($(date +%s) - started))
	check after_30_seconds sh -c "[ $took -ge 28 ] && [ $took -le 40 ]"
	kill -CONT $daemon
	sleep 1
	check answers_again host_says '^(0x)?5$' vss hot-backup
	check rescind host rescind vss
	node_gone() { test ! -e $node; }
	check node_gone wait_for 15 node_gone
	check offered_again host offer vss
	check node_back wait_for 15 test -c $node
	kill -KILL $daemon 2>/dev/null
	wait

	# A daemon of a few lines that cannot freeze: the host is told, and the next message is THAW.
	message() { timeout 15 dd bs=12 count=1 2>/dev/null <&5 | od -An -tx1 | tr -d ' '; }
	exec 5<>$node
	printf '\201\0\0\0\0\0\0\0\0\0\0\0' >&5
	check handshake equal 81000000 "$(message)"
	sleep 1
	rm -f /tmp/frozen /tmp/frozen.status
	(exec 5>&-; host vss freeze >/tmp/frozen; echo $? >/tmp/frozen.status) &
	check asked_to_freeze equal 050000000000000000000000 "$(message)"
	printf '\005\100\0\200\0\0\0\0\0\0\0\0' >&5
	check asked_to_thaw equal 060000000000000000000000 "$(message)"
	printf '\0\0\0\0\0\0\0\0\0\0\0\0' >&5
	check freeze_failed wait_for 10 grep -q 1 /tmp/frozen.status
	check freeze_failed_with grep -q 80004005 /tmp/frozen
	# What nobody has asked for, and messages of another length.
	odd() { ! printf "$1" 2>/dev/null >&5; }
	check answer_unasked odd '\0\0\0\0\0\0\0\0\0\0\0\0'
	check answer_too_short odd '\0\0\0\0'
	exec 5>&-
	wait
	# What watches over busybox's timeout has the device open, too, for a second more.
	check unload wait_for 10 unload hv_utils
	check load_again load hv_utils
fi
check no_violations equal '' "$(host violations)"
