# SPDX-License-Identifier: GPL-2.0
#: what     Key-value pairs between the host and the distribution's unmodified hv_kvp_daemon
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    mixed
#: modules  hv_vmbus hv_utils ptp
#: programs hv_kvp_daemon
#: cpus     1
#: seconds  300

kvp=a9a0f4e7-5a45-4d96-b827-8a841e8c03e6
node=/dev/vmbus/hv_kvp
check bus_loads load hv_vmbus
check utils_load load hv_utils
check kvp_bound wait_for 10 test -e "$(vmbus_device $kvp)/driver"
check device_node wait_for 10 test -c $node
check device_mode equal 600 "$(stat -c %a $node)"

start() { hv_kvp_daemon -n & daemon=$!; }
# The host offers versions as soon as the channel is open; they are held back for a daemon.
sleep 2
check negotiation_waits sh -c '! dmesg | grep -q "KVP IC version"'
start
check negotiated wait_for 10 logged 'KVP IC version 4\.0'
ready() { host kvp-list auto-external >/dev/null; }
check daemon_ready wait_for 20 ready
check one_daemon_only sh -c "! timeout 5 cat $node 2>/tmp/second"
check second_gets_busy grep -qi busy /tmp/second

# value_is POOL KEY VALUE. The C driver answers GET without the value: it leaves value_size 0 in its message, and the
# daemon copies that many bytes.
value_is() {
	host_says "^$2=$3\$" kvp-list "$1" || return 1
	c_drivers || equal "$3" "$(host kvp-get "$1" "$2")"
}
for pool in external guest auto-external auto-internal; do
	check "set_$pool" host "kvp-set $pool Grüße \"schöne Welt 日本 🙂\""
	check "value_$pool" value_is $pool Grüße 'schöne Welt 日本 🙂'
	check "delete_$pool" host kvp-delete $pool Grüße
	check "list_empty_$pool" equal '' "$(host kvp-list $pool)"
done
missing() { ! host kvp-get external nothing >/tmp/missing; }
check missing_key missing
check auto_pool host_says '^OSName=|^OSBuildNumber=7\.3' kvp-list auto
check auto_has_ten_keys test "$(host kvp-list auto | wc -l)" -ge 8
check number_32 host kvp-set external n32 4294967295 --type u32
check number_32_back value_is external n32 4294967295
# The host types it as Windows does (REG_QWORD is 11), where Linux's header has 8.
if ! c_drivers; then
	check number_64 host kvp-set external n64 18446744073709551615 --type u64
	check number_64_back value_is external n64 18446744073709551615
fi
# The longest that the host's fields hold: 255 and 1023 UTF-16 units, and the terminator.
key=$(printf 'k%.0s' $(seq 255))
value=$(printf 'v%.0s' $(seq 1023))
check longest host kvp-set external "$key" "$value"
# The C driver's enumeration does not give it back as it was set.
c_drivers || check longest_back value_is external "$key" "$value"
check longest_gone host kvp-delete external "$key"
# 1023 characters of three bytes do not fit into what the daemon stores: it gets the 682 that do.
wide=$(printf '日%.0s' $(seq 1023))
check too_wide host kvp-set external wide "$wide"
check too_wide_is_cut value_is external wide "$(printf '日%.0s' $(seq 682))"
check too_wide_gone host kvp-delete external wide
# The other way round: the longest value that a pool can hold, of which the host has room for half.
{ printf 'max\0'; head -c 508 /dev/zero; printf 'x%.0s' $(seq 2047); printf '\0'; } >>/var/lib/hyperv/.kvp_pool_1
longest_is_cut() { said=$(host kvp-list guest) && [ "${#said}" -ge 1026 ] && [ "${#said}" -le 1027 ] || { echo "${#said} characters"; false; }; }
check longest_of_a_pool_is_cut longest_is_cut
check longest_of_a_pool_gone host kvp-delete guest max
for i in $(seq 20); do host "kvp-set guest key$i \"value $i\"" >/dev/null || break; done
check twenty_keys equal 20 "$(host kvp-list guest | wc -l)"
check pool_file_size equal $((20 * 2560)) "$(stat -c %s /var/lib/hyperv/.kvp_pool_1)"
# The daemon knows the loopback device by its address, but tells nothing of it; of other devices it knows nothing here.
check ip_info_of_loopback host_says 'family=0 ' kvp-ip 00:00:00:00:00:00
unknown_mac() { said=$(host kvp-ip 02:00:00:00:00:01) && return 1; echo "$said"; echo "$said" | grep -qi 'status 0x8'; }
check ip_info_of_unknown unknown_mac
no_adapter() { said=$(host kvp-set-ip '{00000000-0000-0000-0000-000000000001}' 10.0.0.1 255.0.0.0) && return 1; echo "$said" | grep -qi 80041002; }
check ip_for_unknown_adapter no_adapter

# A daemon that does not answer, one that dies meanwhile, and a new one.
kill -STOP $daemon
started=$(date +%s)
silent() { ! host kvp-get external n32; }
check silent_daemon silent
took=$(($(date +%s) - started))
check after_30_seconds sh -c "[ $took -ge 28 ] && [ $took -le 40 ]"
kill -CONT $daemon
check answers_again wait_for 20 value_is external n32 4294967295
kill -STOP $daemon
(host kvp-get external n32 >/tmp/killed; echo $? >/tmp/killed.status) &
sleep 2
started=$(date +%s)
kill -KILL $daemon
wait_for 20 test -s /tmp/killed.status
took=$(($(date +%s) - started))
check killed_daemon equal 1 "$(cat /tmp/killed.status)"
c_drivers || check killed_is_noticed_at_once test "$took" -le 10
# As long as there is no other, the host is answered at once, whatever it asks.
if ! c_drivers; then
	started=$(date +%s)
	check nobody_there silent
	check nobody_there_again silent
	check told_at_once test $(($(date +%s) - started)) -le 10
fi
start
check new_daemon wait_for 20 value_is external n32 4294967295

# The device goes away with the daemon on it, and comes back.
check rescind host rescind kvp
gone() { ! vmbus_device $kvp >/dev/null; }
check device_gone wait_for 15 gone
check node_gone wait_for 5 test ! -e $node
check offered_again host offer kvp
check node_back wait_for 15 test -c $node
kill -KILL $daemon 2>/dev/null
wait
start
check works_again wait_for 20 value_is external n32 4294967295
busy_unload() { ! unload hv_utils 2>/tmp/unload; }
check unload_refused_while_open busy_unload
kill -KILL $daemon
wait
check unload unload hv_utils
check no_node test ! -e $node
check load_again load hv_utils
check no_violations equal '' "$(host violations)"
