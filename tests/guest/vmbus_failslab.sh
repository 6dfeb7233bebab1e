# SPDX-License-Identifier: GPL-2.0
#: what     Memory runs out anywhere while the bus loads and devices come: an error, and nothing is left behind
#: host     rlis
#: kernels  debug
#: drivers  rustbus rust
#: quick    none
#: modules  hv_vmbus hv_utils
#: cpus     1
#: cmdline  kmemleak=on
#: when     all
#: seconds  900
#: expect   lockdep_unregister_key|Call Trace
# The kernel's bus_register(), if it fails early, takes back the lock class that it has not registered yet.

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

# The allocations before the module's own are those of starting insmod and reading the file.
refused=0
nth() {
	for n in $(seq "$1" "$2" "$3"); do
		sh -c "echo $n >/proc/self/fail-nth; exec insmod $module" 2>/dev/null || refused=$((refused + 1))
		if loaded hv_vmbus; then unload hv_vmbus || { echo "allocation $n: does not unload"; return 1; }; fi
	done
	[ "$refused" -gt 5 ] || { echo "only $refused failures hit"; return 1; }
	note "$refused of the loads were refused"
}
check each_allocation_of_the_load nth 30 7 700
check loads_after_that loads

# In the workers that add devices, too.
everywhere() {
	echo 10 >$slab/probability
	echo "$1" >$slab/times
	for round in $(seq 25); do
		host rescind heartbeat >/dev/null 2>&1
		host offer heartbeat >/dev/null 2>&1
		sleep 0.1
	done
	echo 0 >$slab/probability
	[ "$(cat $slab/times)" = 0 ] || note "$(cat $slab/times) failures left"
}
check failures_everywhere everywhere 200
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
