# SPDX-License-Identifier: GPL-2.0
#: what     A host that misbehaves costs a packet and a line in the log, never a command, the content or the system
#: drivers  rust
#: when     all
#: cpus     4
#: seconds  600
#: expect-rust WARNING: kernel/dma/direct\.c
#: fault:duplicate  completes commands twice
#: fault:unknown  completes commands that were never sent
#: fault:early  completes commands by ids of tags that are idle
#: fault:short  cuts completions short
#: fault:badlen  sends packets whose length is out of bounds
#: fault:badheader  sends packets whose descriptor is out of bounds
#: fault:unsolicited  sends packets that nobody has asked for
#: fault:slow  completes commands late
#: fault:stall  stops reading its ring
#: fault:hold  carries commands out late, with a reset meanwhile
#: fault:lose  never completes commands, and does nothing about a reset
#: fault:error  fails commands with errors of all kinds
#: fault:ring  shows a read index outside of the guest's ring
#: fault:rescind  withdraws the device
#: c:lose  waits for ever
#: c:ring  the command is lost: reported as taken, and never completed
#: c:rescind  commands are lost: reported as taken, and never completed
# The C driver is not run here: it loses commands when the host withdraws a device or its ring is corrupt (it answers
# 0 for them without completing them), and waits without end when a completion does not come.

# dmesg_lines PATTERN: how many lines of the log match.
dmesg_lines() { dmesg | grep -v 'rlis-check:' | grep -cE "$1"; }

# under_load SECONDS COMMAND...: runs COMMAND over and over while four jobs write and verify.
under_load() {
	seconds=$1
	shift
	fio --minimal --name=load --filename="/dev/$a" --size=8m --rw=randwrite --bs=4k --ioengine=libaio --direct=1 \
		--iodepth=16 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --loops=1000 --runtime="$seconds" --time_based \
		--random_generator=lfsr >/tmp/load 2>&1 &
	load=$!
	end=$(($(cut -d. -f1 /proc/uptime) + seconds - 1))
	while [ "$(cut -d. -f1 /proc/uptime)" -lt $end ]; do
		"$@" || { kill $load; return 1; }
		sleep 0.1
	done
	wait $load || { tail -n 3 /tmp/load; return 1; }
}
# fault NAME ARGUMENT...: armed again and again under load; the data hold, and few lines are logged.
fault() {
	before=$(dmesg_lines 'hv_storvsc')
	under_load 2 ctl fault 0 "$@" || return 1
	lines=$(($(dmesg_lines 'hv_storvsc') - before))
	[ $lines -le 30 ] || { echo "$lines lines in the log"; return 1; }
	no_stuck
}
none_busy() { equal 0 "$(cat "/sys/class/scsi_host/host$(host 0)/host_busy")"; }
no_stuck() { wait_for 10 none_busy; }

driver_args=
check starts start luns=2 lun_mib=32 subchannels=1
check disk wait_for 10 has_disk 0 1 || exit 1
a=$(disk 0 0)
has_channels() { equal "$1" "$(channels 0)"; }
check sub_channel wait_for 5 has_channels 2

check duplicate_completions fault duplicate 40
check unknown_ids fault unknown 40
check ids_of_idle_tags fault early 20
check short_packets fault short 40
check lengths_out_of_bounds fault badlen 40
check descriptors_out_of_bounds fault badheader 40
check unsolicited_packets fault unsolicited 20
check logged_at_all logged 'hv_storvsc.*ignored a packet'
check slow_completions fault slow 20 30
check host_stops_reading fault stall 300

# Errors that are tried again and succeed.
check error_then_retry under_load 2 ctl fault 0 error 1 256 0x04 0 0 0 0
check error_is_logged logged 'tag#[0-9]+ cmd 0x[0-9a-f]+ status: scsi 0x0 srb 0x4'
check bus_reset_status under_load 2 ctl fault 0 error 1 256 0x0e 0 0 0 0
check busy_status under_load 2 ctl fault 0 error 1 256 0x05 0x08 0 0 0
# An SRB error with good status is an error, not a success with nothing read.
unknown_status() {
	ctl fault 0 error 100 0x28 0x3f 0 0 0 0
	! dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
	status=$?
	ctl fault 0 error 0 0 0 0 0 0 0
	return $status
}
check unknown_status_is_an_error unknown_status
medium_error() {
	ctl fault 0 error 1 0x28 0x84 2 3 0x11 0
	! dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
}
check medium_error_is_reported medium_error
check sense_reaches_the_log logged 'Sense Key.*0x3|Sense Key : Medium|Medium Error'
check still_good verified $a 4m

