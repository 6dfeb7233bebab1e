# SPDX-License-Identifier: GPL-2.0
#: what     Allocations on the way of a controller into use fail, one in each try; nothing is left behind, and the next try succeeds
#: drivers  rust
#: when     all
#: kernel   debug
#: cpus     2
#: cmdline  kmemleak=on
#: seconds  300

faults=/sys/kernel/debug/failslab
check kernel_injects_faults test -d $faults || exit 1
# Without reports, which look like complaints; and allocations that may wait fail, too.
echo 0 >$faults/verbose
echo N >$faults/ignore-gfp-wait
check starts start luns=1 lun_mib=16 subchannels=1
check disk wait_for 20 has_disk 0 0 || exit 1
device=$(basename "$(ls -d /sys/bus/vmbus/devices/* | head -n 1)")
drivers=/sys/bus/vmbus/drivers/hv_storvsc
no_host() { ! ls -d /sys/class/scsi_host/host* 2>/dev/null | grep .; }
unbind() { echo "$device" >$drivers/unbind; }
check unbinds unbind
check no_host_after_unbinding no_host

# attempt N: the Nth allocation of this shell while it binds the driver fails. Sets `left` (0: it struck) and `bound`.
attempt() {
	bound=no
	echo "$1" >/proc/self/fail-nth
	{ echo "$device" >$drivers/bind; } 2>/dev/null && bound=yes
	until read -r left </proc/self/fail-nth; do :; done 2>/dev/null
	echo 0 >/proc/self/fail-nth
	[ -e "$drivers/$device" ] && bound=yes || bound=no
}
# tries: one after the other, until there is no allocation left to fail. `check` runs it in a shell of its own, so it
# judges its own counts.
tries() {
	n=1 refused=0 survived=0
	while [ $n -le 4000 ]; do
		attempt $n
		if [ $bound = yes ]; then
			unbind || { echo "allocation $n: cannot be unbound"; return 1; }
			[ "$left" = 0 ] || break
			survived=$((survived + 1))
		else
			refused=$((refused + 1))
		fi
		no_host || { echo "allocation $n: a SCSI host is left"; return 1; }
		# Each of the first ones, then fewer and fewer: a try takes seconds under this kernel.
		n=$((n + 1 + n / 25))
	done
	note "allocations up to $n: $refused made the driver refuse, $survived were survived"
	[ "$left" != 0 ] || { echo "still failing after $n allocations"; return 1; }
	[ $refused -gt 10 ] || { echo "only $refused allocations made the driver refuse"; return 1; }
}
check allocations_fail_one_by_one tries
bind() { echo "$device" >$drivers/bind && wait_for 20 has_disk 0 0; }
check binds_again bind
check still_good verified "$(disk 0 0)" 2m

# Allocations that may not wait fail now and then while commands run.
echo Y >$faults/ignore-gfp-wait
echo -1 >$faults/times
echo 10 >$faults/probability
check works_without_atomic_memory verified "$(disk 0 0)" 8m --numjobs=2 --offset_increment=8m --iodepth=32
echo 0 >$faults/probability
check no_violations no_violations
check module_goes stop
check nothing_leaks no_leak
