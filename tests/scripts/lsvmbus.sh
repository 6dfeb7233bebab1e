#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/lsvmbus over a tree that looks like sysfs: with bash's and busybox's shell, and line by line as the lsvmbus
# of the kernel's own tools prints it.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# expect NAME WANT GOT
expect() {
	if [ "$2" = "$3" ]; then
		result "lsvmbus/$1" ok
	else
		result "lsvmbus/$1" FAIL "(< wanted, > printed)"
		diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | sed 's/^/    | /' || true
	fi
}

work=$RLIS_TOP/build/lsvmbus
rm -rf "$work"
devices=$work/devices
# device INSTANCE RELID CLASS STATE [RELID:CPU...]
device() {
	mkdir -p "$devices/$1"
	echo "$2" >"$devices/$1/id"
	echo "{$3}" >"$devices/$1/class_id"
	echo "{$1}" >"$devices/$1/device_id"
	echo "$4" >"$devices/$1/state"
	printf '%s\n' "${@:5}" >"$devices/$1/channel_vp_mapping"
}
# In an order that is neither that of the names nor that of the text of the numbers.
device aaaaaaaa-0000-0000-0000-000000000001 12 ba6163d9-04a1-4d29-b605-72e2ffb1dc7f 3 14:1 12:0 103:2
device bbbbbbbb-0000-0000-0000-000000000002 2 57164f39-9115-4e78-ab55-382f3bd5422d 3 2:0
device cccccccc-0000-0000-0000-000000000003 7 01234567-0000-0000-0000-000000000000 0 7:0
mkdir -p "$work/drivers/hv_storvsc"
ln -s ../../drivers/hv_storvsc "$devices/aaaaaaaa-0000-0000-0000-000000000001/driver"
# One that is just going away.
mkdir "$devices/dddddddd-0000-0000-0000-000000000004"

run() { "$RLIS_TOP/scripts/lsvmbus" -s "$devices" "$@" 2>&1 || true; }
expect brief 'VMBUS ID  2: [Heartbeat]
VMBUS ID  7: Unknown
VMBUS ID 12: Synthetic SCSI Controller' "$(run)"
expect channels '	Rel_ID=12, target_cpu=0
	Rel_ID=14, target_cpu=1
	Rel_ID=103, target_cpu=2' "$(run -v | grep -A3 'ID 12' | tail -n 3)"
expect driver '	Driver: none, channel open
	Driver: none, channel offered
	Driver: hv_storvsc, channel open' "$(run -vvv | grep Driver:)"
expect unknown_argument "lsvmbus: unknown argument '-x'" "$(run -x | head -n 1)"
expect no_bus "lsvmbus: /nowhere does not exist: no hv_vmbus is loaded, or this is not Hyper-V" "$(run -s /nowhere)"

# The other program reads /sys only; its path is replaced by the fixture's for this comparison.
theirs=$work/theirs.py
sed "s,^vmbus_sys_path = .*,vmbus_sys_path = '$devices'," "$("$RLIS_TOP/scripts/kernel-source")/tools/hv/lsvmbus" >"$theirs"
rmdir "$devices/dddddddd-0000-0000-0000-000000000004"
for option in '' -v -vv; do
	# shellcheck disable=SC2086
	expect "same_as_kernel_tool$option" "$("$RLIS_TOP/scripts/in-sysroot" toolchain python3 "$theirs" $option 2>&1)" "$(run $option)"
	# shellcheck disable=SC2086
	expect "same_with_busybox$option" "$(run $option)" \
		"$("$RLIS_TOP/scripts/in-sysroot" rig busybox sh "$RLIS_TOP/scripts/lsvmbus" -s "$devices" $option 2>&1)"
done
results_summary
