# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for the scripts that read this file
#
# A guest's kernel, one of ours or one of Debian's: its image, and the modules that go with it.

# What a test kernel has built in and Debian's has as modules that nothing loads by itself where there is no udev.
early="sd_mod sr_mod sg ext4 crc32c"

# guest_kernel KERNEL FOLDER: builds or fetches a kernel (fast, debug, debug-rt, stock-VERSION) and our modules for it, and sets
#   modules   the folder of ours       release   as uname -r says it       image   the file to boot
#   lists     where modules.builtin is
#   kdir      where the kernel's own modules are: its build folder, or FOLDER, which unpack_modules fills
guest_kernel() {
	modules=$("$RLIS_TOP/scripts/modules" "$1")
	case $1 in
	stock-*)
		stock=$("$RLIS_TOP/scripts/stock-kernel" "${1#stock-}")
		release=$("$RLIS_TOP/scripts/stock-kernel" "${1#stock-}" release)
		image=$("$RLIS_TOP/scripts/stock-kernel" "${1#stock-}" image)
		lists=$stock/lib/modules/$release
		kdir=$2
		;;
	*)
		kdir=$("$RLIS_TOP/scripts/kernel" "$1")
		release=$(cat "$kdir/include/config/kernel.release")
		image=$kdir/arch/x86/boot/bzImage
		lists=$kdir
		;;
	esac
}

# unpack_modules NAME...: puts these modules of Debian's kernel, and those that they depend on, into kdir. The test kernels'
# lie there already.
unpack_modules() {
	local path name
	[ -n "${stock:-}" ] || return 0
	mkdir -p "$kdir"
	RLIS_BIND=$stock "$RLIS_TOP/scripts/in-sysroot" rig sh -c \
		'root=$1 release=$2; shift 2; for m; do modprobe -d "$root" -S "$release" -D "$m" 2>/dev/null; done; true' \
		sh "$stock" "$release" "$@" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r path; do
		name=$(basename "$path" .xz)
		# Debian 12's are not compressed.
		[ -e "$kdir/$name" ] || xz -dcf "$path" >"$kdir/$name"
	done
}

# own_modules FIND-EXPRESSION...: what `find` finds among the kernel's own modules.
own_modules() { find "$kdir" -path "$kdir/debian" -prune -o "$@"; }

# root_early: what leads to a root file system besides the driver, where the kernel has that as modules.
root_early() {
	local name
	for name in sd_mod ext4; do [ -z "$(own_modules -name "$name.ko" -print -quit)" ] || echo "$name"; done
}
