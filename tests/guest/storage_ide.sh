# SPDX-License-Identifier: GPL-2.0
#: what     Accelerated IDE disks: found under their targets, written and read
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --ide ide0 --ide ide1 --ide ide2,version=6.0,max-transfer=64K --disk ide0:0:0,size=64M --disk ide1:1:0,size=32M --disk ide2:0:0,size=16M
#: cpus     2
#: seconds  120

disks() { ls -d /sys/block/sd? 2>/dev/null | wc -l; }
three_disks() { [ "$(disks)" = 3 ]; }
# disk_of SECTORS: the disk with that size.
disk_of() { for d in /sys/block/sd?; do [ "$(cat "$d/size")" = "$1" ] && basename "$d"; done; }
address() { basename "$(readlink "/sys/block/$1/device")" | cut -d: -f2-; }
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
check disks_found wait_for 30 three_disks
check first_target equal 0:0:0 "$(address "$(disk_of 131072)")"
check second_target equal 0:1:0 "$(address "$(disk_of 65536)")"
check third_target equal 0:0:0 "$(address "$(disk_of 32768)")"
check class equal '{32412632-86cb-44a2-9b5c-50d1417354f5}' \
	"$(cat "$(vmbus_device 32412632-86cb-44a2-9b5c-50d1417354f5)/class_id")"
check max_transfer equal 64 "$(cat "/sys/block/$(disk_of 32768)/queue/max_hw_sectors_kb")"

head -c 2097152 /dev/urandom >/tmp/data
round_trip() {
	dd if=/tmp/data of="/dev/$1" bs="$2" seek=3 oflag=direct conv=fsync 2>/dev/null &&
		dd if="/dev/$1" of=/tmp/back bs="$2" skip=3 count=$((2097152 / $2)) iflag=direct 2>/dev/null && cmp /tmp/data /tmp/back
}
for size in 131072 65536 32768; do
	check "write_read_4k_$size" round_trip "$(disk_of $size)" 4096
	check "write_read_256k_$size" round_trip "$(disk_of $size)" 262144
done
# The C driver does not let go of a device whose disk was used, so that it cannot come back.
if ! c_drivers; then
	check rescind host rescind ide1
	two_disks() { [ "$(disks)" = 2 ]; }
	check one_gone wait_for 20 two_disks
	check others_stay round_trip "$(disk_of 131072)" 65536
	check offer host offer ide1
	check back wait_for 30 three_disks
fi
check unloads unload hv_storvsc
check none_left equal 0 "$(disks)"
