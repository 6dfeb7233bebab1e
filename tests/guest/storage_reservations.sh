# SPDX-License-Identifier: GPL-2.0
#: what     Two initiators of one disk reserve it from each other: a conflict is an error at once, and no command is lost by it
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs sg_persist perl
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=8M --scsi scsi1 --disk scsi1:0:0,shared=scsi0:0:0
#: cpus     2
#: seconds  180

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
both() { [ -b /dev/sda ] && [ -b /dev/sdb ]; }
check disks_there wait_for 30 both || exit 1
a=/dev/sda b=/dev/sdb
# write DISK LETTER: says the number of the error, or ok. busybox's dd has no number.
write() {
	# O_RDWR and O_DIRECT, which wants memory that begins with a page.
	perl -e 'sysopen(my $disk, $ARGV[0], 040002) or die "open: $!\n";
		my $bytes = $ARGV[1] x 8192; my $at = unpack "J", pack "p", $bytes;
		my $skip = -$at & 4095;
		# pwrite64
		print syscall(18, fileno $disk, $at + $skip, 4096, 0) == 4096 ? "ok" : $! + 0' "$1" "$2"
}
writes() { equal ok "$(write "$@")"; }
conflicts() {
	local begun
	begun=$(uptime)
	# EBADE.
	equal 52 "$(write "$@")" && between 0 5 $(($(uptime) - begun))
}
reads() { equal "$2" "$(dd if="$1" bs=4096 count=1 iflag=direct 2>/dev/null | head -c 1)"; }
persist() { sg_persist "$@" >/tmp/said 2>&1 || { cat /tmp/said; return 1; }; }
refused() { ! persist "$@" && grep -qi 'reservation conflict' /tmp/said; }
keys() { sg_persist --in --read-keys "$1" 2>/dev/null | sed -n 's/^ *\(0x[0-9a-f]*\)$/\1/p' | sort | tr '\n' ' '; }

check written_by_one writes $a A
check same_disk reads $b A
check no_keys equal '' "$(keys $a)"
check reserving_needs_a_key refused --out --reserve --param-rk=0x1 --prout-type=5 $a
check registered persist --out --register --param-sark=0xa $a
check reserved persist --out --reserve --param-rk=0xa --prout-type=5 $a
check held_is_told sh -c "sg_persist --in --read-reservation $b | grep -qi 'registrants only'"
check holder_writes writes $a B
check other_conflicts conflicts $b C
check other_reads reads $b B
check nothing_was_written reads $a B
check other_cannot_reserve refused --out --reserve --param-rk=0xb --prout-type=5 $b

# A conflict is no trouble: writes of the holder go on beside many of them.
beside() {
	for i in $(seq 30); do write $b C >/dev/null; done &
	for i in $(seq 30); do writes $a D || return 1; done
	wait
	reads $a D
}
check no_harm_beside_conflicts beside

check other_registers persist --out --register --param-sark=0xb $b
check two_keys equal '0xa 0xb ' "$(keys $a)"
check registrant_writes writes $b E
check preempted persist --out --preempt --param-rk=0xb --param-sark=0xa --prout-type=5 $b
# The first command learns of it by a unit attention, which the mid-layer answers by sending it again.
check loser_conflicts conflicts $a F
check one_key equal '0xb ' "$(keys $b)"
check winner_writes writes $b G
check released persist --out --release --param-rk=0xb --prout-type=5 $b
check all_write writes $a H
check read_by_both reads $b H
check cleared persist --out --clear --param-rk=0xb $b
check none_left equal '' "$(keys $a)"
check no_violations equal '' "$(host violations)"
