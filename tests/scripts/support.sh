#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/support with trees laid out as distributions do, dkms.conf as dkms reads it, and the program that chooses
# between our modules and the kernel's own. Trees and tools are made of small files: nothing is built.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tree RELEASE CONFIG...: kernel headers in $tree; a CONFIG is NAME=VALUE or NAME for NAME=y.
tree() {
	tree=$work/$1
	mkdir -p "$tree/include/config" "$tree/include/generated"
	echo "$1" >"$tree/include/config/kernel.release"
	touch "$tree/Makefile"
	shift
	printf 'CONFIG_%s\n' "$@" | sed '/=/! s/$/=y/' >"$tree/include/config/auto.conf"
}
common=(X86_64 MODULES SCSI=m SCSI_FC_ATTRS=m PTP_1588_CLOCK HYPERV_STORAGE=m HYPERV_UTILS=m)

# says NAME PATTERN [NOT-PATTERN]: the report on $tree has a line that matches PATTERN and none that matches the other.
says() {
	local output
	output=$("$RLIS_TOP/scripts/support" "$tree" 2>&1) || true
	if grep -qE "$2" <<<"$output" && ! { [ -n "${3:-}" ] && grep -qE "$3" <<<"$output"; }; then
		result "support/$1" ok
	else
		result "support/$1" FAIL "said: $(tr '\n' '|' <<<"$output")"
	fi
}
# modules NAME WANTED: which modules would be built for $tree, and the exit code that belongs to it.
modules() {
	local output rc=0
	output=$("$RLIS_TOP/scripts/support" --modules "$tree" | sed -n 's/ build .*//p' | tr '\n' ' ') || rc=$?
	"$RLIS_TOP/scripts/support" --modules "$tree" >/dev/null || rc=$?
	if [ "$output" = "${2:+$2 }" ] && [ "$rc" = "$([ -n "$2" ] && echo 0 || echo 1)" ]; then
		result "support/$1" ok
	else
		result "support/$1" FAIL "wanted '$2', got '$output' and exit $rc"
	fi
}
all='hv_vmbus hv_storvsc hv_utils'

tree 6.12.0-124.8.1.el10_1.x86_64 "${common[@]}" HYPERV=m MODVERSIONS MODULE_SIG
modules rhel10 "$all"
says rhel10_is_known 'kernel .*Red Hat'
says rhel10_portable 'portable Rust tree: CONFIG_RUST is off'
says rhel10_versions 'CONFIG_MODVERSIONS'
says rhel10_signatures 'enforced with Secure Boot'
says rhel10_needs_symvers 'missing .*Module.symvers'
touch "$tree/Module.symvers"
mkdir -p "$tree/scripts/basic" "$tree/scripts/mod"
touch "$tree/scripts/basic/fixdep" "$tree/scripts/mod/modpost"
says rhel10_complete '^  hv_vmbus +build' '^  missing'
tree 6.12.0-105.51.5.el10uek.x86_64 "${common[@]}" HYPERV=m
modules oracle_uek8 "$all"
says oracle_uek8_is_known 'Oracle Linux, Unbreakable'
tree 6.17.8-300.fc43.x86_64 "${common[@]}" HYPERV=m
modules fedora "$all"
tree 6.12.107+deb13-cloud-amd64 "${common[@]}" HYPERV=m
modules debian_6_12 "$all"
tree 7.3.4+deb13-cloud-amd64 "${common[@]}" HYPERV HYPERV_VMBUS RUST
modules debian_7_3 'hv_storvsc hv_utils'
says debian_7_3_bus 'hv_vmbus +leave: the driver is built into this kernel'
says debian_7_3_metadata 'headers come without metadata'
mkdir -p "$tree/rust"
touch "$tree/rust/libkernel.rmeta" "$tree/rust/libcore.rmeta"
says own_metadata "tree's own Rust metadata"
tree 7.0.0-14-generic "${common[@]}" HYPERV HYPERV_VMBUS=m RUST
modules ubuntu "$all"
says ubuntu_is_known 'Ubuntu'
tree 7.3.4-1-default "${common[@]}" HYPERV
modules without_bus ''
says without_bus_says_so 'hv_vmbus +leave: the kernel was made without VMBus \(CONFIG_HYPERV_VMBUS is off\)'
tree 6.12.1 X86_64 MODULES HYPERV=m HYPERV_UTILS=y PTP_1588_CLOCK SCSI
modules parts_built_in 'hv_vmbus'
says no_fibre_channel 'hv_storvsc +leave: .*SCSI_FC_ATTRS is off'
tree 5.14.0-570.el9.x86_64 "${common[@]}" HYPERV=m
modules too_old ''
says too_old_says_so 'hv_utils +leave: the kernel is older than 6.12'
tree 6.12.1-rt "${common[@]}" HYPERV=m PREEMPT_RT
says real_time 'real-time'
tree 6.12.1-arm64 ARM64 MODULES HYPERV=m
says other_architecture 'not for x86_64'
tree 6.12.1-none X86_64 MODULES
says no_hyperv 'CONFIG_HYPERV is off'
tree 6.12.1-monolith X86_64 HYPERV
says no_modules 'takes no modules'
tree 6.12.1-bare "${common[@]}" HYPERV=m
rm "$tree/include/config/auto.conf"
says not_configured 'not configured'
mkdir "$tree/x" && mv "$tree/include" "$tree/x/" && cp "$work/6.12.1/include/config/auto.conf" "$tree/.config"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\nEXTRAVERSION = -rc1\n' >"$tree/Makefile"
says version_from_makefile 'kernel +6\.12\.3-rc1'
tree=$work/nowhere
says no_headers "install the kernel's headers"

