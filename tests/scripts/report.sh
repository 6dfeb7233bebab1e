#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/support --report as a user runs it, in an unpacked tarball, on the headers of Debian's 6.12: it builds, its trial
# compiles find what the text of the headers says, and nothing in it tells whose machine this is. What it does about kernels that
# cannot be built for is in support.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

work=$RLIS_TOP/build/report
version=$(cat "$RLIS_TOP/VERSION")
rm -rf "$work"
mkdir -p "$work"
tar -C "$work" -xf "$("$RLIS_TOP/scripts/dist")"

# by_trial VERSION NAME...: the trial compiles and the text agree, on whatever they have in common, and find these.
by_trial() {
	local stock release said
	stock=$("$RLIS_TOP/scripts/stock-kernel" "$1")
	release=$(cat "$stock/release")
	said=$(RLIS_OVERLAY=$stock "$RLIS_TOP/scripts/in-sysroot" toolchain -C "$work" "$RLIS_TOP/scripts/trial-compiles" \
		"/usr/src/linux-headers-$release" "$work/trials-$1" 2>&1) || true
	if [ "$(grep -cE '^[A-Z_]+[A-Z0-9_]* (yes|no) (yes|no)$' <<<"$said")" -gt 15 ] && grep -q ' yes yes$' <<<"$said" && ! grep -E ' (yes no|no yes)$' <<<"$said"; then
		result "report/$1/trials_agree_with_the_text" ok
	else
		result "report/$1/trials_agree_with_the_text" FAIL "$(grep -E ' (yes no|no yes)$' <<<"$said" | tr '\n' '|') $(tail -n 3 <<<"$said" | tr '\n' '|')"
	fi
	# All that these kernels are known to have.
	for name in "${@:2}"; do
		if grep -q "^$name yes " <<<"$said"; then result "report/$1/$name" ok; else result "report/$1/$name" FAIL "see $work/trials-$1/log"; fi
	done
}
since_6_12='REMOVE_VOID packets_are_copied gpadl_is_a_struct DISABLE_WORK MSR scsi_done MATCH_CONST'
# shellcheck disable=SC2086 # a list
by_trial 6.12 $since_6_12
# shellcheck disable=SC2086
by_trial 7.3 $since_6_12
by_trial 6.1 packets_are_copied gpadl_is_a_struct scsi_done KVREALLOC_OLDSIZE

stock=$("$RLIS_TOP/scripts/stock-kernel" 6.12)
release=$(cat "$stock/release")
log=$work/said
RLIS_OVERLAY=$stock "$RLIS_TOP/scripts/in-sysroot" toolchain -C "$work/rlis-$version" env USER=jdoe HOME=/home/jdoe scripts/support --report \
	"/usr/src/linux-headers-$release" >"$log" 2>&1 || true
file=$work/rlis-$version/rlis-report.txt
# has NAME PATTERN: a line of the report is like that. has_no: none is.
has() { if grep -qE "$2" "$file"; then result "report/$1" ok; else result "report/$1" FAIL "no '$2' in $file; $(tail -n 2 "$log" | tr '\n' '|')"; fi; }
has_no() { if [ -s "$file" ] && ! grep -qE "$2" "$file"; then result "report/$1" ok; else result "report/$1" FAIL "$(grep -E -m 2 "$2" "$file" | tr '\n' '|')"; fi; }
has names_the_distribution '^PRETTY_NAME="Debian'
has names_the_kernel "^  kernel +$(sed 's/[+.]/\\&/g' <<<"$release") "
has names_the_compilers '^rustc +rustc 1\.'
has has_features '^DISABLE_WORK yes yes$'
has has_exports '	vmbus_open	drivers/hv/hv_vmbus'
has builds '^all modules were built$'
has modules_are_told '^hv_storvsc\.ko: .*, for 6\.12'
has checks '^nothing is wrong with them$'
has_no has_no_names "\\b($(uname -n)|jdoe)\\b|$RLIS_TOP"
results_summary
