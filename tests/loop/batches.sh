# SPDX-License-Identifier: GPL-2.0
#: what     The host is told of every command, also of those that it is told of together: a signal that is lost is a hang
#: drivers  c rust
#: quick    none
#: cpus     4
#: seconds  240

# load BYTES DEPTH COUNT COMMAND...: reads with as many under way on each CPU, and meanwhile runs COMMAND over and over. What the
# host is not told of waits for the time-out, three minutes.
load() {
	bytes=$1 depth=$2 count=$3
	shift 3
	ctl load 0 /dev/"$a" "$bytes" "$depth" "$count" 4 &
	loading=$!
	started=$(uptime)
	while [ -e /proc/$loading ]; do
		[ $(($(uptime) - started)) -lt 120 ] || { echo "hangs"; return 1; }
		"$@" || return 1
		sleep 0.1
	done
	wait $loading || return 1
	note "$bytes bytes, $depth at a time: $((count * 4)) reads, $(cat $bus/load)"
}
moves=0
move() { moves=$((moves + 1)); ctl cpu 0 0 $((moves % 4)) && ctl cpu 0 1 $((moves / 3 % 4)); }
stall() { ctl fault 0 stall $((moves % 30)); move; }
in_time() { ! dmesg | grep -q 'longer than its time-out'; }

check starts start luns=1 lun_mib=32 subchannels=1
check disk wait_for 10 has_disk 0 0 || exit 1
a=$(disk 0 0)
two_channels() { equal 2 "$(channels 0)"; }
check sub_channel wait_for 5 two_channels
check one_at_a_time load 4096 1 2000 true
check two_at_a_time load 4096 2 5000 true
check many_at_a_time load 4096 32 20000 true
check channels_that_move load 4096 16 20000 move
check a_host_that_stops load 4096 8 5000 stall
check in_batches verified "$a" 4m --iodepth=64 --iodepth_batch=16 --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=32 --numjobs=4 --offset_increment=4m
check module_goes stop

# A ring that holds a few commands, and is filled to the last.
driver_args='storvsc_ringbuffer_size=16384 ring_avail_percent_lowater=0'
check starts_with_small_rings start luns=1 lun_mib=32 subchannels=1 softirq=1
check disk_again wait_for 10 has_disk 0 0 || exit 1
a=$(disk 0 0)
# The host stops now and then, or it would be quicker than they are.
long_stall() { ctl fault 0 stall 40 && move; }
check full_rings load 131072 32 1500 long_stall
filled() { test "$(counter full)" -gt 0; }
check rings_were_full filled
check in_time in_time
check no_violations no_violations
check module_goes_again stop
