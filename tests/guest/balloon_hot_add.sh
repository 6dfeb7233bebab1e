# SPDX-License-Identifier: GPL-2.0
#: what     Memory is added in pieces that are no blocks, with gaps, and comes online at once, late, twice or never
#: host     rlis
#: drivers  c rustbus mixed rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --hot-add 1G
#: memory   512M
#: seconds  300

check bus_loads load hv_vmbus
check balloon_loads load hv_balloon pressure_report_delay=0
check agreed wait_for 20 host_says 'ready=1 balloon=1 hot-add=1 alignment=128M' memory
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
before=$(total)
more() { equal $((before + $1)) "$(total)"; }
debugfs() { sed -n "s/^$1 *: //p" /sys/kernel/debug/hv-balloon; }
policy() { echo "$1" >/sys/devices/system/memory/auto_online_blocks; }
# adds NAME PAGES SIZE AT: all of it.
adds() { check "adds_$1" host_says "^pages=$2 result=1" hot-add "$3" --at "$4" --region none; }

# Two pieces with a page between them that is not there, and one that reaches over the end of the block.
policy online
adds piece 512 2M 0
check total_has_the_piece more 2048
adds page 1 4K 2052K
check total_has_the_page more 2052
adds over_the_end 768 3M 126M
check total_has_what_is_there more 5124
check all_of_it_is_online equal "1281 1281" "$(debugfs pages_added) $(debugfs pages_onlined)"
# As much as there is; the debug kernel takes more for itself.
room() { awk '/^MemAvailable:/ { mib = int($2 / 1024) - 24; print mib < 330 ? mib : 330 }' /proc/meminfo; }
use() { mkdir -p /mnt && mount -t tmpfs -o size=100% tmpfs /mnt && dd if=/dev/zero of=/mnt/file bs=1M count="$(room)" 2>/dev/null && rm /mnt/file && umount /mnt; }
check it_can_be_used use
# The gap is filled.
c_drivers || {
	adds gap 1 4K 2048K
	check total_has_the_gap more 5128
}
before=$(total)

# A block that is offline gets more pages, and comes online with all of them and no others.
policy offline
adds late 512 2M 256M
adds later 512 2M 258M
check nothing_is_online more 0
memory_of() { echo "/sys/devices/system/memory/memory$(($(debugfs_start) + $1))"; }
# The number of the block that the region begins with: the first that is offline is its third.
debugfs_start() { echo $(($(grep -lx offline /sys/devices/system/memory/memory*/state | sed 's/.*memory\([0-9]*\).*/\1/' | sort -n | head -n 1) - 2)); }
third=$(memory_of 2)
check late_online sh -c "echo online >$third/state"
check both_are_online more 4096

# A whole block goes offline and comes online again.
policy online_movable
adds block 32768 128M 384M
check total_has_the_block more $((4096 + 131072))
fourth=${third%/*}/memory$((${third##*/memory} + 1))
goes() { echo offline >"$fourth/state"; }
check block_goes_offline wait_for 20 goes
check total_is_without_it more 4096
onlined=$(debugfs pages_onlined)
check block_comes_online sh -c "echo online_movable >$fourth/state"
check total_has_it_again more $((4096 + 131072))
check debugfs_has_it_again equal $((onlined + 32768)) "$(debugfs pages_onlined)"

# What does not come online is said once, and counts as promised.
policy offline
adds never 1 4K 512M
adds never_either 1 4K 640M
# For the late block, and, since another one came online after that, once more for these two.
c_drivers || check said_once_a_time equal 2 "$(dmesg | grep -c 'Added memory does not come online')"
check debugfs_counts_it equal $((onlined + 32768 + 2)) "$(debugfs pages_added)"
# Beyond the region.
outside() { ! host hot-add 1G --at 1M; }
check outside_is_refused outside
check no_violations equal '' "$(host violations)"
