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
common=(X86_64 MODULES SCSI=m SCSI_FC_ATTRS=m PTP_1588_CLOCK HYPERV_STORAGE=m HYPERV_UTILS=m NET PAGE_POOL HYPERV_NET=m)

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
all='hv_vmbus hv_storvsc hv_utils hv_netvsc hv_balloon'

tree 6.12.0-124.8.1.el10_1.x86_64 "${common[@]}" HYPERV=m MODVERSIONS MODULE_SIG
modules rhel10 "$all"
says rhel10_is_known 'kernel .*Red Hat' outlook
if [ "$("$RLIS_TOP/scripts/support" --release "$tree")" = 6.12.0-124.8.1.el10_1.x86_64 ]; then result support/release ok
else result support/release FAIL "$("$RLIS_TOP/scripts/support" --release "$tree" 2>&1)"; fi
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
modules debian_7_3 'hv_storvsc hv_utils hv_netvsc hv_balloon'
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
modules parts_built_in 'hv_vmbus hv_balloon'
says no_fibre_channel 'hv_storvsc +leave: .*SCSI_FC_ATTRS is off'
says no_page_pool 'hv_netvsc +leave: .*PAGE_POOL is off'
tree 6.12.0-9.el10.x86_64 "${common[@]}" HYPERV=m
printf '0x0\tvmbus_sendpacket_pagebuffer\thv_vmbus\tEXPORT_SYMBOL_GPL\t\n' >"$tree/Module.symvers"
modules one_range_bus 'hv_vmbus hv_storvsc hv_utils hv_balloon'
says one_range_bus_says_so 'hv_netvsc +leave: .*in one piece'
tree 5.14.0-570.el9.x86_64 "${common[@]}" HYPERV=m
modules too_old ''
says too_old_says_so 'hv_utils +leave: the kernel is older than 6.12, .* besides 6.1$'
says rhel9_outlook '^  outlook +RHEL 9: expected.*6\.1'
says rhel9_report "^  outlook +'scripts/support --report .*5\.14\.0-570\.el9"
RLIS_OLDEST=0 modules age_set_aside "$all"
tree 5.15.0-312.187.5.el9uek.x86_64 "${common[@]}" HYPERV=m
modules uek7 ''
says uek7_outlook '^  outlook +UEK 7: hv_utils and hv_storvsc' 'RHEL 9:'
tree 4.18.0-553.el8_10.x86_64 "${common[@]}" HYPERV=m
modules rhel8 ''
says rhel8_outlook '^  outlook +RHEL 8: not expected'
tree 6.1.0-56-cloud-amd64 "${common[@]}" HYPERV=m
modules debian_6_1 "$all"
tree 6.6.87-1-lts "${common[@]}" HYPERV=m
modules between_the_two ''
says old_but_none_of_these 'older than 6.12' outlook
tree 6.10.2-generic "${common[@]}" HYPERV=m
modules between_the_two_by_more_than_a_digit ''
tree 7.3.99-rc1 "${common[@]}" HYPERV=m HYPERV_VMBUS=m
modules newest "$all"
tree 7.4.0-rc1 "${common[@]}" HYPERV=m HYPERV_VMBUS=m
modules too_new ''
says too_new_says_so 'hv_vmbus +leave: the kernel is newer than 7.3.*/etc/rlis/newest'
printf '# mine\n 7.4 \n' >"$work/newest"
RLIS_NEWEST_FILE=$work/newest modules newer_by_choice "$all"
tree 7.10.0 "${common[@]}" HYPERV=m HYPERV_VMBUS=m
RLIS_NEWEST_FILE=$work/newest modules newer_still ''
echo any >"$work/newest"
RLIS_NEWEST_FILE=$work/newest modules any_by_choice "$all"
echo 'rubbish 9.9' >"$work/newest"
RLIS_NEWEST_FILE=$work/newest modules rubbish_is_no_choice ''
tree 6.12.1-piix X86_64 MODULES HYPERV=m HYPERV_UTILS=m PTP_1588_CLOCK SCSI SCSI_FC_ATTRS=m ATA_PIIX=m
modules disks_of_ata_piix 'hv_vmbus hv_utils hv_balloon'
says disks_of_ata_piix_says_so 'hv_storvsc +leave: .*HYPERV_STORAGE is off.*ata_piix'
tree 6.12.1-rt "${common[@]}" HYPERV=m PREEMPT_RT
modules real_time "$all"
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
five='hv_vmbus build/dkms/ /updates hv_storvsc build/dkms/ /updates hv_utils build/dkms/ /updates hv_netvsc build/dkms/ /updates hv_balloon build/dkms/ /updates exclusive none'
dkms all_modules "$five" 6.12.107+deb13-cloud-amd64 "$work/6.12.107+deb13-cloud-amd64"
dkms without_the_bus "${five#* * * }" 7.3.4+deb13-cloud-amd64 "$work/7.3.4+deb13-cloud-amd64"
dkms passes_by 'hv_utils build/dkms/ /updates exclusive ^$' 5.14.0-570.el9.x86_64 "$work/5.14.0-570.el9.x86_64"
mkdir -p "$work/dkms/rlis/$version/6.12.9/x86_64/module"
touch "$work/dkms/rlis/$version/6.12.9/x86_64/module/hv_storvsc.ko.xz"
dkms removes_what_was_built 'hv_storvsc build/dkms/ /updates exclusive none' 6.12.9 "$work/nowhere"

