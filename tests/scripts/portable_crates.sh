#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# What scripts/portable-crates compiles again, and what it takes from its cache, when one of its inputs changes. Stand-ins
# for the compilers note the crates that they are asked for.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/portable kernel=$work/kernel bin=$work/bin
mkdir -p "$tree"/{proc-macro2,quote,syn,macros,zerocopy-derive,pin-init/internal,pin-init/src,helpers,bindings,uapi,kernel,zerocopy/src} \
	"$kernel"/include/{config,generated} "$bin" "$work/core/core/src" "$work/scripts"
for folder in proc-macro2 quote syn macros zerocopy-derive pin-init/internal pin-init/src helpers bindings uapi kernel zerocopy/src; do
	echo "// $folder" >"$tree/$folder/lib.rs"
done
touch "$tree"/{helpers.c,helpers_portable.h,bindings_helper.h,uapi_helper.h,bindgen_parameters,bindgen_parameters_portable,ffi.rs,build_error.rs} \
	"$work/core/core/src/lib.rs" "$kernel/Module.symvers"
echo '#define UTS_RELEASE "6.12.0-test"' >"$kernel/include/generated/utsrelease.h"
printf 'CONFIG_%s=y\n' X86_64 MITIGATION_RETPOLINE >"$kernel/include/config/auto.conf"
cp "$RLIS_TOP"/scripts/{portable-crates,kernel-features} "$work/scripts/"

cat >"$bin/rustc" <<'END'
#!/bin/sh
[ "$1" != --version ] || { printf 'rustc %s\nrelease: %s\n' "$RELEASE" "$RELEASE"; exit; }
while [ $# -gt 0 ]; do
	if [ "$1" = --crate-name ]; then echo "$2" >>"$CALLS"; fi
	shift
done
END
cat >"$bin/bindgen" <<'END'
#!/bin/sh
[ "$1" != --version ] || { echo 'bindgen 0.71.1'; exit; }
while [ "$1" != -o ]; do shift; done
echo "${2##*/}" >>"$CALLS"
: >"$2"
END
chmod +x "$bin"/*

# compiles NAME WANTED...: of these crates and files, which stand for the steps, are WANTED made, and no other.
compiles() {
	local name=$1 made
	shift
	: >"$work/calls"
	if ! CALLS=$work/calls RELEASE=${release:-1.85.1} PORTABLE=$tree SRCTREE=$kernel OBJTREE=$kernel RUSTC=$bin/rustc BINDGEN=$bin/bindgen HOSTCC=cc \
		RUST_LIB_SRC=$work/core RLIS_RUSTFLAGS=${flags:--Copt-level=2} RLIS_CFLAGS='' RLIS_PORTABLE_CACHE=$work/cache \
		bash "$work/scripts/portable-crates" "$work/out" >"$work/said" 2>&1; then
		result "portable_crates/$name" FAIL "said: $(tail -n 3 "$work/said" | tr '\n' '|')"
		return
	fi
	made=$({ grep -xE 'macros|core|uapi_generated.rs|kernel' "$work/calls" || true; } | LC_ALL=C sort | paste -sd' ')
	if [ "$made" = "$*" ]; then result "portable_crates/$name" ok
	else result "portable_crates/$name" FAIL "compiled '$made', not '$*'"; fi
}
all=(core kernel macros uapi_generated.rs)
compiles first "${all[@]}"
compiles again
# Another choice of this script's own about the configuration, for the same compiler and kernel.
sed -i "s/^\techo '--cfg=CONFIG_RUST'\$/&\n\techo '--cfg=CONFIG_OTHER'/" "$work/scripts/portable-crates"
compiles other_configuration kernel
compiles other_configuration_again
echo 'CONFIG_NEW=y' >>"$kernel/include/config/auto.conf"
compiles other_kernel kernel uapi_generated.rs
echo '// more' >>"$tree/kernel/lib.rs"
compiles other_source kernel
flags=-Copt-level=3
compiles other_flags core kernel
release=1.86.0
compiles other_compiler core kernel macros
compiles other_compiler_again
release='' flags=''
compiles what_was_before
results_summary