# One version everywhere.
version=$(cat "$RLIS_TOP/VERSION")
same() { if [ "$2" = "$version" ]; then result "support/version_of_$1" ok; else result "support/version_of_$1" FAIL "VERSION says $version, $1 $2"; fi; }
same dkms_conf "$(sed -n 's/^PACKAGE_VERSION="\(.*\)"$/\1/p' "$RLIS_TOP/dkms.conf")"
same install_md "$(grep -oE 'rlis/[0-9.]+[0-9]' "$RLIS_TOP/Documentation/install.md" | sort -u | sed 's,rlis/,,')"

# dkms reads its file as bash, with these variables set, and with ours for a kernel whose headers are gone.
conf() { # KERNEL HEADERS: NAME LOCATION DEST of each module, then what keeps the kernel out
	bash -c 'kernelver=$1 kernel_source_dir=$2 arch=x86_64 dkms_tree=$3
		. "$4" && for i in "${!BUILT_MODULE_NAME[@]}"; do
			echo "${BUILT_MODULE_NAME[i]} ${BUILT_MODULE_LOCATION[i]} ${DEST_MODULE_LOCATION[i]}"; done
		echo "exclusive ${BUILD_EXCLUSIVE_KERNEL:-none}"' bash "$1" "$2" "$work/dkms" "$RLIS_TOP/dkms.conf"
}
dkms() { # NAME WANTED KERNEL HEADERS
	local output
	output=$(conf "$3" "$4" 2>&1 | tr '\n' ' ')
	if [ "$output" = "$2 " ]; then result "dkms_conf/$1" ok; else result "dkms_conf/$1" FAIL "wanted '$2', got '$output'"; fi
}
three='hv_vmbus build/dkms/ /updates hv_storvsc build/dkms/ /updates hv_utils build/dkms/ /updates exclusive none'
dkms all_modules "$three" 6.12.107+deb13-cloud-amd64 "$work/6.12.107+deb13-cloud-amd64"
dkms without_the_bus "${three#* * * }" 7.3.4+deb13-cloud-amd64 "$work/7.3.4+deb13-cloud-amd64"
dkms passes_by 'hv_utils build/dkms/ /updates exclusive ^$' 5.14.0-570.el9.x86_64 "$work/5.14.0-570.el9.x86_64"
mkdir -p "$work/dkms/rlis/$version/6.12.9/x86_64/module"
touch "$work/dkms/rlis/$version/6.12.9/x86_64/module/hv_storvsc.ko.xz"
dkms removes_what_was_built 'hv_storvsc build/dkms/ /updates exclusive none' 6.12.9 "$work/nowhere"

