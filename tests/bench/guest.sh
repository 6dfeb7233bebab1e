# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs in the guest of scripts/bench, behind profile.sh. Under -icount the guest's clock counts instructions, of all CPUs together:
# each line `rlis-bench: NAME N` says that one read took N tenths of them, NAME.signals how many signals to the host there were
# for ten thousand reads, NAME.needless how many of those the host had no use for, and NAME.interrupts how often it interrupted.
# CPUS and SUBCHANNELS come from the runner.

# measure NAME BYTES DEPTH COUNT
measure() {
	wanted "$1" || return 0
	# Once to warm up: the caches of the allocators, the memory of the disk.
	for reads in $(($4 / 10)) "$4"; do
		reads=$(operations "$reads")
		ctl load 0 /dev/"$a" "$2" "$3" "$reads" "$CPUS" || {
			report "bench_$1" FAIL "the load ended with an error"
			return
		}
	done
	reads=$((reads * CPUS))
	sed "s/[a-z]\+ //g" $bus/load | while read -r ns signals needless interrupts; do
		{
			echo "rlis-bench: $1 $((ns * 10 / reads))"
			echo "rlis-bench: $1.signals $((signals * 10000 / reads))"
			echo "rlis-bench: $1.needless $((needless * 10000 / reads))"
			echo "rlis-bench: $1.interrupts $((interrupts * 10000 / reads))"
		} | while read -r line; do echo "$line" >/dev/kmsg; done
	done
}

start softirq=1 luns=1 lun_mib=32 subchannels="$SUBCHANNELS" || exit 1
placed hv_loop hv_storvsc
wait_for 30 has_disk 0 0 || exit 1
a=$(disk 0 0)
dd if=/dev/zero of=/dev/"$a" bs=1M count=32 2>/dev/null
if [ "$CPUS" = 1 ]; then
	measure read_4k_qd1 4096 1 4000
	measure read_4k_qd32 4096 32 16000
	measure read_256k_qd1 262144 1 600
	measure read_256k_qd8 262144 8 1200
fi
measure "read_4k_qd32_cpus${CPUS}_channels$((SUBCHANNELS + 1))" 4096 32 8000
note "contended $(counter contended) doorbells $(counter doorbells) interrupts $(counter interrupts) requests $(counter requests)"
no_violations || report violations FAIL
