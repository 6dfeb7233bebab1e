#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Takes one prerequisite after the other away from a tree that scripts/probe accepts, and expects the one sentence
# that names it, or the other way to build. The tree is made of empty files: the probe only asks what is there.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree=$work/tree
tools=$work/bin
make_tree() {
	rm -rf "$tree" "$tools"
	mkdir -p "$tree"/{include/config,include/generated,scripts,rust} "$tools"
	printf '%s\n' CONFIG_MODULES=y CONFIG_X86_64=y CONFIG_HYPERV=y CONFIG_SCSI=m CONFIG_SCSI_FC_ATTRS=m CONFIG_PTP_1588_CLOCK=y CONFIG_NET=y CONFIG_PAGE_POOL=y \
		CONFIG_RUST=y \
		'CONFIG_RUSTC_VERSION_TEXT=rustc 1.85.1 (test)' >"$tree/include/config/auto.conf"
	echo 6.17.0-test >"$tree/include/config/kernel.release"
	touch "$tree"/{Makefile,Module.symvers,scripts/target.json,include/generated/rustc_cfg} \
		"$tree"/rust/{libcore,libkernel,libbindings,libpin_init,libzerocopy}.rmeta "$tree/rust/libmacros.so"
	echo 'rustc 1.85.1 (test)' >"$tree/rust/libcore.rmeta"
	local tool
	for tool in bindgen gcc clang ld.lld llvm-nm; do printf '#!/bin/sh\n' >"$tools/$tool"; done
	fake_rustc 'rustc 1.85.1 (test)'
	mkdir -p "$tools/sysroot/lib/rustlib/src/rust/library/core/src"
	touch "$tools/sysroot/lib/rustlib/src/rust/library/core/src/lib.rs"
	# What the probe itself is made of.
	for tool in bash env awk cut dirname grep head ls sed sort tr; do ln -s "$(command -v "$tool")" "$tools/$tool"; done
	chmod +x "$tools"/*
}

fake_rustc() {
	printf '#!/bin/sh\nif [ "$1" = --print ]; then echo "%s"; else echo "%s"; fi\n' "$tools/sysroot" "$1" >"$tools/rustc"
	chmod +x "$tools/rustc"
}
without_core() { rm -r "$tools/sysroot"; }

# says OPTION NAME LINES: the probe accepts and prints exactly that.
says() {
	local output rc=0
	output=$(PATH=$tools "$RLIS_TOP/scripts/probe" "$1" "$tree" 2>&1) || rc=$?
	if [ "$rc" = 0 ] && [ "$output" = "$3" ]; then
		result "probe/$2" ok
	else
		result "probe/$2" FAIL "exit $rc, said: $output"
	fi
}

# expect NAME PATTERN: the probe fails with one line that matches; an empty pattern: it accepts in silence.
expect() {
	local output rc=0
	output=$(PATH=$tools "$RLIS_TOP/scripts/probe" "${kdir:-$tree}" 2>&1) || rc=$?
	if { [ -z "$2" ] && [ "$rc" = 0 ] && [ -z "$output" ]; } ||
		{ [ -n "$2" ] && [ "$rc" = 1 ] && [ "$(wc -l <<<"$output")" = 1 ] && grep -qE "$2" <<<"$output"; }; then
		result "probe/$1" ok
	else
		result "probe/$1" FAIL "exit $rc, said: $output"
	fi
}
without_config() { sed -i "/^CONFIG_$1=/d" "$tree/include/config/auto.conf"; }

make_tree && expect complete_tree ''
make_tree && sed -i 's/TEXT=\(.*\)/TEXT="\1"/' "$tree/include/config/auto.conf" && expect version_in_quotes ''
make_tree && kdir=$work/nowhere expect no_folder 'no such folder; install the kernel.s headers'
make_tree && rm "$tree/Makefile" && expect no_makefile 'no Makefile'
make_tree && rm "$tree/include/config/auto.conf" && expect not_configured 'not configured'
make_tree && without_config MODULES && expect no_modules 'CONFIG_MODULES is off'
make_tree && without_config X86_64 && expect other_architecture 'not for x86_64'
make_tree && without_config HYPERV && expect no_hyperv 'CONFIG_HYPERV is off'
make_tree && rm "$tools/rustc" && expect no_rustc 'rustc is missing'
make_tree && rm "$tools/bindgen" && expect no_bindgen 'bindgen is missing'
make_tree && printf '#!/bin/sh\necho bindgen 0.60.1\n' >"$tools/bindgen" && expect old_bindgen 'bindgen 0\.60 is too old'
make_tree && rm "$tools/gcc" && expect no_gcc 'gcc is missing'
make_tree && echo CONFIG_CC_IS_CLANG=y >>"$tree/include/config/auto.conf" && rm "$tools/ld.lld" && expect no_lld 'ld\.lld is missing'
make_tree && rm "$tree/Module.symvers" && expect no_symvers 'Module\.symvers is missing'

# The tree's own metadata where it is complete and this compiler's; else the modules bring all Rust code with them, for
# which the compiler must be new enough and the sources of Rust's core library at hand.
make_tree && says --provider metadata metadata
# portable NAME PATTERN: now portable; and a sentence that matches where the core library's sources are missing.
portable() {
	says --provider "$1" portable
	without_core
	expect "$1_no_core" "$2.*install rust-src"
}
make_tree && without_config RUST && portable no_rust 'CONFIG_RUST is off'
make_tree && fake_rustc 'rustc 1.99.0 (other)' && portable other_rustc "built with 'rustc 1.85.1.*'rustc 1\\.99"
make_tree && echo 'rustc 1.84.0 (test)' >"$tree/rust/libcore.rmeta" && portable stale_metadata 'made by another compiler'
for file in scripts/target.json include/generated/rustc_cfg rust/libcore.rmeta rust/libkernel.rmeta rust/libbindings.rmeta \
	rust/libpin_init.rmeta rust/libzerocopy.rmeta rust/libmacros.so; do
	make_tree && rm "$tree/$file" && portable "no_$(basename "$file")" "metadata is incomplete \\($file is missing"
done
make_tree && echo CONFIG_RUST_INLINE_HELPERS=y >>"$tree/include/config/auto.conf" && portable no_helpers_bitcode 'rust/helpers/helpers_module.bc is missing'
make_tree && echo CONFIG_RUST_INLINE_HELPERS=y >>"$tree/include/config/auto.conf" && mkdir "$tree/rust/helpers" &&
	touch "$tree/rust/helpers/helpers_module.bc" && says --provider helpers_bitcode metadata
make_tree && RLIS_PROVIDER=portable says --provider portable_by_choice portable
make_tree && without_config RUST && fake_rustc 'rustc 1.84.1 (old)' && expect old_rustc 'too old; install rustc 1\.85 or newer'
for option in KASAN LTO_CLANG CFI_CLANG RANDSTRUCT_FULL; do
	make_tree && without_config RUST && echo "CONFIG_$option=y" >>"$tree/include/config/auto.conf" &&
		expect "unsupported_$option" "do not support.*${option%%_*}"
done

# What is built in cannot be replaced. The bus was part of CONFIG_HYPERV once.
make_tree && says --modules bus_built_in 'hv_utils hv_storvsc hv_netvsc hv_balloon'
make_tree && sed -i 's/HYPERV=y/HYPERV=m/' "$tree/include/config/auto.conf" && says --modules bus_is_module 'hv_utils hv_vmbus hv_storvsc hv_netvsc hv_balloon'
make_tree && echo CONFIG_HYPERV_VMBUS=m >>"$tree/include/config/auto.conf" && says --modules bus_option 'hv_utils hv_vmbus hv_storvsc hv_netvsc hv_balloon'
make_tree && echo CONFIG_HYPERV_STORAGE=y >>"$tree/include/config/auto.conf" && says --modules disk_built_in 'hv_utils hv_netvsc hv_balloon'
make_tree && without_config SCSI && says --modules no_scsi 'hv_utils hv_netvsc hv_balloon'
make_tree && without_config SCSI_FC_ATTRS && says --modules no_fibre_channel 'hv_utils hv_netvsc hv_balloon'
make_tree && printf 'CONFIG_HYPERV_%s=y\n' STORAGE UTILS NET BALLOON >>"$tree/include/config/auto.conf" && expect all_built_in 'driver is built into this kernel'
make_tree && printf 'CONFIG_HYPERV_%s=y\n' STORAGE NET BALLOON >>"$tree/include/config/auto.conf" && without_config PTP_1588_CLOCK &&
	expect several_reasons 'PTP clocks.*\(hv_utils\).*built into this kernel.*\(hv_vmbus hv_storvsc hv_netvsc hv_balloon\)'
make_tree && without_config PAGE_POOL && says --modules no_page_pool 'hv_utils hv_storvsc hv_balloon'
make_tree && echo '0x0 vmbus_sendpacket_pagebuffer hv_vmbus EXPORT_SYMBOL' >>"$tree/Module.symvers" && says --modules one_range_bus 'hv_utils hv_storvsc hv_balloon'
make_tree && echo CONFIG_PREEMPT_RT=y >>"$tree/include/config/auto.conf" && says --modules real_time 'hv_utils hv_storvsc hv_netvsc hv_balloon'
make_tree && echo 6.6.1 >"$tree/include/config/kernel.release" && expect too_old 'older than 6\.12'
make_tree && echo 7.4.0 >"$tree/include/config/kernel.release" && expect too_new 'newer than 7\.3'
make_tree && echo CONFIG_ATA_PIIX=m >>"$tree/include/config/auto.conf" && says --modules disks_of_ata_piix 'hv_utils hv_netvsc hv_balloon'

results_summary
