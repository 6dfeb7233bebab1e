#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Takes one thing after the other away from a module that scripts/check-modules has nothing to say of, and expects the
# sentence that names it, by the names that old and new kernels have for their options. The module is of two functions,
# written in assembler; the compilers' sysroot has what makes and reads it.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

work=$RLIS_TOP/build/check-modules
rm -rf "$work"
mkdir -p "$work"/{new,old} "$work/kernel/include/config" "$work/kernel/include/generated"
kernel=$work/kernel
echo '#define UTS_RELEASE "6.1.0-test"' >"$kernel/include/generated/utsrelease.h"
printf '0x00000000\t%s\tvmlinux\tEXPORT_SYMBOL\t\n' __x86_return_thunk __x86_indirect_thunk_rax >"$kernel/Module.symvers"
: >"$work/Module.symvers"
options() { printf 'CONFIG_%s=y\n' X86_64 "$@" >"$kernel/include/config/auto.conf"; }
new=(MITIGATION_RETPOLINE MITIGATION_RETHUNK X86_KERNEL_IBT UNWINDER_ORC CALL_PADDING PREFIX_SYMBOLS)
old=(RETPOLINE RETHUNK X86_KERNEL_IBT UNWINDER_ORC CALL_PADDING PREFIX_SYMBOLS)

# Two functions: one jump by a register, one return and a changed stack in each.
cat >"$work/good.S" <<'END'
	.section .modinfo,"a"
	.asciz "vermagic=6.1.0-test SMP "
	.text
	.macro function name
	.globl __pfx_\name, \name
	.type __pfx_\name, @function
__pfx_\name:
	.skip 16, 0x90
	.size __pfx_\name, 16
	.type \name, @function
\name:
	push %rbx
.L\name\()_pushed:
.L\name\()_call:
	call __x86_indirect_thunk_rax
	pop %rbx
.L\name\()_return:
	jmp __x86_return_thunk
	.size \name, . - \name
	.endm
	.macro sites name
	.pushsection .retpoline_sites,"a"
	.long .L\name\()_call - .
	.popsection
	.pushsection .return_sites,"a"
	.long .L\name\()_return - .
	.popsection
	.endm
	.macro unwind name
	.pushsection .orc_unwind_ip,"a"
	.long __pfx_\name - .
	.long .L\name\()_pushed - .
	.long .L\name\()_return - .
	.popsection
	.pushsection .orc_unwind,"a"
	.byte 8, 0, 0, 0, 0x05, 2
	.byte 16, 0, 0, 0, 0x05, 2
	.byte 8, 0, 0, 0, 0x05, 2
	.popsection
	.endm
	.macro unwind_end
	.pushsection .orc_unwind_ip,"a"
	.long .Lend - .
	.popsection
	.pushsection .orc_unwind,"a"
	.byte 0, 0, 0, 0, 0, 0
	.popsection
	.endm
	function _RNv_first
.Lend:
	function _RNv_second
	sites _RNv_first
	sites _RNv_second
	unwind _RNv_first
	unwind _RNv_second
	.section .ibt_endbr_seal,"a"
	.long _RNv_first - .
END

# says NAME PATTERN [SED-SCRIPT...]: of the module changed so, in the words of a kernel with the present options; nothing
# for an empty PATTERN. A sentence for each option that was taken away, and none for another.
says() {
	local name=$1 pattern=$2 output rc=0
	shift 2
	sed "${@/#/-e}" -e '' "$work/good.S" >"$work/$name.S"
	[ $# = 0 ] || ! cmp -s "$work/good.S" "$work/$name.S" || fail "the change of $name changes nothing"
	output=$("$RLIS_TOP/scripts/in-sysroot" toolchain -C "$work" sh -euc \
		'gcc -c -o "$1.ko" "$1.S" && "$2/scripts/check-modules" kernel . "$1"' sh "$name" "$RLIS_TOP" 2>&1) || rc=$?
	if [ -z "$pattern" ] && [ "$rc" = 0 ] && [ -z "$output" ]; then result "check_modules/$name" ok
	elif [ -n "$pattern" ] && [ "$rc" = 1 ] && ! grep -qvE "^check-modules: .*($pattern)" <<<"$output"; then result "check_modules/$name" ok
	else result "check_modules/$name" FAIL "exit $rc, said: $output"; fi
}
no_section() { printf 's/%s,/%s_not,/' "$1" "$1"; }

for names in new old; do
	declare -n wanted=$names
	options "${wanted[@]}"
	says "$names/nothing_to_say" ''
	says "$names/no_retpoline_sites" "CONFIG_${wanted[0]}( asks|\))" "$(no_section retpoline_sites)"
	says "$names/no_return_sites" "CONFIG_${wanted[1]}( asks|\))" "$(no_section return_sites)"
	says "$names/plain_return" "2 plain returns.*CONFIG_${wanted[1]}" 's/^	pop %rbx/&; ret/'
	says "$names/plain_call" "1 plain indirect calls.*CONFIG_${wanted[0]}" 's/^.Lend:/	call *%rax/'
done
options "${new[@]}"
says no_endbr_seal 'no .ibt_endbr_seal' "$(no_section ibt_endbr_seal)"
says no_orc 'no .orc_unwind, |2 functions of .* no entry in .orc_unwind ' "$(no_section orc_unwind)"
says no_padding '1 functions of .* no padding' 's/__pfx_\\name/pfx_\\name/; s/^	function _RNv_first/	.globl __pfx__RNv_second\n__pfx__RNv_second:\n&/'
# What objtool has seen a part of: the helpers in C, and not the Rust code behind or before them.
seen='1 functions of .* no entry in .orc_unwind|2 jumps to __x86_(indirect_thunk_|return_thunk).*names 1'
says rust_not_seen "$seen" '/^	\(sites\|unwind\) _RNv_second/d; s/^	sites _RNv_first/	unwind_end\n&/'
says rust_not_seen_before "$seen" '/^	\(sites\|unwind\) _RNv_first/d'
says import_unknown 'imports what the kernel does not export: other' 's/^.Lend:/	call other/'
says other_kernel 'by its vermagic' 's/6\.1\.0-test/6.2.0-test/'
options X86_64
says nothing_asked '' "$(no_section retpoline_sites)" "$(no_section return_sites)" "$(no_section ibt_endbr_seal)" "$(no_section orc_unwind)"
results_summary
