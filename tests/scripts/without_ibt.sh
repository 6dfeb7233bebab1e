#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the modules for a kernel without indirect branch tracking, which has objtool look at each object instead of at
# whole modules: Debian's headers with that option off. All of a module has to be seen all the same, or it has neither
# the sites that the kernel patches against speculation nor entries for the unwinder (scripts/check-modules).
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

stock=$("$RLIS_TOP/scripts/stock-kernel" 6.12)
release=$(cat "$stock/release")
"$RLIS_TOP/scripts/portable-tree" >/dev/null
work=$RLIS_TOP/build/without-ibt
mkdir -p "$work"
# Once the same, always the same times, so that nothing is compiled again.
if [ "$(cat "$work/of" 2>/dev/null)" != "$stock" ]; then
	rm -rf "$work/headers"
	cp -a "$stock/usr/src/linux-headers-$release" "$work/headers"
	for folder in scripts tools; do
		ln -sfn "/usr/lib/$(basename "$(dirname "$(readlink "$work/headers/$folder")")")/$folder" "$work/headers/$folder"
	done
	sed -i '/CONFIG_X86_KERNEL_IBT\b/d' "$work"/headers/{.config,include/config/auto.conf,include/generated/autoconf.h}
	echo "$stock" >"$work/of"
fi

modules=(hv_utils hv_vmbus hv_storvsc)
if RLIS_OVERLAY=$stock RLIS_BIND=$stock "$RLIS_TOP/scripts/in-sysroot" toolchain "$RLIS_TOP/scripts/modules" "$work/headers" RLIS_MODULES="${modules[*]}" \
	>"$work/out" 2>"$work/said"; then
	result without_ibt/builds ok
else
	result without_ibt/builds FAIL "$(grep -E 'check-modules|objtool|error' "$work/said" | tail -n 5 | tr '\n' '|')"
fi
out=$RLIS_TOP/build/$(printf '%s\n' "$work/headers" | hash_inputs)
for module in "${modules[@]}"; do
	sections=$(RLIS_BIND=$out "$RLIS_TOP/scripts/in-sysroot" toolchain readelf -SW "$out/$module.ko" 2>&1 || true)
	if grep -qF ' .return_sites ' <<<"$sections" && ! grep -qF ' .ibt_endbr_seal ' <<<"$sections"; then result "without_ibt/$module" ok
	else result "without_ibt/$module" FAIL "not a module for such a kernel: $out/$module.ko"; fi
done
results_summary
