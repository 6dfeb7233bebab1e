# SPDX-License-Identifier: GPL-2.0
#: what     A storage host that misbehaves costs at most the request, never the disk
#: host     rlis
#: drivers  c mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     1
#: seconds  180

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disk wait_for 30 test -b /dev/sda
reads() { dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct; }
check reads reads

# survives FAULT [COUNT [VALUE]]: a read with the fault may fail, the one after it must not.
survives() {
	host fault scsi0 "$@" || return 1
	timeout 60 dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct
	[ -z "$(host faults)" ] || { echo "$1 did not strike"; return 1; }
	timeout 60 dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct || { echo "no read after $1"; false; }
}
check slow_reply survives slow-reply 1 500
check unknown_transaction survives unknown-transaction
check unsolicited_completion survives unsolicited-completion
check check_condition survives check-condition 1 0x031100
check srb_error survives srb-status 1 4
check srb_unknown survives srb-status 1 0x33
check sense_too_long survives sense-too-long
check transfer_too_long survives transfer-too-long
check sense_without_status survives sense-without-status
check unknown_packet_type survives unknown-packet-type