# Channels move to other CPUs under load.
moves=0
move() { moves=$((moves + 1)); ctl cpu 0 0 $((moves % 4)) && ctl cpu 0 1 $((moves / 3 % 4)); }
check channels_move under_load 4 move

# Commands that are carried out late, or whose completion never comes, then a reset: the host answers that and does nothing.
# What is long overdue is got back by closing the channel, and tried again; the host carries out what it has before.
time_out() { echo "$1" >/sys/block/$a/device/timeout; }
disarmed() { grep -q '^dev 0 .* armed 0' $bus/stat; }
reset() { timeout 120 sg_reset -H /dev/$a || { echo "the reset ended with $?"; return 1; }; }
over_a_reset() {
	ctl fault 0 "$@"
	fio --minimal --name=d --filename=/dev/$a --size=1m --rw=randwrite --bs=4k --ioengine=libaio --direct=1 --iodepth=8 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 >/tmp/d 2>&1 &
	job=$!
	wait_for 20 disarmed || { echo "it did not strike"; return 1; }
	reset || return 1
	wait $job || { tail -n 3 /tmp/d; return 1; }
}
check held_over_a_reset over_a_reset hold 5 9000
check no_close_for_what_is_not_overdue sh -c '! dmesg | grep -q "the channel is closed and opened again"'
time_out 2
check lost_then_reset over_a_reset lose 5
check overdue_then_reset over_a_reset hold 5 600000
check close_is_told logged '[0-9]+ commands are not completed by the host, so the channel is closed and opened again'
check sub_channel_again wait_for 10 has_channels 2
time_out 180
# Nobody resets, but it is told.
late() {
	time_out 2
	ctl fault 0 lose 1
	dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
	job=$!
	wait_for 30 logged 'longer than its time-out; still waiting' || return 1
	reset || return 1
	wait $job
}
check late_command_is_told late
time_out 180
check good_after_reset verified $a 4m

# The ring's read index, which the host writes, becomes nonsense: sending fails, nothing hangs.
corrupt() {
	ctl ring 0 0 2000000000 && ctl ring 0 1 2000000000
	timeout 60 dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
	status=$?
	ctl ring 0 1 -1
	ctl ring 0 0 -1
	[ $status = 1 ] || { echo "dd ended with $status"; return 1; }
}
check corrupt_ring_is_an_error corrupt
check corrupt_ring_is_logged logged 'cmd 0x28 could not be sent'
check good_after_corruption verified $a 4m

# Memory that cannot be mapped for DMA, for a while. The kernel warns of that, see expect-rust.
dma() {
	ctl dma 0 20
	dd if=/dev/$a of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
	job=$!
	sleep 1
	ctl dma 0 64
	wait $job
}
check dma_mapping_fails_for_a_while dma

# A LUN that vanishes without notice.
vanish() {
	ctl lun 0 del 1
	dd if=/dev/$(disk 0 1) of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
	wait_for 15 no_disk 0 1
}
check vanished_lun_is_removed vanish
check no_violations no_violations

# The device goes away under load: everything ends, with errors, at once.
gone() {
	fio --minimal --name=g --filename=/dev/$a --size=16m --rw=randrw --bs=4k --ioengine=libaio --direct=1 --iodepth=32 --numjobs=4 \
		--runtime=60 --time_based >/tmp/g 2>&1 &
	job=$!
	sleep 2
	ctl fault 0 hold 10 600000
	sleep 1
	timeout 30 sh -c "echo 'rescind 0' >$bus/ctl" || { echo "rescind hangs"; return 1; }
	wait $job
	[ $? != 0 ]
}
check rescind_under_load gone
no_host() { ! ls -d /sys/class/scsi_host/host* 2>/dev/null | grep .; }
check no_host_left no_host
again() { ctl offer 0 && wait_for 10 has_disk 0 0 && verified "$(disk 0 0)" 4m; }
check offered_again again
rounds() {
	for round in 1 2 3 4 5 6 7 8; do
		ctl rescind 0 && no_host && ctl offer 0 || { echo "round $round"; return 1; }
	done
	wait_for 10 has_disk 0 0
}
check rescind_and_offer_8_times rounds

# Resets while commands are under way, and unloading with a completion outstanding.
a=$(disk 0 0)
resets() { timeout 120 sg_reset -H /dev/$a; }
check resets_under_load under_load 4 resets
check module_goes stop
