#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2154 # dracut sets kernel
#
# dracut: where our modules are installed for the kernel, an initramfs has those that lead to the root disk, the
# kernel's own ones for the case that ours do not load, and the program that chooses. That program is in every
# initramfs: dracut takes all of modprobe.d, where rlis.conf names it, for kernels without modules of ours, too.

rlis_ours() { find "/lib/modules/$kernel/updates" "/lib/modules/$kernel/extra" -name "$1.ko*" 2>/dev/null; }

check() { return 0; }
depends() { echo kernel-modules; }

installkernel() {
	local module file
	for module in hv_vmbus hv_storvsc; do
		[ -n "$(rlis_ours "$module")" ] || continue
		hostonly='' instmods "$module"
		while read -r file; do
			inst_simple "$file"
		done < <(find "/lib/modules/$kernel/kernel/drivers" -name "$module.ko*")
	done
	[ -z "$(rlis_ours hv_storvsc)" ] || hostonly='' instmods scsi_transport_fc sd_mod
}

install() {
	inst_script /usr/lib/rlis/load-module /usr/lib/rlis/load-module
	inst_multiple modprobe insmod
	inst_simple /usr/lib/modprobe.d/rlis.conf
}