# The loader, with tools that only tell what they were asked. $fails names what modprobe fails on.
bin=$work/bin
mkdir -p "$bin" "$work/proc/sys/kernel" "$work/lib/modules/6.12.9/kernel/drivers/scsi" "$work/lib/modules/6.12.9/kernel/drivers/hv" "$work/lib/modules/6.12.9/kernel/drivers/net/hyperv"
touch "$work/lib/modules/6.12.9/kernel/drivers/scsi/hv_storvsc.ko.xz" "$work/lib/modules/6.12.9/kernel/drivers/hv/hv_vmbus.ko"
sed "s,/proc/,$work/proc/,; s,/sys/module,$work/sys,; s,/lib/modules/,$work/lib/modules/,; s,/dev/kmsg,$work/kmsg," "$RLIS_TOP/packaging/lib/load-module" >"$work/load-module"
echo 6.12.9 >"$work/proc/sys/kernel/osrelease"
cat >"$bin/modprobe" <<END
#!/bin/sh
if [ "\$1" = -c ]; then
	printf 'blacklist x\noptions hv_vmbus other=1\noptions hv_storvsc %s\nalias y z\n' "\$OPTIONS"
	exit
fi
echo "modprobe \$*" >>$work/calls
case " \$FAILS " in *" \$2 "*) exit 1 ;; esac
END
cat >"$bin/insmod" <<END
#!/bin/sh
file=\${1##*/}
shift
echo "insmod \$file\${1:+ \$*}" >>$work/calls
case " \$FAILS " in
*" other-was-first "*) mkdir -p $work/sys/\${file%%.*} && echo live >$work/sys/\${file%%.*}/initstate; exit 1 ;;
*" insmod "*) exit 1 ;;
esac
END
chmod +x "$bin"/*
# loads NAME WANTED-CALLS WANTED-RC CMDLINE FAILS MODULE [OPTION...]
loads() {
	local name=$1 want=$2 rc=0
	: >"$work/calls"
	: >"$work/kmsg"
	echo "$4" >"$work/proc/cmdline"
	FAILS=$5 OPTIONS=${OPTIONS:-} PATH=$bin:$PATH sh "$work/load-module" "${@:6}" || rc=$?
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
loads bus_alone 'insmod hv_vmbus.ko other=1' 0 'rlis.disable' '' hv_vmbus
touch "$work/lib/modules/6.12.9/kernel/drivers/net/hyperv/hv_netvsc.ko.xz"
loads own_card_if_ours_fails 'modprobe --ignore-install hv_netvsc;modprobe -q hv_vmbus;insmod hv_netvsc.ko.xz' 0 'quiet' hv_netvsc hv_netvsc
loads no_own_one 'modprobe --ignore-install hv_utils' 1 '' hv_utils hv_utils
OPTIONS='a=1 b="2,3"' loads own_has_its_options "modprobe --ignore-install hv_storvsc c=4;${fallback%hv_s*}hv_storvsc.ko.xz a=1 b=\"2,3\" c=4" 0 quiet hv_storvsc hv_storvsc c=4
loads another_was_first "modprobe --ignore-install hv_storvsc;$fallback" 0 quiet 'hv_storvsc other-was-first' hv_storvsc
mkdir -p "$work/sys/hv_storvsc" && echo coming >"$work/sys/hv_storvsc/initstate"
loads another_loads 'modprobe --ignore-install hv_storvsc' 0 quiet '' hv_storvsc
loads another_fails "modprobe --ignore-install hv_storvsc;$fallback" 0 quiet hv_storvsc hv_storvsc
echo live >"$work/sys/hv_storvsc/initstate"
loads loaded_already '' 0 'quiet' hv_storvsc hv_storvsc

# What looks at the disks while an initramfs waits for them, by the clock $work/proc/uptime.
sed "s,/proc/,$work/proc/,; s,/sys/module,$work/sys,; s,/sys/bus,$work/bus,; s,=/run/,=$work/run-,; s,/dev/kmsg,$work/kmsg," \
	"$RLIS_TOP/packaging/lib/check-disks" >"$work/check-disks"
printf '#!/bin/sh\necho "rmmod $*" >>%s/calls; rm -r "%s/sys/$1"\n' "$work" "$work" >"$bin/rmmod"
chmod +x "$bin/rmmod" "$work/load-module"
echo quiet >"$work/proc/cmdline"
# waits TAINT DRIVER-OF-THE-FIRST: a system with two controllers and another device, the module just loaded.
waits() {
	local id
	rm -rf "$work"/run-* "$work/bus" "$work/sys"
	mkdir -p "$work/sys/hv_storvsc" "$work"/bus/vmbus/devices/{scsi,ide,kvp}
	echo live >"$work/sys/hv_storvsc/initstate"
	echo "$1" >"$work/sys/hv_storvsc/taint"
	for id in scsi:ba6163d9-04a1-4d29-b605-72e2ffb1dc7f ide:32412632-86cb-44a2-9b5c-50d1417354f5 kvp:a9a0f4e7-5a45-4d96-b827-8a841e8c03e6; do
		echo "{${id#*:}}" >"$work/bus/vmbus/devices/${id%%:*}/class_id"
	done
	[ -z "$2" ] || ln -s . "$work/bus/vmbus/devices/$2/driver"
}
# after NAME SECONDS WANTED-CALLS
after() {
	: >"$work/calls"
	: >"$work/kmsg"
	echo "$2.50 3.21" >"$work/proc/uptime"
	FAILS='' OPTIONS='' PATH=$bin:$PATH sh "$work/check-disks"
	if [ "$(paste -sd';' "$work/calls")" = "$3" ]; then result "check_disks/$1" ok
	else result "check_disks/$1" FAIL "calls: $(paste -sd';' "$work/calls")"; fi
}
waits OE ''
after first_look 5 ''
after has_patience 19 ''
after takes_the_kernels_own 20 "rmmod hv_storvsc;$fallback"
told drives_none 'drives none'
waits OE scsi
after one_works 5 ''
after one_works_later 60 ''
waits OE kvp
after other_devices_do_not_count 5 ''
after other_devices_do_not_count_later 60 "rmmod hv_storvsc;$fallback"
waits '' ''
after own_is_left_alone 5 ''
after own_is_left_alone_later 60 ''
waits OE ''
rm -r "$work"/bus/vmbus/devices/{scsi,ide}
after no_controllers 5 ''
after no_controllers_later 60 ''

# What DKMS runs to build: by the kernel's own Rust metadata, and where that fails by the portable tree. Stand-ins build.
mkdir -p "$work/source/packaging/dkms" "$work/source/scripts"
sed "s,/var/cache,$work/cache," "$RLIS_TOP/packaging/dkms/build" >"$work/source/packaging/dkms/build"
cp "$RLIS_TOP/scripts/support" "$work/source/scripts/"
printf '#!/bin/sh\necho "${RLIS_PROVIDER:-$HAS}"\n' >"$work/source/scripts/probe"
cat >"$work/source/scripts/modules" <<'END'
#!/bin/sh
echo "${RLIS_PROVIDER:-$HAS}" >>"$CALLS"
case " $FAILS " in *" ${RLIS_PROVIDER:-$HAS} "*) mkdir -p build/half; exit 1 ;; esac
[ ! -e build/half ] || exit 1
mkdir -p build/done && cd build/done && touch hv_vmbus.ko hv_storvsc.ko hv_utils.ko hv_netvsc.ko hv_balloon.ko && pwd
END
chmod +x "$work"/source/packaging/dkms/build "$work"/source/scripts/*
builds() { # NAME WANTED-CALLS WANTED-RC HAS FAILS
	local rc=0
	rm -rf "$work/source/build" "$work/calls"
	CALLS=$work/calls HAS=$4 FAILS=$5 "$work/source/packaging/dkms/build" "$work/6.12.107+deb13-cloud-amd64" >"$work/said" 2>&1 || rc=$?
	if [ "$(paste -sd';' "$work/calls")" = "$2" ] && [ "$rc" = "$3" ] && { [ "$rc" != 0 ] || [ -e "$work/source/build/dkms/hv_vmbus.ko" ]; }; then
		result "dkms_build/$1" ok
	else result "dkms_build/$1" FAIL "exit $rc, calls: $(paste -sd';' "$work/calls"), said: $(tail -n 3 "$work/said" | tr '\n' '|')"; fi
}
builds by_metadata metadata 0 metadata ''
builds metadata_fails 'metadata;portable' 0 metadata metadata
builds both_fail 'metadata;portable' 1 metadata 'metadata portable'
builds portable_fails portable 1 portable portable

# The report of a machine that others do not have, made in an unpacked tarball: in the place of compilers stand programs that tell
# of themselves what must not get about.
top=$work/home/jdoe/rlis
mkdir -p "$top/portable" "$work/report-bin"
(cd "$RLIS_TOP" && git ls-files -zco --exclude-standard VERSION COPYING dkms.conf 'Kbuild*' include packaging scripts rust drivers |
	while IFS= read -r -d '' f; do [ -f "$f" ] && printf '%s\0' "$f"; done | tar --null -T - -cf -) | tar -C "$top" -xf -
echo stand-in >"$top/portable/VERSION"
printf '#!/bin/sh\necho "${PROBE:-}"\n[ -z "${PROBE:-}" ]\n' >"$top/scripts/probe"
cat >"$top/scripts/modules" <<'END'
#!/bin/sh
mkdir -p build/logs build/out
{
	echo "make: Entering directory '$PWD', as jdoe@web-01.example.org, HOME is $HOME"
	echo "net: 00:15:5D:0a:0b:0c"
	[ -z "$SAYS" ] || echo "$SAYS"
} >build/logs/modules-x.log
case $SAYS in *error*) exit 1 ;; esac
for m in hv_vmbus hv_storvsc hv_utils hv_netvsc hv_balloon; do : >build/out/$m.ko; done
echo "$PWD/build/out"
END
cat >"$work/report-bin/make" <<'END'
#!/bin/sh
[ "$1" != --version ] || { echo "GNU Make 4.3 of web-01"; exit; }
for arg; do case $arg in M=*) cd "${arg#M=}" ;; esac; done
echo RLIS_HAVE_VMBUS_V6 RLIS_HAVE_BIN_SIZE >by-text
for name in VMBUS_V6 SDEV_CONFIGURE scsi_done; do : >try_$name.o; done
exit 2
END
cat >"$work/report-bin/uname" <<'END'
#!/bin/sh
case $* in -n) echo web-01.example.org ;; -r) echo 5.14.0 ;; *) echo Linux 5.14.0 x86_64 ;; esac
END
printf '#!/bin/sh\necho jdoe\n' >"$work/report-bin/id"
chmod +x "$work"/report-bin/* "$top"/scripts/{probe,modules}
# report ARGUMENT...: writes $top/rlis-report.txt
report() {
	rm -f "$top/rlis-report.txt"
	(cd "$top" && HOME=$work/home/jdoe USER=jdoe SAYS=${SAYS:-} PROBE=${PROBE:-} PATH=$work/report-bin:$PATH scripts/support --report "$@") >"$work/said" 2>&1
}
# reports NAME PATTERN [NOT-PATTERN]: the report has a line like that, and none like the other.
reports() {
	if grep -qE "$2" "$top/rlis-report.txt" 2>/dev/null && ! { [ -n "${3:-}" ] && grep -qE "$3" "$top/rlis-report.txt"; }; then result "report/$1" ok
	else result "report/$1" FAIL "$(tail -n 2 "$work/said" | tr '\n' '|') $(grep -E "${3:-$^}" "$top/rlis-report.txt" 2>&1 | head -n 3)"; fi
}
tree 5.14.0-570.el9.x86_64 "${common[@]}" HYPERV=m MODULE_SIG
printf '0x1\tvmbus_open\tdrivers/hv/hv_vmbus\tEXPORT_SYMBOL_GPL\t\n0x2\tkmalloc\tvmlinux\tEXPORT_SYMBOL\t\n' >"$tree/Module.symvers"
SAYS='error[E0425]: cannot find function `disable_work_sync`' report "$tree"
reports names_the_file "^  kernel +5\.14\.0-570\.el9"
reports limits_are_set_aside '^  hv_vmbus +build' 'older than'
reports has_the_outlook 'outlook +RHEL 9'
reports has_the_configuration '^CONFIG_MODULE_SIG=y$' CONFIG_X86_64
reports has_the_bus_exports '	vmbus_open	' kmalloc
reports compiled_and_found '^VMBUS_V6 yes yes$'
reports compiled_not_found '^SDEV_CONFIGURE yes no$'
reports found_not_compiled '^BIN_SIZE no yes$'
reports not_asked_of_the_text '^scsi_done yes -$'
reports not_compiled '^gpadl_is_a_struct no -$'
reports has_the_error 'error\[E0425\]: cannot find function'
reports build_failed '^the build failed' '^all modules'
reports no_modules_to_check '^there are no modules to look at$'
reports has_no_names '^rlis report 1' 'jdoe|web-01|example\.org|00:15:5[dD]|/home/'
reports says_what_was_left_out 'NAME@NAME'
if [ -z "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'rlis-report.*' -newer "$top/VERSION" 2>/dev/null)" ]; then result report/leaves_nothing ok
else result report/leaves_nothing FAIL "in ${TMPDIR:-/tmp}"; fi
SAYS='' report "$tree"
reports build_succeeds '^all modules were built$' '^the build failed'
reports modules_are_right '^nothing is wrong with them$'
SAYS='check-modules: hv_vmbus has 3 plain returns, and CONFIG_RETHUNK asks for thunks' report "$tree"
reports modules_are_wrong '^check-modules: hv_vmbus has 3 plain returns' '^nothing is wrong'
PROBE='rlis: cannot build against this: rustc is missing' report "$tree"
reports tool_is_missing 'rustc is missing'
reports not_tried '^not tried, for the reason above$'
report "$work/nowhere"
reports no_headers_is_a_report "install the kernel's headers"
rm -r "$top/packaging"
if report "$tree"; then result report/needs_the_tarball FAIL; elif grep -q 'unpacked tarball' "$work/said"; then result report/needs_the_tarball ok; else result report/needs_the_tarball FAIL "$(cat "$work/said")"; fi

# Images of dracut's: one is kept, of the kernel that runs, from before ours, where there is room; and an image that is
# not whole, or lacks what the one before has, changes nothing. An image is the list of its files here.
boot=$work/boot
mkdir -p "$boot" "$work/lib/modules/6.12.8/kernel"
sed "s,/boot,$boot,g; s,/lib/modules,$work/lib/modules,g; s,/var/lib,$work/var,g; s,/etc/kernel,$work/etc,g" \
	"$RLIS_TOP/packaging/lib/refresh-initramfs" >"$work/refresh"
printf '#!/bin/sh\ncat "$1"\n' >"$bin/lsinitrd"
printf '#!/bin/sh\nif [ -n "$NEW" ]; then printf "%%b" "$NEW" >"$2"; else echo half >"$2"; exit 1; fi\n' >"$bin/dracut"
printf '#!/bin/sh\necho Filesystem; echo "x 9 9 $ROOM 9%% /boot"\n' >"$bin/df"
printf '#!/bin/sh\necho 6.12.9\n' >"$bin/uname"
printf '#!/bin/sh\n' >"$bin/depmod"
chmod +x "$bin"/*
own='kernel/hv_vmbus.ko.xz\nkernel/hv_storvsc.ko.xz\n'
with_ours="${own}updates/hv_vmbus.ko\nupdates/hv_storvsc.ko\n"
# image KERNEL SUFFIX CONTENT: /boot has that.
image() { [ "$(cat "$boot/initramfs-$1.img$2" 2>/dev/null)" = "$(printf '%b' "$3")" ]; }
refresh() { # NEW ROOM ARGUMENT...
	NEW=$1 ROOM=$2 PATH=$bin:$PATH sh "$work/refresh" "${@:3}" >"$work/said" 2>&1
}
is() { # NAME COMMAND...
	if "${@:2}"; then result "refresh/$1" ok
	else result "refresh/$1" FAIL "boot has: $(cd "$boot" && grep . ./* | tr '\n' ' '), said: $(tr '\n' '|' <"$work/said")"; fi
}
fresh() {
	rm -rf "${boot:?}"/* "${work:?}/var"
	printf '%b' "$own" | tee "$boot/initramfs-6.12.8.img" >"$boot/initramfs-6.12.9.img"
}
# A file of 600 KiB, of which three have room in 1800.
fresh
{ printf '%b' "$own" && head -c 614400 /dev/zero | tr '\0' x; } >"$boot/initramfs-6.12.9.img"
is no_room refresh "$with_ours" 1799
is no_room_keeps_none image 6.12.9 -old ''
fresh
is makes_both refresh "$with_ours" 1800 6.12.8 6.12.9
is has_ours image 6.12.9 '' "$with_ours"
is keeps_the_running_one image 6.12.9 -old "$own"
is keeps_no_other image 6.12.8 -old ''
is makes_again refresh "${with_ours}more\n" 1800
is kept_is_the_first image 6.12.9 -old "$own"
is kept_goes_with_kernel refresh '' 0 --forget 6.12.9
is kept_is_gone image 6.12.9 -old ''
is keeps_none_with_ours refresh "$with_ours" 1800
is kept_none image 6.12.9 -old ''
fails() { ! "$@"; }
fresh
is half_fails fails refresh '' 1800 6.12.8
is half_changes_nothing image 6.12.8 '' "$own"
is half_leaves_nothing image 6.12.8 .new ''
is without_bus_fails fails refresh 'kernel/hv_storvsc.ko.xz\n' 1800 6.12.8
is without_bus_changes_nothing image 6.12.8 '' "$own"
is without_bus_leaves_nothing image 6.12.8 .new ''
rm "$boot"/*
is none_is_no_failure refresh "$own" 1800 6.12.8
is none_is_told grep -q 'no initramfs of 6.12.8 .*unified kernel image' "$work/said"

# What is called, in order: depmod before an image is made of what it lists, if its list does not have ours or has one that
# is gone; and the makers of images for a crash, of the kernels that have such an image.
printf '#!/bin/sh\necho depmod "$@" >>%s\n' "$work/order" >"$bin/depmod"
printf '#!/bin/sh\necho kdumpctl "$@" >>%s\n[ -z "$KDUMP_FAILS" ]\n' "$work/order" >"$bin/kdumpctl"
mkdir -p "$work/etc/postinst.d" "$work/var/kdump" "$work/lib/modules/6.12.8/updates/dkms" "$work/lib/modules/6.12.9/kernel"
sed 's/kdumpctl/kdump-tools/' "$bin/kdumpctl" >"$work/etc/postinst.d/kdump-tools"
sed -i "s,^#!/bin/sh,&\necho dracut \"\$3\" >>$work/order," "$bin/dracut"
chmod +x "$bin"/* "$work/etc/postinst.d/kdump-tools"
# order CALLS KERNEL...: what making the images of these kernels calls, with ; between.
order() {
	: >"$work/order"
	refresh "$with_ours" 1800 "${@:2}" || return
	[ "$(paste -sd';' "$work/order")" = "$1" ] || { paste -sd';' "$work/order" >>"$work/said"; false; }
}
dep=$work/lib/modules/6.12.8/modules.dep
fresh
mkdir -p "$work/var/kdump"
echo 'kernel/hv_vmbus.ko.xz:' >"$dep"
mkdir -p "$work/lib/modules/6.12.8/kernel" && touch "$work/lib/modules/6.12.8/kernel/hv_vmbus.ko.xz"
is depmod_was_right order 'dracut 6.12.8' 6.12.8
touch "$work/lib/modules/6.12.8/updates/dkms/hv_vmbus.ko.xz"
is depmod_lacks_ours order 'depmod 6.12.8;dracut 6.12.8' 6.12.8
echo 'updates/dkms/hv_vmbus.ko.xz: kernel/other.ko.xz' >"$dep"
is depmod_has_ours order 'dracut 6.12.8' 6.12.8
rm "$work/lib/modules/6.12.8/updates/dkms/hv_vmbus.ko.xz"
is depmod_has_what_is_gone order 'depmod 6.12.8;dracut 6.12.8' 6.12.8
rm "$dep"
is no_modules_no_depmod order 'dracut 6.12.8' 6.12.8
touch "$work/lib/modules/6.12.8/updates/dkms/hv_storvsc.ko"
is no_list_at_all order 'depmod 6.12.8;dracut 6.12.8' 6.12.8
rm "$work/lib/modules/6.12.8/updates/dkms/hv_storvsc.ko"

touch "$work/var/kdump/initrd.img-6.12.8"
is crash_image_of_debian order 'dracut 6.12.8;kdump-tools 6.12.8;dracut 6.12.9' 6.12.8 6.12.9
rm "$work/var/kdump/initrd.img-6.12.8"
touch "$boot/initramfs-6.12.8kdump.img" "$boot/initramfs-6.12.9kdump.img"
# kdumpctl makes that of the running kernel only.
is crash_image_of_fedora order 'dracut 6.12.8;dracut 6.12.9;kdumpctl rebuild' 6.12.8 6.12.9
is crash_image_fails fails env KDUMP_FAILS=1 NEW="$with_ours" ROOM=1800 PATH="$bin:$PATH" sh "$work/refresh" 6.12.9
rm "$boot/initramfs-6.12.9kdump.img"
is no_crash_image order 'dracut 6.12.9' 6.12.9

# What is a virtual function of hv_netvsc's, and what a card that the host passed on whole.
card() { # INTERFACE ADDRESS [DRIVER]
	mkdir -p "$work/sysfs/class/net/$1"
	echo "$2" >"$work/sysfs/class/net/$1/address"
	[ -z "${3:-}" ] || { mkdir -p "$work/sysfs/class/net/$1/device" && ln -s "../../../../bus/drivers/$3" "$work/sysfs/class/net/$1/device/driver"; }
}
card lo 00:00:00:00:00:00
card eth0 00:15:5d:00:00:01 hv_netvsc
card eth1 00:15:5d:00:00:02 hv_netvsc
card vf1 00:15:5d:00:00:02 mlx5_core
card whole 0c:42:a1:00:00:03 mlx5_core
card bond 0c:42:a1:00:00:03
card twin 0c:42:a1:00:00:03 ixgbe
printf '#!/bin/sh\necho "$*" >>%s/calls\n' "$work" >"$bin/udevadm"
chmod +x "$bin/udevadm"
vf() { # NAME WANTED-RC WANTED-CALLS ARGUMENT...
	local rc=0
	: >"$work/calls"
	RLIS_SYS=$work/sysfs PATH=$bin:$PATH sh "$RLIS_TOP/packaging/lib/below-netvsc" "${@:4}" || rc=$?
	if [ "$rc" = "$2" ] && [ "$(cat "$work/calls")" = "$3" ]; then result "below_netvsc/$1" ok
	else result "below_netvsc/$1" FAIL "exit $rc, calls: $(cat "$work/calls")"; fi
}
vf virtual_function 0 '' vf1
vf whole_card 1 '' whole
vf no_such_card 1 '' gone
vf looks_again 0 "trigger --action=change $work/sysfs/class/net/vf1" --again eth1
vf nothing_to_look_at 0 '' --again eth0

results_summary
