# SPDX-License-Identifier: GPL-2.0
#: what     The host is told which memory is free, and takes what is in it: nothing that is in use is lost, and a host that refuses is left alone
#: host     rlis
#: drivers  c rustbus rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --cold-discard
#: memory   512M
#: seconds  300
#: c:memory-refuse-hint  says so each time that memory becomes free, until the status was twice HV_STATUS_INVALID_PARAMETER
#: ours:memory-refuse-hint  says so once, and ends the hints when two were refused one after the other

# Else two seconds pass between what is free and what is told, where that can be chosen.
delay=/sys/module/page_reporting/parameters/page_reporting_delay_ms
[ ! -e $delay ] || echo 100 >$delay
check bus_loads load hv_vmbus
hinted() { host memory | sed -n 's/.* hinted=\([0-9]*\).*/\1/p'; }
check nothing_is_hinted_without_a_driver equal 0 "$(hinted)"
check balloon_loads load hv_balloon pressure_report_delay=0
check agreed wait_for 20 host_says 'ready=1' memory
check it_says_so logged 'Cold memory discard hint enabled with order (9|10)$'
more_than() { [ "$(hinted)" -gt "$1" ]; }
# Of 512 MiB most is free, in blocks of 2 MiB or more.
check free_memory_is_hinted wait_for 60 more_than 65536
# settle: waits until little more is hinted. What programs use and free goes on.
settle() {
	local last=0
	for _ in $(seq 20); do
		now=$(hinted)
		[ "$now" -gt $((last + 2048)) ] || break
		last=$now
		sleep 1
	done
}
settle

# Files of which each second one goes: what the host takes lies between what is in use. Then what is left has to be as it was.
mkdir -p /mnt
check mounts mount -t tmpfs -o size=100% tmpfs /mnt
dd if=/dev/urandom of=/tmp/random bs=1M count=8 2>/dev/null
fill() { for n in $(seq 16); do { echo "$1.$n" && cat /tmp/random; } >"/mnt/$1.$n" || return 1; done; }
sums() { md5sum /mnt/*; }
round() {
	fill "$1" || return 1
	sums >/tmp/sums
	was=$(hinted)
	for n in $(seq 1 2 16); do rm "/mnt/$1.$n"; done
	grep -v "$1\.[0-9]*[13579]\$" /tmp/sums >/tmp/kept
	# 64 MiB are free; how much of it is in whole blocks, which are hinted, depends on where the files lay.
	settle
	sums | diff /tmp/kept - || return 1
	# Memory that was hinted can be used. Of 128 MiB most is in whole blocks.
	fill "$1" && rm /mnt/"$1".* || return 1
	wait_for 60 more_than $((was + 4096)) || { echo "no more than $was are hinted"; return 1; }
	settle
}
rounds() { for r in a b c d; do round $r || { echo "round $r"; return 1; }; done; }
check what_is_used_stays rounds

# While the host takes memory and gives it back, too.
check takes_128M host_says '^pages=32768 ' balloon 128M
check fills_beside_it fill balloon
was=$(hinted)
check gives_it_back host_says '^pages=32768 ' unballoon
check what_came_back_is_hinted wait_for 60 more_than $((was + 16384))
rm /mnt/balloon.*

# Nothing is told after the module has gone, and all of it again when it is back. The C driver of 7.3 never goes.
if ! c_drivers; then
	check unloads unload hv_balloon
	was=$(hinted)
	check fills_without_module fill none
	rm /mnt/none.*
	sleep 3
	check no_hints_after_unload equal "$was" "$(hinted)"
	check loads_again load hv_balloon pressure_report_delay=0
	check agreed_again wait_for 20 host_says 'ready=1' memory
	check hints_again wait_for 60 more_than "$was"
fi
settle
check no_violations equal '' "$(host violations)"

# A host that refuses. hint: gives the driver something to tell.
hint() { fill again && rm /mnt/again.*; }
said() { dmesg | grep -c 'Cold memory discard hypercall failed'; }
refused_twice() { logged 'Multiple failures in cold memory discard hypercall, disabling page reporting'; }
check refusal_is_armed host fault memory memory-refuse-hint 100 5
try() { hint && sleep 1 && refused_twice; }
check hints_end wait_for 60 try
if c_drivers; then check it_is_said between 1 100 "$(said)"; else check it_is_said_once equal 1 "$(said)"; fi
check no_more_refusals host faults --clear
was=$(hinted)
check fills_after_refusal hint
sleep 3
check no_hints_after_refusal equal "$was" "$(hinted)"
check balloon_goes_on host_says '^pages=16384 ' balloon 64M
check gives_64M host_says '^pages=16384 ' unballoon
c_drivers || check unloads_after_refusal unload hv_balloon
check no_violations_at_last equal '' "$(host violations)"
