# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of packages share: a Debian system of its own to install into, and guests that boot it.

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# With STAND_IN=1 a program stands in for the compiler: see stand_in_tarball.
packaging=$RLIS_TOP/build/packaging${STAND_IN:+-stand-in}
# Where the system is; what is changed in it stays there until the next `new_system`.
system=$packaging/system
new_system() {
	rm -rf --one-file-system "$system"
	mkdir -p "$system/io"
}
# in_system COMMAND...: runs in the system, in a folder that is seen from both sides: $system/io.
in_system() { RLIS_LAYER=$system/layer "$RLIS_TOP/scripts/in-sysroot" packaging -C "$system/io" "$@"; }

# check NAME COMMAND...: ok if COMMAND succeeds; the end of its output is the detail if it does not.
check() {
	local name=$1 output
	shift
	if output=$("$@" 2>&1); then
		result "$prefix$name" ok
	else
		result "$prefix$name" FAIL "'$*' ended with $?: $(tail -n 6 <<<"$output" | tr '\n' '|')"
		return 1
	fi
}
prefix=packaging/

# The releases of Debian's kernels in the system; KERNEL=6.12 boots only that one.
releases() { in_system sh -c 'ls /lib/modules'; }
booted() { releases | grep "^${KERNEL:-}"; }

# pretend_kernel [RELEASE]: what `uname -r` says in the system: that kernel runs. Without one, the truth again.
pretend_kernel() {
	in_system sh -euc '[ -e /usr/bin/uname.real ] || mv /usr/bin/uname /usr/bin/uname.real
		rm -f /usr/bin/uname
		[ -n "$1" ] || { mv /usr/bin/uname.real /usr/bin/uname; exit; }
		printf "#!/bin/sh\nif [ \"\$*\" = -r ]; then echo %s; else exec uname.real \"\$@\"; fi\n" "$1" >/usr/bin/uname
		chmod 755 /usr/bin/uname' sh "${1:-}"
}

# stand_in_modules FILE: a stand-in for scripts/modules, which makes modules with our version out of the kernel's own, at once.
stand_in_modules() {
	cat >"$1" <<-'END'
		#!/usr/bin/env bash
		# SPDX-License-Identifier: GPL-2.0
		set -eu
		scripts/probe "$1"
		kernel=$(cat "$1/include/config/kernel.release")
		out=$PWD/build/stand-in
		rm -rf "$out"
		mkdir -p "$out"
		modules=$(scripts/probe --modules "$1")
		for arg; do case $arg in RLIS_MODULES=*) modules=${arg#*=} ;; esac; done
		for m in $modules; do
			xz -dc "$(find "/lib/modules/$kernel/kernel" -name "$m.ko.xz")" >"$out/$m.ko"
			objcopy -O binary --only-section=.modinfo "$out/$m.ko" "$out/info"
			{ tr '\0' '\n' <"$out/info" | grep -v '^intree=' | sed "s/^vermagic=[^ ]*/vermagic=$kernel/" | tr '\n' '\0'
				printf "version=$(cat VERSION)\0"; } >"$out/info.new"
			objcopy --update-section .modinfo="$out/info.new" "$out/$m.ko"
			rm "$out/info" "$out/info.new"
		done
		echo "$out"
	END
	chmod 755 "$1"
}
# stand_in_tarball TARBALL FOLDER: the same tarball with that stand-in; so that all else is tried in a fraction of the time.
stand_in_tarball() {
	local tree
	tree=$2/$(basename "$1" .tar.xz)
	rm -rf "$2"
	mkdir -p "$2"
	tar -C "$2" -xf "$1"
	stand_in_modules "$tree/scripts/modules"
	tar -C "$2" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$(basename "$tree")" | xz -T0 -1 >"$2/$(basename "$1")"
	rm -rf "$tree"
}

# ---- guests --------------------------------------------------------------------------------------------------------

