# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs in the guest of scripts/bench-balloon, behind profile.sh, and prints lines as net.sh does: what a page takes that is given
# to the host or taken back.

# measure NAME PAGES: gives so many and takes them back, a few times; the last is told of.
measure() {
	wanted "$1" || return 0
	for _ in $(seq "$(operations 4)"); do
		ctl balloon 0 "$2" || { report "bench_$1" FAIL "no pages"; return; }
		cat $bus/netload >/tmp/up
		ctl balloon 0 0 || { report "bench_$1" FAIL "pages were not taken back"; return; }
	done
	figures "$1_down"
	figures "$1_up" /tmp/up
}
opened() { [ "$(channels 0)" = 1 ] && [ "$(counter requests)" -ge 2 ]; }

insmod /modules/hv_loop.ko softirq=1 scsi=0 balloon=1 && insmod /modules/hv_balloon.ko || exit 1
placed hv_loop hv_balloon
wait_for 30 opened || exit 1
measure blocks 16384
ctl fragment 0 1 || report fragmented FAIL
measure pages 4096
ctl fragment 0 0
no_violations || report violations FAIL
rmmod hv_balloon
rmmod hv_loop
