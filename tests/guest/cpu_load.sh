# SPDX-License-Identifier: GPL-2.0
#: what     All CPUs under load without any driver of ours: if this fails, the virtualisation below is unsound, not a driver
#: host     qemu
#: drivers  c
#: quick    none
#: modules
#: cpus     2
#: seconds  150

# Each worker hashes the same data; a CPU that computes wrongly, or a clock that goes back, is seen.
worker() {
	previous=0
	for round in $(seq 12); do
		sum=$(head -c 300000 /dev/zero | md5sum | cut -d' ' -f1)
		[ "$sum" = 4a21de7a58fb8ecb9a1b1f08a3068269 ] || echo "round $round: checksum $sum"
		now=$(cut -d. -f1 /proc/uptime)
		[ "$now" -ge "$previous" ] || echo "round $round: the clock went from $previous to $now"
		previous=$now
	done
	echo finished
}
check both_cpus equal 2 "$(grep -c ^processor /proc/cpuinfo)"
worker >/tmp/1 &
worker >/tmp/2 &
wait
check worker_1 equal finished "$(cat /tmp/1)"
check worker_2 equal finished "$(cat /tmp/2)"
