#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Documentation/sysfs-and-parameters.md names every file that hv_vmbus makes in sysfs and every parameter of our
# modules, with its mode, and none that is not there. Documentation/netvsc.md names every counter of `ethtool -S`, and those of the
# C driver that ours does not have, as tests/guest/net_ethtool.sh expects it. With a planted mistake of each kind it finds that.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

document=$RLIS_TOP/Documentation/sysfs-and-parameters.md
counters=Documentation/netvsc.md

# Both lists have lines `section name mode`, sorted.
in_code() {
	local top=$1 files=$1/rust/hv/bus/sysfs file module
	{
		sed -nE 's/^ *(read_only|of_monitor)\(c"([a-z_]+)",.*/device \2 0444/p' "$files/device.rs"
		sed -nE -e 's/^ *(read_only|of_monitor)\(c"([a-z_]+)",.*/channel \2 0444/p' \
			-e 's/^ *writable\(c"([a-z_]+)",.*/channel \1 0644/p' \
			-e 's/.*attr = attribute\(c"([a-z_]+)", 0o([0-7]+)\);/channel \1 0\2/p' "$files/channel.rs"
		sed -nE -e 's/.*attr = attribute\(c"([a-z_]+)", 0o(4[0-7]+)\);/bus \1 0\2/p' \
			-e 's/.*attr = attribute\(c"([a-z_]+)", 0o(2[0-7]+)\);/driver \1 0\2/p' "$files/bus.rs"
		for file in "$top"/drivers/*/*/; do
			module=hv_$(basename "$file")
			cat "$file"*.c "$file"*.rs | awk -v m="$module" '
				/^module_param(_named)?\(/ {
					gsub(/[(),;]/, " "); print m, $2, $NF
				}
				/^module_param! *\{/ { inside = 1; text = "" }
				inside { text = text " " $0 }
				inside && /^\}/ {
					inside = 0
					if (match(text, /"[a-z_]+", Mode::[A-Za-z]+/)) {
						split(substr(text, RSTART, RLENGTH), part, /[", ]+/)
						print m, part[2], part[3] == "Mode::Writable" ? "0644" : "0444"
					} else {
						print m, "unreadable-declaration", "0"
					}
				}'
		done
	} | sort
}
in_document() {
	awk '
		/^## A device/ { section = "device" }
		/^## A channel/ { section = "channel" }
		/^## The bus/ { section = "bus" }
		/^## A driver/ { section = "driver" }
		/^## What else/ || /^## Module/ { section = "" }
		/^### / { section = $2 }
		section != "" && /^\| `/ { split($0, cell, /[|` ]+/); print section, cell[2], cell[3] }' "$1" | sort
}

# Both lists have lines `ours|not-ours name`, sorted.
counters_in_code() {
	{
		sed -nE -e 's/^ *\("([a-z_]+)", \|c\|.*/ours \1/p' -e 's/^ *"(vf_[a-z_]+)",$/ours \1/p' \
			-e 's/^ *QueueStatistics\("([a-z_]+)", "([a-z_]+)"\),$/ours \1N\2/p' "$1/drivers/net/netvsc/counters.rs"
		sed -n "s/^not_ours='\(.*\)'$/\1/p" "$1/tests/guest/net_ethtool.sh" | tr ' ' '\n' | sed 's/^/not-ours /'
	} | sort
}
counters_in_document() {
	awk '/^## / { section = "" }
		/^## Counters/ { section = "ours" }
		/^\| not ours / && section { section = "not-ours" }
		/^The kernel tells/ { section = "" }
		section && /^\| `/ { split($0, cell, "|"); n = split(cell[2], name, "`"); for (i = 2; i < n; i += 2) print section, name[i] }' "$1" | sort
}

if difference=$(diff <(in_code "$RLIS_TOP") <(in_document "$document")); then
	result documented/same_as_code ok "($(in_code "$RLIS_TOP" | wc -l) names)"
else
	result documented/same_as_code FAIL "(< only in the code, > only in the document)"
	grep '^[<>]' <<<"$difference" | sed 's/^/    | /'
fi

if difference=$(diff <(counters_in_code "$RLIS_TOP") <(counters_in_document "$RLIS_TOP/$counters")); then
	result documented/counters ok "($(counters_in_code "$RLIS_TOP" | wc -l) names)"
else
	result documented/counters FAIL "(< only in the code, > only in the document)"
	grep '^[<>]' <<<"$difference" | sed 's/^/    | /'
fi

# Mistakes that have to be found: in a copy, something is taken out, renamed, or given another mode.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# finds NAME SED-EXPRESSION FILE
finds() {
	rm -rf "${work:?}/top"
	mkdir -p "$work/top/rust" "$work/top/tests/guest" "$work/top/Documentation"
	cp -r "$RLIS_TOP/drivers" "$work/top/"
	cp "$RLIS_TOP/tests/guest/net_ethtool.sh" "$work/top/tests/guest/"
	cp "$RLIS_TOP/$counters" "$work/top/$counters"
	cp -r "$RLIS_TOP/rust/hv" "$work/top/rust/"
	cp "$document" "$work/top/document.md"
	sed -i -E "$2" "$work/top/$3"
	if cmp -s "$work/top/$3" "$RLIS_TOP/$3" || cmp -s "$work/top/$3" "$document"; then
		result "documented/finds_$1" FAIL "the mistake could not be planted"
	elif diff <(in_code "$work/top") <(in_document "$work/top/document.md") >/dev/null &&
		diff <(counters_in_code "$work/top") <(counters_in_document "$work/top/$counters") >/dev/null; then
		result "documented/finds_$1" FAIL "the mistake was not noticed"
	else
		result "documented/finds_$1" ok
	fi
}
finds missing_file '/^\| `vendor` /d' document.md
finds wrong_mode 's/^(\| `cpu` \| )0644/\10444/' document.md
finds missing_parameter '/^\| `fcopy` /d' document.md
finds renamed_file 's/read_only\(c"events"/read_only(c"signals"/' rust/hv/bus/sysfs/channel.rs
finds wrong_mode_of_a_driver 's/("remove_id", 0o)200/\1220/' rust/hv/bus/sysfs/bus.rs
finds changed_parameter 's/"timesync_implicit", Mode::Writable/"timesync_implicit", Mode::ReadOnly/' drivers/hv/utils/utils.rs
finds new_parameter 's/"logging_level"/"log_level"/' drivers/scsi/storvsc/settings.rs
finds missing_counter 's/`rx_malformed`, //; /^\| `rx_malformed` /d' $counters
finds new_counter 's/"tx_busy"/"tx_waited"/' drivers/net/netvsc/counters.rs
finds counter_without_reason '/^\| `vlan_error` /d' $counters
finds counter_that_is_not_expected "s/^(not_ours=')tx_no_space /\\1/" tests/guest/net_ethtool.sh
results_summary