# new_run PART: where that part's guests run and leave their logs.
new_run() {
	run=$packaging/$1
	rm -rf "$run"
	mkdir -p "$run/jobs" "$run/results"
	cp "$RLIS_TOP/scripts/guest-job" "$run/run"
	cp "$("$RLIS_TOP/scripts/test-host")" "$run/rlis-host"
	# Initramfs are the distribution's alone; nothing of ours is put before or behind them.
	: >"$run/base-none"
	guests=()
	lanes=0
}

# What a guest needs not, to keep its image small: what builds things, documents, other kernels.
left_out=(./boot ./proc ./sys ./dev ./tmp ./run ./work ./usr/src ./usr/include ./usr/share ./usr/lib/gcc ./usr/lib/rustlib
	'./usr/lib/llvm*' ./usr/lib/python3 ./usr/libexec/gcc ./usr/lib/x86_64-linux-gnu/perl '*/libLLVM*' '*/libclang*'
	'*/librustc_driver*' ./usr/lib/debug ./var/lib/dkms ./var/lib/apt ./var/lib/dpkg ./var/cache '*.a' ./usr/bin/rustc
	'./usr/bin/*lto-dump*' './usr/lib/x86_64-linux-gnu/libstd-*' ./root ./usr/lib/git-core ./usr/lib/rpm)

# root_image IMAGE RELEASE [PATH...]: a file system of the system as it is now, that starts tests/packaging/guest when it
# is up. The PATHs (without the first slash) are in it though they are left out otherwise.
root_image() {
	local image=$1 tree=$system/io/root other
	rm -rf "$tree"
	mkdir -p "$tree"
	other=$(releases | grep -vxF "$2" | sed 's,^,--exclude=./usr/lib/modules/,')
	shift 2
	# shellcheck disable=SC2086
	in_system sh -euc 'cd / && tree=$1 && shift && tar --one-file-system "$@" -cf - . | tar -C "$tree" -xf -' sh "$tree" \
		"${left_out[@]/#/--exclude=}" --exclude="./${system#/}" --exclude=".$RLIS_CACHE" $other
	[ $# = 0 ] || in_system sh -euc 'cd / && tree=$1 && shift && tar -cf - "$@" | tar -C "$tree" -xf -' sh "$tree" "$@"
	mkdir -p "$tree"/{proc,sys,dev,tmp,run,boot,root,scenario} "$tree/usr/share/dbus-1/system.d"
	cp "$RLIS_TOP/tests/guest/lib.sh" "$tree/scenario/"
	install -m 755 "$RLIS_TOP/tests/packaging/guest" "$tree/scenario/run"
	# The system as far as it is about devices: udev, mounts, modules, and what those start. No timers, no logins.
	cat >"$tree/etc/systemd/system/rlis-scenario.target" <<-'END'
		[Unit]
		Requires=sysinit.target
		Wants=rlis-scenario.service
	END
	cat >"$tree/etc/systemd/system/rlis-scenario.service" <<-'END'
		[Unit]
		After=sysinit.target
		[Service]
		Type=oneshot
		ExecStart=/scenario/run
	END
	# Packed quickly, where a guest makes one.
	echo COMPRESSLEVEL=1 >"$tree/etc/initramfs-tools/conf.d/quick"
	printf 'LABEL=rlis-root / ext4 defaults 0 1\n' >"$tree/etc/fstab"
	echo guest >"$tree/etc/hostname"
	: >"$tree/etc/machine-id"
	in_system mke2fs -q -t ext4 -F -L rlis-root -E root_owner=0:0 -m 0 -d "$tree" "$image" 900M
	rm -rf "$tree"
}
# with_our_units IMAGE: the distribution has no units for the daemons, so that ours are started; and there is the daemon
# for the file copy through a character device, which Debian 13 has no more.
with_our_units() {
	cp "$("$RLIS_TOP/scripts/fcopy-daemon")" "$system/io/hv_fcopy_daemon"
	in_system sh -euc 'for file in systemd/system/hv-kvp-daemon.service systemd/system/hv-vss-daemon.service udev/rules.d/60-hyperv-daemons.rules; do
		test -e "/usr/lib/$file" && echo "rm /usr/lib/$file"; done >changes
		printf "%s\n" "write hv_fcopy_daemon /usr/sbin/hv_fcopy_daemon" "sif /usr/sbin/hv_fcopy_daemon mode 0100755" >>changes
		debugfs -w -f changes "$1" >changed 2>&1; rm changes' sh "$1"
}

# add_guest NAME RELEASE IMAGE INITRAMFS CMDLINE ENVIRONMENT: a guest that boots RELEASE from a copy of IMAGE. The words
# of ENVIRONMENT (A=b) tell tests/packaging/guest what to expect. GUESTS="A B" in the environment boots only those.
# With AFTER=NAME instead of IMAGE, it goes on with the disk that this guest leaves, and the INITRAMFS in its /boot.
add_guest() {
	local dir=$run/jobs/$1
	case " ${GUESTS:-$1} " in *" $1 "*) ;; *) return 0 ;; esac
	mkdir -p "$dir"
	case $3 in
	AFTER=*)
		echo "${3#AFTER=}" >"$dir/after"
		cp "$run/jobs/${3#AFTER=}/lane" "$dir/lane"
		echo "$4" >"$dir/initramfs"
		;;
	*)
		echo "${3##*/}" >"$dir/image"
		echo $((lanes++)) >"$dir/lane"
		cp "$4" "$dir/overlay.cpio.gz"
		;;
	esac
	[ -e "$run/kernel-$2" ] || in_system cat "/boot/vmlinuz-$2" >"$run/kernel-$2"
	echo "kernel-$2" >"$dir/kernel"
	echo base-none >"$dir/base"
	echo rlis >"$dir/host"
	echo "${SECONDS_FOR:-600}" >"$dir/seconds"
	echo 1 >"$dir/cpus"
	echo 1G >"$dir/memory"
	echo "--scsi scsi0 --disk scsi0:0:0,file=jobs/$1/root.ext4 --net net0,mac=00:15:5d:0a:0b:0c" >"$dir/args"
	echo "console=ttyS0 panic=-1 root=LABEL=rlis-root ro systemd.unit=rlis-scenario.target systemd.show_status=0 $5 $(sed 's/[^ ]*=/rlis_test.&/g' <<<"$6")" >"$dir/cmdline"
	guests+=("$1")
}

