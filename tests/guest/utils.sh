# SPDX-License-Identifier: GPL-2.0
#: what     Heartbeat, time synchronisation and shutdown at the host's request
#: host     rlis
#: drivers  c
#: modules  hv_vmbus hv_utils
#: cpus     1
#: seconds  120

check bus_loads load hv_vmbus
check utils_load load hv_utils
check heartbeat wait_for 10 host_says 'answered=[1-9]' heartbeat
check ptp_clock equal hyperv "$(cat /sys/class/ptp/ptp0/clock_name)"

# The guest has no clock of its own, so it began in 1970; a SYNC comes with the negotiation.
of_this_century() { [ "$(date +%s)" -gt 1000000000 ]; }
check clock_set_at_start wait_for 10 of_this_century
ahead_by() {
	before=$(date +%s)
	host time "$1" || return 1
	moved=$(($(date +%s) - before))
	[ "$moved" -ge $(($1 - 5)) ] && [ "$moved" -le $(($1 + 30)) ] || { echo "moved by $moved s"; false; }
}
check clock_set_forward ahead_by 86400
sample_is_only_noted() {
	before=$(date +%s)
	host time 900000 --sample || return 1
	[ $(($(date +%s) - before)) -lt 1000 ]
}
check sample_leaves_the_clock_alone sample_is_only_noted

check unknown_shutdown_flag_refused host_says '^0x80004005$' shutdown-flags 0x1234
check unloads unload hv_utils
check command_without_driver_fails sh -c '. /scenario/lib.sh; ! host time 0 | grep -q "^ok"'
check loads_again load hv_utils
check heartbeat_again wait_for 20 host_says 'answered=[1-9]' heartbeat

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
