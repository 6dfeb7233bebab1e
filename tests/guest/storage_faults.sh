# SPDX-License-Identifier: GPL-2.0
#: what     A storage host that misbehaves costs at most the request, never the disk
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs sg_reset
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     1
#: seconds  300
#: c:no-reply  the command never ends; others go on
#: c:ring-offset-beyond-end  the command never ends; others go on
#: c:ring-read-index-outside  the command that could not be sent never ends; others go on
#: c:ring-write-index-outside  the bus reads what is not there
#: c:short-packet  the command never ends; others go on
#: c:wrong-operation  the command never ends; others go on
#: c:zero-length-completion  the command never ends; others go on
#: ours:no-reply  the command ends with the next reset; others go on
#: ours:ring-offset-beyond-end  the command ends; others go on
#: ours:ring-read-index-outside  the command ends; others go on
#: ours:ring-write-index-outside  the command ends, at the latest with its time-out; others go on
#: ours:short-packet  the command ends; others go on
#: ours:wrong-operation  the command ends; others go on
#: ours:zero-length-completion  the command ends; others go on

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
disk() { test -b /dev/sda; }
check disk wait_for 30 disk
# A command that the host does not answer is given up after this time by drivers that give up at all.
echo 5 >/sys/block/sda/device/timeout
reads() { timeout "${1:-60}" dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct; }
check reads reads

# survives FAULT [COUNT [VALUE]]: a read with the fault may fail, the one after it must not.
survives() {
	host fault scsi0 "$@" || return 1
	reads
	none_armed || { echo "$1 did not strike"; return 1; }
	reads || { echo "no read after $1"; false; }
}
check slow_reply survives slow-reply 1 500
check unknown_transaction survives unknown-transaction
check unsolicited_completion survives unsolicited-completion
check duplicate_completion survives duplicate-completion
check check_condition survives check-condition 1 0x031100
check srb_error survives srb-status 1 4
check srb_unknown survives srb-status 1 0x33
check sense_too_long survives sense-too-long
check transfer_too_long survives transfer-too-long
check sense_without_status survives sense-without-status
check unknown_packet_type survives unknown-packet-type
check ring_offset_too_small survives ring-offset-too-small

# loses FAULT [COUNT [VALUE]]: the completion of a read says nothing, or does not come. Other reads go on meanwhile. The C
# driver waits for ever; ours ends the command, or does so if it is asked to.
loses() {
	host fault scsi0 "$@" || return 1
	dd if=/dev/sda of=/dev/null bs=4096 count=1 skip=100 iflag=direct 2>/dev/null &
	lost=$!
	wait_for 10 none_armed || { echo "$1 did not strike"; return 1; }
	reads 100 || { echo "no read after $1"; return 1; }
	c_drivers && return
	[ "$1" != no-reply ] || timeout 60 sg_reset -H /dev/sda || { echo "the reset ended with $?"; return 1; }
	ended() { ! kill -0 $lost 2>/dev/null; }
	wait_for 30 ended || { echo "the command that met $1 did not end"; false; }
}
check zero_length_completion loses zero-length-completion
check wrong_operation loses wrong-operation
check short_packet loses short-packet
check ring_offset_beyond_end loses ring-offset-beyond-end
check no_reply loses no-reply
# While the host shows a read index outside of the ring no command can be sent.
unsendable() {
	host fault scsi0 ring-read-index-outside 1 3000 || return 1
	dd if=/dev/sda of=/dev/null bs=4096 count=1 skip=200 iflag=direct 2>/dev/null
	none_armed || { echo 'the fault did not strike'; return 1; }
	dd if=/dev/sda of=/dev/null bs=4096 count=1 skip=300 iflag=direct 2>/dev/null &
	lost=$!
	sleep 4
	reads 100 || { echo 'no read afterwards'; return 1; }
	c_drivers && return
	ended() { ! kill -0 $lost 2>/dev/null; }
	wait_for 100 ended || { echo 'the command did not end'; false; }
}
check ring_read_index_outside unsendable
# The host publishes a wrong index with a completion, and a right one with the next. The C bus reads what is not there.
if [ "$DRIVERS" = rust ]; then
	check ring_write_index_outside loses ring-write-index-outside
	# Nothing else is completed that would bring the right index: the time-out of the command does.
	alone() {
		host fault scsi0 ring-write-index-outside || return 1
		timeout 90 dd if=/dev/sda of=/dev/null bs=4096 count=1 skip=400 iflag=direct
	}
	check ring_write_index_outside_of_the_last alone
fi
check reads_at_last reads 100
host violations --take
