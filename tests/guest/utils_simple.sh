# SPDX-License-Identifier: GPL-2.0
#: what     Heartbeat, time synchronisation and refused shutdown requests; hostile messages; the module comes and goes
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils ptp
#: programs perl
#: cpus     1
#: seconds  150

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
timesync=9527e630-d0ae-497b-adce-e80ab0175caf
shutdown=0e0b6031-5213-4934-818b-38d90ced39db
check bus_loads load hv_vmbus
check utils_load load hv_utils
for class in $heartbeat $timesync $shutdown; do
	check "bound_${class%%-*}" wait_for 10 test -e "$(vmbus_device $class)/driver"
done
check alias_finds_module equal hv_utils "$(modprobe -D "$(cat "$(vmbus_device $heartbeat)/modalias")" 2>/dev/null | grep -o hv_utils | head -n 1)"
for text in 'Heartbeat IC version 3\.0' 'TimeSync IC version 4\.0' 'Shutdown IC version 3\.2'; do
	check "version_${text%% *}" wait_for 10 logged "$text"
done
check heartbeat_answered wait_for 10 host_says 'answered=[1-9]' heartbeat

# Time: the host tells its own; the guest's clock has no battery and no host time before that.
year() { date +%Y; }
now() { date +%s; }
check time_is_set wait_for 20 test "$(year)" -ge 2024
behind() { date -s "@$(($(now) - 3600))" >/dev/null; }
near() { difference=$(($(now) - $1)); [ "$difference" -ge -"$2" ] && [ "$difference" -le "$2" ] || { echo "off by $difference s"; false; }; }
before=$(now)
behind
check clock_moved near $((before - 3600)) 30

# The PTP clock shows the host's time, whatever the guest's is.
ptp=$(grep -l '^hyperv$' /sys/class/ptp/*/clock_name 2>/dev/null | head -n 1)
check ptp_clock test -n "$ptp"
ptp=/dev/$(basename "$(dirname "$ptp")")
check ptp_device test -c "$ptp"
# close A B: not more than three seconds apart. A command of the host may take one here.
close() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < -3 || d > 3) { print a " and " b; exit 1 } }'; }
check ptp_shows_host_time close "$(ptp_time "$ptp")" "$(host clock)"
check ptp_goes_on ptp_advances "$ptp"
check ptp_cannot_be_set equal 95 "$(ptp_set "$ptp")"
# With the system's time before and after, as phc2sys and chrony want it: the guest's clock is an hour behind. Not with C.
if ! c_drivers; then
	check ptp_offset close 3600 "$(ptp_offset "$ptp")"
	# The kernel takes one that is both at once only while its own time comes from the TSC.
	check ptp_cross_timestamp equal "$(has_cross_timestamps && echo 19 || echo 95)" "$(ptp_cross "$ptp")"
fi

check host_sync host time 0
check clock_pulled_back wait_for 15 near "$before" 60
check host_sample host time 7200 --sample
sleep 6
check sample_does_not_set_clock near "$before" 90

parameter=/sys/module/hv_utils/parameters/timesync_implicit
check implicit_off equal N "$(cat $parameter)"
check implicit_mode equal 644 "$(stat -c %a $parameter)"
echo Y >$parameter
check implicit_on equal Y "$(cat $parameter)"
check host_sample_again host time 7200 --sample
check implicit_sync wait_for 15 near $((before + 7200)) 90
echo N >$parameter
check host_sync_back host time 0
check clock_back wait_for 15 near "$before" 120

# Requests that make no sense are refused, and what follows them is answered.
check bad_shutdown_flags host_says 0x80004005 shutdown-flags 0xff
check hibernation_refused host_says 0x80004005 shutdown-flags 4
check heartbeat_after wait_for 10 host_says 'answered=[1-9]' heartbeat
answered() { host heartbeat | sed -n 's/answered=\([0-9]*\).*/\1/p'; }
progress() { was=$(answered); sleep 5; is=$(answered); [ "$is" -gt "$was" ] || { echo "stood at $was"; false; }; }
for fault in ic-unknown-type ic-size 'truncated-payload heartbeat' ; do
	host fault heartbeat "${fault%% *}" 1 >/dev/null 2>&1
done
sleep 3
check heartbeat_after_faults progress

reload() {
	for round in 1 2 3 4 5; do
		unload hv_utils && ! loaded hv_utils || { echo "round $round: did not unload"; return 1; }
		load hv_utils && wait_for 10 host_says '^heartbeat .* open$' list || { echo "round $round: no heartbeat"; return 1; }
	done
}
check reload_5 reload
check heartbeat_after_reload wait_for 10 progress
check no_violations equal '' "$(host violations)"
