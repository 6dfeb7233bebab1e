#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2154 # dracut sets kernel and moddir
#
# dracut: every initramfs has the drivers that lead to the root disk, the kernel's own ones beside ours for the case that
# ours do not load, and the program that chooses: dracut takes all of modprobe.d, where rlis.conf names it, for kernels
# without modules of ours, too.

rlis_ours() { find "/lib/modules/$kernel/updates" "/lib/modules/$kernel/extra" -name "$1.ko*" 2>/dev/null; }

check() { return 0; }
depends() { echo kernel-modules; }

installkernel() {
	local module file
	# A kernel may have any of these built in, or not at all.
	hostonly='' instmods hv_vmbus hv_storvsc scsi_transport_fc sd_mod || :
	local wanted='hv_vmbus hv_storvsc'
	# The network card where the image has those: for a root on the network, or whatever asks there for a key.
	if dracut_module_included kernel-network-modules; then
		hostonly='' instmods hv_netvsc || :
		wanted="$wanted hv_netvsc"
	fi
	for module in $wanted; do
		[ -n "$(rlis_ours "$module")" ] || continue
		while read -r file; do
			inst_simple "$file"
		done < <(find "/lib/modules/$kernel/kernel/drivers" -name "$module.ko*")
	done
}

install() {
	inst_script /usr/libexec/rlis/load-module /usr/libexec/rlis/load-module
	inst_script /usr/libexec/rlis/check-disks /usr/libexec/rlis/check-disks
	inst_hook initqueue/settled 50 "$moddir/check-disks.sh"
	inst_multiple modprobe insmod rmmod
	inst_simple /usr/lib/modprobe.d/rlis.conf
}
