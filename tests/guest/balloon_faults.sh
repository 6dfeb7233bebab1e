# SPDX-License-Identifier: GPL-2.0
#: what     A host of dynamic memory that refuses, is silent, or asks for what makes no sense; then all works
#: host     rlis
#: drivers  c rustbus rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --hot-add 1G
#: memory   512M
#: seconds  300

check bus_loads load hv_vmbus
balloon=525074dc-8985-46e2-8057-a307dc18a502
# The C driver proposes one version, ours three.
versions=3
c_drivers && versions=1
check refusal_is_armed host fault memory init-status $versions
check loads load hv_balloon pressure_report_delay=0
device=$(basename "$(vmbus_device $balloon)")
bound() { [ -e "/sys/bus/vmbus/devices/$device/driver" ]; }
# bind: whether the driver takes the device.
bind() { echo "$device" >/sys/bus/vmbus/drivers/hv_balloon/bind && bound; } 2>/dev/null
unbound() { ! bound; }
check no_driver wait_for 20 unbound
fails() { ! bind; }
check silence_is_armed host fault memory no-reply
check silence_is_waited_out fails
check capabilities_are_armed host fault memory memory-refuse-capabilities
check capabilities_are_refused fails
check it_says_so logged 'Capabilities not accepted by host'
check then_it_binds bind
check agreed wait_for 20 host_says 'ready=1' memory

total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
before=$(total)
# spoilt NAME PATTERN FAULT COMMAND...: with that fault the answer to the command has a line like that.
spoilt() {
	name=$1 pattern=$2 fault=$3
	shift 3
	check "${name}_is_armed" host "fault memory $fault"
	check "$name" host_says "$pattern" "$@"
}
spoilt unknown_type '^pages=256 ' 'memory-message-type 1 99' balloon 1M
spoilt unknown_information '^pages=256 ' 'memory-info 1 7' balloon 1M
spoilt wrong_size '^pages=256 ' 'memory-info-size 1 7' balloon 1M
spoilt all_of_it '^pages=[1-9]' memory-balloon-count balloon 1M
spoilt nothing '^pages=0 messages=1' 'memory-balloon-count 1 0' balloon 1M
check gives_all host_says '^pages=[1-9]' unballoon
# Whether the second of two requests is answered is up to the guest.
spoilt two_at_once '^pages=1024 ' memory-twice balloon 4M
sleep 1
spoilt cut_short '^pages=0 messages=1' 'short-packet 1 8' balloon 1M
check gives_all_again host_says '^pages=(1024|2048) ' unballoon
check total_is_back equal "$before" "$(total)"

echo online >/sys/devices/system/memory/auto_online_blocks
spoilt no_pages '^pages=0 result=' 'memory-add-range 1 0' hot-add 128M
spoilt beyond_all_memory '^pages=0 result=' 'memory-add-range 1 0xffffffffffffffff' hot-add 128M
spoilt region_elsewhere '^pages=0 result=' 'memory-add-region 1 0x10000000000' hot-add 128M
check adds_a_block host_says '^pages=32768 result=1' hot-add 128M
check total_has_it equal $((before + 131072)) "$(total)"
check takes_64M host_says '^pages=16384 ' balloon 64M
check gives_64M host_says '^pages=16384 ' unballoon
check total_is_as_before equal $((before + 131072)) "$(total)"
check no_violations equal '' "$(host violations)"
