# SPDX-License-Identifier: GPL-2.0
#: what     The tracepoints hyperv:vmbus_* have the C bus's fields and formats, and tell the same of a connection, offers, opens, moves and rescinds
#: host     rlis
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hv_utils
#: cpus     2
#: seconds  240

heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
tracing=/sys/kernel/tracing
check tracefs mount -t tracefs tracefs $tracing
# Newer kernels can switch on what is in a module before it is loaded.
early=$(sh -c "echo ':mod:hv_vmbus' >$tracing/set_event" 2>/dev/null && echo yes)
check bus_loads load hv_vmbus
check on sh -c "echo 1 >$tracing/events/hyperv/enable"
check utils_load load hv_utils
check heartbeat_answered wait_for 10 host_says 'answered=[1-9]' heartbeat

# What each tracepoint records and how it is printed: the beginning of the MD5 sum of its format, as the kernel's own module has it.
formats() {
	for format in $tracing/events/hyperv/vmbus_*/format; do
		folder=${format%/format}
		echo "${folder##*/} $(grep -v '^ID:' "$format" | md5sum | cut -c1-8)"
	done
}
formats >/tmp/formats
cat >/tmp/formats-wanted <<END
vmbus_chan_sched afd72ef8
vmbus_close_internal e8e71632
vmbus_establish_gpadl_body ede232b2
vmbus_establish_gpadl_header 0281f3b3
vmbus_negotiate_version ae4e7590
vmbus_on_event 80aec26a
vmbus_on_message d2dd23f8
vmbus_on_msg_dpc 8a7da912
vmbus_ongpadl_created d9c1c935
vmbus_ongpadl_torndown 38845638
vmbus_onmodifychannel_response f5bea14f
vmbus_onoffer e56242de
vmbus_onoffer_rescind 50685299
vmbus_onopen_result 3b834ba5
vmbus_onversion_response f8c6abd7
vmbus_open f5de1aa3
vmbus_release_relid cea6cc8f
vmbus_request_offers 550e1c40
vmbus_send_modifychannel f5ad5094
vmbus_send_tl_connect_request aeec34cd
vmbus_setevent 4189d04b
vmbus_teardown_gpadl 3b6a98fb
END
check formats_are_those_of_c diff /tmp/formats-wanted /tmp/formats

# since MARK: what was told since then, without names that the guest chose, in the order of the alphabet: an answer may be told
# of before its request. How often a channel is signalled is left open.
since() {
	sed -n "/$1\$/,\$p" $tracing/trace | grep -o 'vmbus_[a-z_]*: .*' | sed -E \
		-e 's/(gpadl|gpadlhandle) 0x[0-9a-f]+/\1 G/' -e 's/openid [0-9]+/openid N/' -e 's/pages [0-9a-f:]+/pages P/' |
		grep -vE '^vmbus_(chan_sched|on_event|setevent|on_msg_dpc): ' | sort
}
mark() { echo "$1" >$tracing/trace_marker; }
relid() { printf '0x%x' "$(cat "$(vmbus_device $heartbeat)/id")"; }
# told NAME MARK: exactly the lines of standard input were told since then.
told() {
	sort >/tmp/wanted
	since "$2" >/tmp/told
	check "$1" diff /tmp/wanted /tmp/told
}
never() { ! grep -q "$1" $tracing/trace || { grep "$1" $tracing/trace; false; }; }

# The connection, from the first line on.
one() { equal "$2" "$(grep -o "vmbus_$1: .*" $tracing/trace | sed -E 's/pages [0-9a-f:]+/pages P/')"; }
if [ "$early" ]; then
	check version_asked one negotiate_version 'vmbus_negotiate_version: sending vmbus_version_requested 393216, target_vcpu 0x0, pages P, ret 0'
	check version_answered one onversion_response 'vmbus_onversion_response: version_supported 1'
	check offers_requested one request_offers 'vmbus_request_offers: sending ret 0'
fi

gone() { ! vmbus_device $heartbeat >/dev/null; }
is_open() { host_says '^heartbeat .* open$' list; }
was=$(relid)
mark rescind
check rescind host rescind heartbeat
check device_gone wait_for 10 gone
sleep 1
told a_rescind rescind <<END
vmbus_close_internal: sending child_relid $was, ret 0
vmbus_on_message: msgtype=2
vmbus_onoffer_rescind: child_relid $was
vmbus_release_relid: sending child_relid $was, ret 0
END

mark offer
check offer_again host offer heartbeat
check channel_open_again wait_for 10 is_open
sleep 1
is=$(relid)
told an_offer_and_an_open offer <<END
vmbus_establish_gpadl_header: sending child_relid $is, gpadl G, range_buflen 72 rangecount 1, ret 0
vmbus_on_message: msgtype=1
vmbus_ongpadl_created: child_relid $is, gpadl G, creation_status 0
vmbus_onoffer: child_relid $is, monitorid 0x0, is_dedicated 1, connection_id 0x1000${is#0x}, if_type $heartbeat, if_instance fd149e91-82e0-4a7d-afa6-2a4166cbd7c0, chn_flags 0x11, mmio_megabytes 0, sub_channel_index 0
vmbus_onopen_result: child_relid $is, openid N, status 0
vmbus_open: sending child_relid $is, openid N, gpadlhandle G, target_vp 0x0, offset 0x4, ret 0
END
for event in chan_sched on_event setevent; do
	check "told_of_$event" grep -q "vmbus_$event: relid $is\$" $tracing/trace
done
for type in 1 2 6 10 15; do
	check "told_of_message_$type" grep -q "vmbus_on_msg_dpc: msgtype=$type\$" $tracing/trace
done

device=$(vmbus_device $heartbeat)
mark move
check moves sh -c "echo 1 >$(echo "$device"/channels/*)/cpu"
told a_move move <<END
vmbus_onmodifychannel_response: child_relid $is, status 0
vmbus_send_modifychannel: binding child_relid $is to target_vp 0x1, ret 0
END

driver=$(readlink -f "$device/driver")
mark close
check unbind sh -c "echo ${device##*/} >$driver/unbind"
told a_close close <<END
vmbus_close_internal: sending child_relid $is, ret 0
vmbus_ongpadl_torndown: gpadl G
vmbus_teardown_gpadl: sending child_relid $is, gpadl G, ret 0
END

check off sh -c "echo 0 >$tracing/events/hyperv/enable && echo >$tracing/trace"
check bind sh -c "echo ${device##*/} >$driver/bind"
check open_without_traces wait_for 10 is_open
check nothing_told_when_off never vmbus_