# The loader, with tools that only tell what they were asked. $fails names what modprobe fails on.
bin=$work/bin
mkdir -p "$bin" "$work/proc/sys/kernel" "$work/lib/modules/6.12.9/kernel/drivers/scsi" "$work/lib/modules/6.12.9/kernel/drivers/hv"
touch "$work/lib/modules/6.12.9/kernel/drivers/scsi/hv_storvsc.ko.xz" "$work/lib/modules/6.12.9/kernel/drivers/hv/hv_vmbus.ko"
sed "s,/proc/,$work/proc/,; s,/sys/module,$work/sys,; s,/lib/modules/,$work/lib/modules/,; s,/dev/kmsg,$work/kmsg," "$RLIS_TOP/packaging/lib/load-module" >"$work/load-module"
echo 6.12.9 >"$work/proc/sys/kernel/osrelease"
printf '#!/bin/sh\necho "modprobe $*" >>%s/calls\ncase " $FAILS " in *" $2 "*) exit 1 ;; esac\n' "$work" >"$bin/modprobe"
printf '#!/bin/sh\necho "insmod ${1##*/}" >>%s/calls\ncase " $FAILS " in *" insmod "*) exit 1 ;; esac\n' "$work" >"$bin/insmod"
chmod +x "$bin"/*
# loads NAME WANTED-CALLS WANTED-RC CMDLINE FAILS MODULE [OPTION...]
loads() {
	local name=$1 want=$2 rc=0
	: >"$work/calls"
	: >"$work/kmsg"
	echo "$4" >"$work/proc/cmdline"
	FAILS=$5 PATH=$bin:$PATH sh "$work/load-module" "${@:6}" || rc=$?
	if [ "$(paste -sd';' "$work/calls")" = "$want" ] && [ "$rc" = "$3" ]; then result "load_module/$name" ok
	else result "load_module/$name" FAIL "exit $rc, calls: $(paste -sd';' "$work/calls")"; fi
}
told() { if grep -q "$2" "$work/kmsg"; then result "load_module/$1" ok; else result "load_module/$1" FAIL "log: $(cat "$work/kmsg")"; fi; }
fallback='modprobe -q hv_vmbus;modprobe -q scsi_transport_fc;insmod hv_storvsc.ko.xz'
loads ours 'modprobe --ignore-install hv_storvsc ring=5' 0 'root=/dev/sda1 quiet' '' hv_storvsc ring=5
loads own_if_ours_fails "modprobe --ignore-install hv_storvsc;$fallback" 0 'quiet' hv_storvsc hv_storvsc
told own_is_told 'hv_storvsc does not load'
loads both_fail "modprobe --ignore-install hv_storvsc;$fallback" 1 'quiet' 'hv_storvsc insmod' hv_storvsc
loads all_disabled "$fallback" 0 'quiet rlis.disable' '' hv_storvsc
told disabled_is_told "kernel's own hv_storvsc is used"
loads one_disabled "$fallback" 0 'rlis.disable=hv_utils,hv_storvsc quiet' '' hv_storvsc
loads other_disabled 'modprobe --ignore-install hv_vmbus' 0 'rlis.disable=hv_utils,hv_storvsc quiet' '' hv_vmbus
loads bus_alone 'insmod hv_vmbus.ko' 0 'rlis.disable' '' hv_vmbus
loads no_own_one 'modprobe --ignore-install hv_utils' 1 '' hv_utils hv_utils
mkdir -p "$work/sys/hv_storvsc" && echo live >"$work/sys/hv_storvsc/initstate"
loads loaded_already '' 0 'quiet' hv_storvsc hv_storvsc

results_summary
