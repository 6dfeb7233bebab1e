# SPDX-License-Identifier: GPL-2.0
#: what     Heartbeats are answered for ten minutes while all CPUs are busy
#: host     rlis
#: drivers  mixed c rust rustbus
#: modules  hv_vmbus hv_utils ptp
#: cpus     1
#: seconds  720
#: when     all

load hv_vmbus
load hv_utils
check answered wait_for 15 host_says 'answered=[1-9]' heartbeat
busy=
for n in 1 2 3 4; do
	while :; do :; done &
	busy="$busy $!"
done
count() { host heartbeat | sed -n "s/.*$1=\([0-9]*\).*/\1/p"; }
answered=$(count answered)
missed=$(count missed)
sleep 600
answered=$(($(count answered) - answered))
missed=$(($(count missed) - missed))
note "answered $answered, missed $missed"
check answered_for_ten_minutes test "$answered" -ge 100
check none_missed equal 0 "$missed"
for n in $busy; do kill "$n"; done
