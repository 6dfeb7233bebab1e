# SPDX-License-Identifier: GPL-2.0
#: what     Each fault of the storage host under load: it costs a packet and a line in the log, never a command or the content
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs fio sg_reset
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=16M
#: cpus     2
#: seconds  1200
# The C driver runs what it can survive: a completion that it cannot read, or that does not come, leaves the command waiting
# for good, reset or not; an SRB status that it does not know counts as success; and of a completion that comes twice the
# second one is taken for that of the next command with the same tag; a controller that takes nothing in one request is one like
# others.

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk wait_for 60 test -b /dev/sda || exit 1
host_number=$(basename "$(readlink -f /sys/block/sda/device)" | cut -d: -f1)

# Writes blocks and reads them back, from two jobs over both channels, until it is told to stop.
touch /tmp/load
while [ -e /tmp/load ]; do
	fio --name=load --minimal --filename=/dev/sda --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --size=256k --iodepth=8 \
		--numjobs=2 --offset_increment=1m --verify=crc32c --verify_fatal=1 --random_generator=lfsr >/tmp/fio 2>&1 || { tail -n 3 /tmp/fio >/tmp/failed; break; }
	echo round >>/tmp/rounds
done &
load=$!
rounds() { cat /tmp/rounds 2>/dev/null | wc -l; }
more_than() { [ "$(rounds)" -gt "$1" ] || [ -e /tmp/failed ]; }
# goes_on: two rounds come to their end: one may have read all its blocks back before.
goes_on() {
	wait_for 90 more_than $(($(rounds) + 1)) || { echo "the load hangs"; return 1; }
	[ ! -e /tmp/failed ] || { cat /tmp/failed; false; }
}
lines() { dmesg | grep -v 'rlis-' | grep -cE 'hv_storvsc|vmbus'; }
# survives FAULT [COUNT [VALUE]]
survives() {
	before=$(lines)
	host fault scsi0 "$@" || return 1
	wait_for 60 none_armed || { echo "$1 did not strike: $(host faults)"; return 1; }
	goes_on || return 1
	[ $(($(lines) - before)) -le 30 ] || { echo "$(($(lines) - before)) lines in the log"; return 1; }
}
check load_runs goes_on
check slow_reply survives slow-reply 5 300
check unknown_transaction survives unknown-transaction 20
check unsolicited_completion survives unsolicited-completion 20
check unknown_packet_type survives unknown-packet-type 20
if ! c_drivers; then
	check duplicate_completion survives duplicate-completion 20
	check ignored_packets_are_logged logged 'hv_storvsc.*ignored a packet'
	check srb_unknown survives srb-status 3 0x33
fi
check srb_error survives srb-status 3 4
check srb_busy survives srb-status 3 5
check aborted_command survives check-condition 3 0x0b0000
check unit_attention survives check-condition 3 0x062900
check sense_without_status survives sense-without-status 3
# Once: the SCSI layer asks for the sense that did not come, and takes a disk that fails that, too, out of use.
check sense_too_long survives sense-too-long 1
check transfer_too_long survives transfer-too-long 20

# What cannot be read as a completion is the only one that the command gets: it is sent again, and no other is touched.
closes() { dmesg | grep -v 'rlis-' | grep -c 'hv_storvsc.*the channel is closed and opened again'; }
if ! c_drivers; then
	check short_packet survives short-packet 3
	check zero_length_completion survives zero-length-completion 3
	check wrong_operation survives wrong-operation 3
	check no_reset_for_a_packet equal 0 "$(closes)"
fi

# A completion that never comes: nothing tells the driver that it is lost, so somebody must ask for a reset. What is overdue then
# is got back by closing the channel.
dropped() {
	was=$(closes)
	host fault scsi0 no-reply 4 || return 1
	wait_for 60 none_armed || { echo "no-reply did not strike"; return 1; }
	sleep 1
	timeout 120 sg_reset -H /dev/sda || { echo "the reset ended with $?"; return 1; }
	equal $((was + 1)) "$(closes)" && goes_on
}
if ! c_drivers; then
	echo 10 >/sys/block/sda/device/timeout
	# None that was sent before is left.
	check load_goes_on goes_on
	check no_reply_then_reset dropped
	check no_reply_then_reset_again dropped
