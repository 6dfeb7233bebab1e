# SPDX-License-Identifier: GPL-2.0
#: what     The disc in a DVD drive is ejected and exchanged while the kernel polls it: what is read is always the last one
#: host     rlis
#: drivers  rust mixed c
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs sg_start
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=8M --dvd scsi0:0:1,size=64K
#: cpus     2
#: seconds  240

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check drive_there wait_for 30 test -b /dev/sr0
check polled sh -c 'echo 100 >/sys/block/sr0/events_poll_msecs'
# has N: a disc of N times 64 KiB is there, and is read to its end.
has() {
	equal $(($1 << 16)) "$(blockdev --getsize64 /dev/sr0)" &&
		equal $(($1 << 16)) "$(dd if=/dev/sr0 bs=64k 2>/dev/null | wc -c)"
}
insert() { host lun-insert "scsi0:0:1,size=$(($1 << 6))K"; }
empty() { ! dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/tmp/said && grep -q 'No medium found' /tmp/said; }
check first_disc has 1

# The guest ejects it, and the host puts in another one at once.
eject() { sg_start --eject /dev/sr0; }
check guest_ejects eject
check host_knows host_says '^scsi0:0:1 Dvd blocks=0 ' luns
check no_disc wait_for 10 empty
check inserted insert 2
check next_disc wait_for 10 has 2
rounds() {
	for round in $(seq 3 14); do
		eject || { echo "round $round: does not eject"; return 1; }
		insert "$round" || return 1
		wait_for 10 has "$round" || { echo "round $round: $(has "$round")"; return 1; }
	done
}
check eject_and_insert rounds
# In use it is locked: the host may exchange it all the same, the guest may not eject it.
exec 5</dev/sr0
locked() { ! eject 2>/dev/null; }
check guest_cannot_eject locked
check host_ejects host lun-eject scsi0:0:1
fails() { ! dd bs=2048 count=1 of=/dev/null <&5 2>/dev/null; }
check read_fails_without_disc fails
exec 5<&-
check still_no_disc empty
# Without pause, and without anybody who looks but the kernel.
flood() {
	for round in $(seq 1 60); do
		insert $((round % 7 + 1)) || return 1
		[ $((round % 3)) != 0 ] || host lun-eject scsi0:0:1 || return 1
	done
	insert 20
}
lines() { dmesg | grep -cE 'sr 0|sr0|hv_storvsc|scsi host'; }
before=$(lines)
check sixty_exchanges flood
check last_disc wait_for 10 has 20
# It is no error that a drive is empty or has another disc.
note "$(($(lines) - before)) lines in the log"
check few_lines between 0 20 $(($(lines) - before))
check disk_beside_it dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct
check no_violations equal '' "$(host violations)"
