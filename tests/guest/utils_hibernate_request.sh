# SPDX-License-Identifier: GPL-2.0
#: what     The host asks the guest to hibernate, and user space is told by a uevent
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: args     --hibernation
#: cpus     1
#: seconds  90

check bus_loads load hv_vmbus
check utils_load load hv_utils
check negotiated wait_for 10 logged 'Shutdown IC version 3\.2'
device=$(vmbus_device 0e0b6031-5213-4934-818b-38d90ced39db)
path=$(readlink -f "$device")
path=${path#/sys}

# In the place of udev: called for every event with its variables.
cat >/tmp/listener <<'EOF'
#!/bin/sh
[ -n "$EVENT" ] && echo "$ACTION $DEVPATH $EVENT $SUBSYSTEM" >>/run/events
EOF
chmod +x /tmp/listener
uevent /tmp/listener &
sleep 1
events() { [ "$(grep -c . /run/events 2>/dev/null)" = "$1" ] || { cat /run/events; false; }; }
check accepted equal 0x0 "$(host shutdown hibernate)"
check event wait_for 10 events 1
check event_content equal "change $path hibernate vmbus" "$(cat /run/events)"
check accepted_again equal 0x0 "$(host shutdown hibernate --force)"
check event_again wait_for 10 events 2
check other_flags_refused equal 0x80004005 "$(host shutdown-flags 6)"
sleep 2
check no_other_event events 2
check no_violations equal '' "$(host violations)"