fi

if [ "$DRIVERS" = rust ]; then
	# The descriptor of a packet is nonsense: our bus hands on what is left of it. If a command had its completion there, the
	# driver resets when that is overdue. A wrong index that is followed by a right one costs nothing but time.
	check ring_length_too_long survives ring-length-too-long
	check ring_length_too_short survives ring-length-too-short
	check ring_offset_beyond_end survives ring-offset-beyond-end 3
	check ring_offset_too_small survives ring-offset-too-small 3
	check ring_write_index_outside survives ring-write-index-outside
	index_then_reset() {
		host fault scsi0 ring-write-index-outside 3 || return 1
		timeout 120 sg_reset -H /dev/sda || { echo "the reset ended with $?"; return 1; }
		goes_on
	}
	check ring_write_index_outside_and_reset index_then_reset
	check ring_write_index_is_logged logged 'inbound ring of relid [0-9]+: ring write_index 0x[0-9a-f]+ is invalid'
elif [ "$DRIVERS" = rustbus ]; then
	check ring_offset_beyond_end survives ring-offset-beyond-end 3
	check ring_offset_too_small survives ring-offset-too-small 3
	check ring_write_index_outside survives ring-write-index-outside
fi

rm /tmp/load
wait $load
check load_was_verified equal '' "$(cat /tmp/failed 2>/dev/null)"
none_busy() { equal 0 "$(cat "/sys/class/scsi_host/host$host_number/host_busy")"; }
check no_command_is_left wait_for 20 none_busy

# A reset that gets no answer ends all the same, and the next one succeeds.
if ! c_drivers; then
	unanswered() {
		host fault scsi0 no-reply 1 || return 1
		! timeout 250 sg_reset -H /dev/sda 2>/dev/null || { echo "it succeeded"; return 1; }
		none_armed || { echo "no-reply did not strike"; return 1; }
		timeout 60 sg_reset -H /dev/sda || { echo "the next reset ended with $?"; return 1; }
	}
	check reset_without_answer unanswered
	check reset_without_answer_is_told logged 'the bus could not be reset: '
fi

# An error that is no passing one is told, and costs no more than the request.
medium_error() {
	host fault scsi0 check-condition 1 0x031100
	! dd if=/dev/sda of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null
}
check medium_error_is_told medium_error
check read_after_medium_error dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct

# The device is taken into use while the host fails: no disk, one line, and the next try succeeds.
device=$(vmbus_device ba6163d9-04a1-4d29-b605-72e2ffb1dc7f)
drivers=/sys/bus/vmbus/drivers/hv_storvsc
unbind() { basename "$device" >$drivers/unbind; }
bind() { basename "$device" >$drivers/bind; }
no_host() { for h in /sys/class/scsi_host/host*; do [ ! -e "$h" ] || return 1; done; }
refused() {
	unbind || return 1
	host fault scsi0 "$@"
	! timeout 120 sh -c "$(basename "$device" | sed "s,.*,echo & >$drivers/bind,")" 2>/dev/null || { echo "bound all the same"; return 1; }
	no_host || { echo "a SCSI host is left"; return 1; }
	host faults --clear
	bind && wait_for 60 test -b /dev/sda
}
check initialisation_fails refused init-status 1 0xc0000001
check initialisation_answered_wrongly refused wrong-operation 1
transfers() { unbind && host fault scsi0 max-transfer 1 "$1" && bind && wait_for 60 test -b /dev/sda && dd if=/dev/sda of=/dev/null bs=64k count=2 iflag=direct; }
if ! c_drivers; then
	check max_transfer_of_nothing refused max-transfer 1 0
	check max_transfer_of_1 refused max-transfer 1 1
fi
check max_transfer_of_4_GiB transfers 0xffffffff
goes() { unload hv_storvsc && no_host; }
check driver_unloads goes
host violations --take >/dev/null
