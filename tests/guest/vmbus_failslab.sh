# SPDX-License-Identifier: GPL-2.0
#: what     Memory runs out anywhere while the bus loads and devices come: an error, and nothing is left behind
#: host     rlis
#: kernels  debug
#: drivers  rustbus rust
#: quick    none
#: modules  hv_vmbus hv_utils
#: programs perl
#: cpus     1
#: cmdline  kmemleak=on
#: when     all
#: seconds  900
#: expect   lockdep_unregister_key|vmalloc error|page allocation failure|event_define_fields
# The kernel's bus_register(), if it fails early, takes back the lock class that it has not registered yet.
# Its loader warns of a tracepoint for whose fields there is no memory.

slab=/sys/kernel/debug/failslab
heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
module=/lib/modules/$(uname -r)/hv_vmbus.ko
for attribute in $slab /sys/kernel/debug/fail_page_alloc; do
	echo 0 >$attribute/verbose
	echo N >$attribute/ignore-gfp-wait
done
loads() { load hv_vmbus && load hv_utils && wait_for 30 host_says '^heartbeat .* open$' list; }
lets_go() { unload hv_utils && unload hv_vmbus; }
check loads_at_first loads
check lets_go_at_first lets_go

# one_load N: loads the bus while the N-th allocation fails. Prints whether the load was refused, and how many of the N
# allocations were left: 0 if one failed. insmod will not do: refused, it tries again in another way.
one_load() {
	perl -e 'my ($n, $file) = @ARGV;
		open my $module, "<", $file or die "$file: $!\n";
		open my $nth, "+<", "/proc/thread-self/fail-nth" or die "fail-nth: $!\n";
		my $options = "";
		syswrite $nth, $n;
		my $refused = syscall(313, fileno $module, $options, 0);
		sysread $nth, my $left, 16;
		syswrite $nth, 0;
		printf "%s %d\n", $refused ? "refused" : "loaded", $left;' "$1" "$module"
}
# each_of N...: the load survives it that the N-th allocation fails, for each N.
each_of() {
	local n result hit=0 refused=0
	for n; do
		result=$(one_load "$n") || return 1
		[ "${result% *}" = loaded ] || refused=$((refused + 1))
		[ "${result#* }" != 0 ] || hit=$((hit + 1))
		! loaded hv_vmbus || unload hv_vmbus || { echo "allocation $n: does not unload"; return 1; }
	done
	note "of the allocations $1 to $n, $hit failed, and $refused loads were refused"
	echo $refused >/tmp/refused
}
# How many there are; those of the kernel's loader come first, those of the bus last.
left=$(one_load 1000000)
left=${left#* }
check unloads_after_counting unload hv_vmbus
total=$((1000000 - left))
note "a load makes $total allocations"
# shellcheck disable=SC2046 # numbers
check allocations_of_the_loader each_of $(seq 1 $((total / 15)) $((total - 200)))
# shellcheck disable=SC2046
check allocations_of_the_bus each_of $(seq $((total - 200)) 4 $total)
check loads_are_refused test "$(cat /tmp/refused)" -gt 10
check loads_after_that loads

# And in the workers that add and remove devices. Not everywhere: it would strike the guest's first process, too.
workers() {
	for comm in /proc/[0-9]*/comm; do
		{ read -r name <"$comm"; } 2>/dev/null || continue
		case $name in kworker/*) { echo "$1" >"${comm%/comm}/make-it-fail"; } 2>/dev/null ;; esac
	done
}
in_workers() {
	echo Y >$slab/task-filter
	echo 10 >$slab/probability
	echo "$1" >$slab/times
	for round in $(seq 25); do
		workers 1
		host rescind heartbeat >/dev/null 2>&1
		host offer heartbeat >/dev/null 2>&1
		# Holds a file of sysfs that an addition which fails takes back, and waits for the lock of all channels: lockdep knows
		# whether somebody ever does it the other way round.
		for cpu in /sys/bus/vmbus/devices/*/channels/*/cpu; do
			echo 0 >"$cpu" && touch /tmp/moved
		done 2>/dev/null
		sleep 0.1
	done
	echo 0 >$slab/probability
	workers 0
	echo N >$slab/task-filter
	note "$(($1 - $(cat $slab/times))) allocations failed"
	[ $(($1 - $(cat $slab/times))) -ge 20 ]
}
check failures_in_workers in_workers 500
check channels_were_moved test -e /tmp/moved
echo 0 >$slab/probability
# A device whose addition failed comes with the next offer.
again() {
	host rescind heartbeat >/dev/null 2>&1
	sleep 1
	host offer heartbeat && wait_for 20 host_says '^heartbeat .* open$' list
}
check works_again again
check lets_go_at_last lets_go
check no_leak no_leak 'hv_|vmbus|rlis'
host violations --take >/dev/null