# run_guests: runs them, some in one outer VM and some in another, and tells their results.
run_guests() {
	local name out part longest=120
	[ ${#guests[@]} -gt 0 ] || { say 'no guest is to be booted'; return; }
	say "booting ${#guests[@]} guest(s) from their own disks; results: $run/results"
	"$RLIS_TOP/scripts/outer-vm" image >/dev/null
	for name in "${guests[@]}"; do longest=$((longest + $(cat "$run/jobs/$name/seconds") + 10)); done
	for ((part = 0; part < RLIS_JOBS; part++)); do
		RLIS_OUTER_SPACE=3000 "$RLIS_TOP/scripts/outer-vm" run "$run" "$longest" "$part" "$RLIS_JOBS" 2> >(grep --line-buffered -v "TCG doesn't support" >&2) &
	done
	wait
	rm -f "$run"/image-*
	for name in "${guests[@]}"; do
		out=$run/results/$name
		if [ ! -e "$out/status" ]; then
			result "packaging/$name/ran" FAIL "the guest was not run; consoles of the outer VMs: $run/outer-*.log"
			continue
		fi
		tr -d '\r' <"$out/log" >"$out/log.txt" 2>/dev/null || : >"$out/log.txt"
		scenario_results "packaging/$name" "$out/log.txt" "$(cat "$out/status")"
		if [ "$(cat "$out/status")" = 'exit 0' ]; then result "packaging/$name/host_content" ok
		else result "packaging/$name/host_content" FAIL "$(cat "$out/status"): $(tail -n 3 "$out/host.log" | tr '\n' ' ')"; fi
		if grep -qx 'exit 0' "$out/fsck" 2>/dev/null; then result "packaging/$name/root_clean" ok
		else result "packaging/$name/root_clean" FAIL "$(tail -n 3 "$out/fsck" 2>/dev/null | tr '\n' ' ')"; fi
	done
}
