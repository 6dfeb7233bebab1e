#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Our hv_vmbus exports what the kernel's own one exports: the same names, licences and namespaces and, where the
# kernel has symbol versions, the same CRCs. Drivers built against the kernel's own module can tell no difference.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# exports FILE MODULE: the lines of a Module.symvers about MODULE, without its name. modpost leaves a trailing tab.
exports() { awk -F'\t' -v m="$2" '$3 ~ m { print $1 "\t" $2 "\t" $4 "\t" $5 }' "$1" | sort; }

for kernel in ${KERNEL:-fast debug stock-6.1 stock-6.12}; do
	case $kernel in
	stock-*) kdir=$("$RLIS_TOP/scripts/stock-kernel" "${kernel#stock-}" headers) ;;
	*) kdir=$("$RLIS_TOP/scripts/kernel" "$kernel") ;;
	esac
	out=$("$RLIS_TOP/scripts/modules" "$kernel")
	theirs=$(exports "$kdir/Module.symvers" "^drivers/hv/hv_vmbus$")
	ours=$(exports "$out/Module.symvers" "(^|/)hv_vmbus$")
	if [ -z "$theirs" ]; then
		result "exports/$kernel" FAIL "$kdir/Module.symvers names no exports of hv_vmbus"
	elif difference=$(diff <(printf '%s\n' "$theirs") <(printf '%s\n' "$ours")); then
		result "exports/$kernel" ok "($(wc -l <<<"$theirs") symbols)"
	else
		result "exports/$kernel" FAIL "(< the kernel's, > ours)"
		printf '%s\n' "$difference" | sed 's/^/    | /'
	fi
done
results_summary
