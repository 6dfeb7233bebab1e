# SPDX-License-Identifier: GPL-2.0
#: what     A network host that misbehaves in ways that hang or crash the C driver; for ours
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: args     --no-ic --net net0,offload,rsc,channels=2
#: cpus     2
#: seconds  300
#: c:net-alignment  shifts by 40
#: c:net-answer-length  takes any answer for the one that it waits for
#: c:net-answer-offset  takes any answer for the one that it waits for
#: c:net-answer-size  takes any answer for the one that it waits for
#: c:net-answer-type  takes any answer for the one that it waits for
#: c:net-data-length  pulls 14 bytes off a frame of 5
#: c:net-grant-only  waits for ever
#: c:net-info-size  an endless loop in a soft interrupt
#: c:net-info-value  an endless loop in a soft interrupt
#: c:net-large-send  takes 0 for the longest large send
#: c:net-no-answer  waits for ever, with the RTNL held
#: c:net-table-entry  a warning for each socket
#: c:zero-length-completion  reads through whatever address was stored for the request

# Not for the C driver. What that of Linux 7.3 does:
#   net-info-size 0, net-info-value   turns in rndis_get_ppi for ever, in a soft interrupt
#   net-data-length 5                 pulls 14 bytes off a frame of 5
#   net-no-answer                     waits for ever, with the lock of all interfaces
#   net-answer-type, -size, -length, -offset   takes any answer for the one that it waits for
#   net-grant-only                    waits for ever for channels
#   net-alignment 40                  shifts by 40
#   net-large-send 0                  takes 0 for the longest large send
#   net-table-entry 65535             warns for each socket
first_card
eth=$(card 00:15:5d:00:01:00)
check ping use_card "$eth"
for size in 0 4 11 15 4294967295; do check "info_size_$size" survives net-info-size $size; done
for offset in 0 11 16 65535 4294967295; do check "info_value_$offset" survives net-info-value $offset; done
for len in 0 5 13; do check "data_length_$len" survives net-data-length $len; done
check empty_completion survives zero-length-completion
check unknown_completion survives unknown-transaction
check second_completion survives duplicate-completion
check all_returned wait_for 10 all_returned net0
# The driver asks for one filter after the other: before the fault strikes, it may still wait for an answer.
asks() {
	host fault net0 "$1" 1 "$2" || return
	ip link set "$eth" promisc on
	wait_for 20 struck "$1" || return
	ip link set "$eth" promisc off
	wait_for 20 pings 10.0.0.1
}
check wrong_type asks net-answer-type
check short_answer asks net-answer-size 12
check no_answer asks net-no-answer
# While a card starts: with or without it, the next start is as ever.
unload hv_netvsc
again() {
	starts_with "$@" || return
	wait_for 20 struck "$1" || return
	sleep 6
	stops "$1" || return
	load hv_netvsc && wait_for 20 has_card 00:15:5d:00:01:00 || return
	use_card "$(card 00:15:5d:00:01:00)" && unload hv_netvsc
}
check start_no_answer again net-no-answer
check start_wrong_type again net-answer-type
# The first answers have no value.
check start_long_value again net-answer-length 4096 6
check start_value_outside again net-answer-offset 4294967280 6
check start_alignment again net-alignment 40
check start_large_send again net-large-send 0
check start_table again net-table-entry 65535
check start_channels_not_offered again net-grant-only
