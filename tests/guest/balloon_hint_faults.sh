# SPDX-License-Identifier: GPL-2.0
#: what     A host that fails to take a hint of free memory now and then, or takes it and does nothing, ends neither hints nor balloon
#: host     rlis
#: drivers  rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --cold-discard
#: memory   512M
#: seconds  300
#: c:memory-refuse-hint     says so each time
#: ours:memory-refuse-hint  says so once, and goes on: something that the host is short of may pass
#: c:memory-stuck-hint     calls again for ever, with interrupts off
#: ours:memory-stuck-hint  takes it for a refusal

delay=/sys/module/page_reporting/parameters/page_reporting_delay_ms
[ ! -e $delay ] || echo 100 >$delay
check bus_loads load hv_vmbus
hinted() { host memory | sed -n 's/.* hinted=\([0-9]*\).*/\1/p'; }
more_than() { [ "$(hinted)" -gt "$1" ]; }
failed() { dmesg | grep -c "Cold memory discard hypercall failed with status $1\$"; }
mkdir -p /mnt
check mounts mount -t tmpfs -o size=100% tmpfs /mnt
# hint: gives the driver something to tell.
hint() { dd if=/dev/zero of=/mnt/file bs=1M count=128 2>/dev/null && rm /mnt/file; }
struck() { hint && none_armed; }
goes_on() { hint && sleep 1 && more_than "$was"; }

# HV_STATUS_NO_RESOURCES, one time after the other: that may pass.
check shortage_is_armed host fault memory memory-refuse-hint 3 0x1d
check balloon_loads load hv_balloon pressure_report_delay=0
check agreed wait_for 20 host_says 'ready=1' memory
check shortage_strikes wait_for 60 struck
was=$(hinted)
check hints_after_shortage wait_for 60 goes_on
check shortage_is_said_once equal 1 "$(failed 1d)"

check stuck_is_armed host fault memory memory-stuck-hint
check stuck_strikes wait_for 60 struck
was=$(hinted)
check hints_after_stuck wait_for 60 goes_on
check stuck_is_said equal 1 "$(failed 0)"

# It was one refusal, and one is no reason.
ended() { logged 'disabling page reporting'; }
lives() { ! ended; }
check hints_did_not_end lives
check stuck_again_is_armed host fault memory memory-stuck-hint 100
try() { hint && sleep 1 && ended; }
check hints_end wait_for 60 try
check no_more_faults host faults --clear
check takes_64M host_says '^pages=16384 ' balloon 64M
check gives_64M host_says '^pages=16384 ' unballoon
check unloads unload hv_balloon
check no_violations equal '' "$(host violations)"
