#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/kernel-complaints: which lines of a kernel's log fail a run, and what an expected line excuses.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

log=$RLIS_TOP/build/complaints.log
# complaint NAME WANTED [EXPECTED]: the line found in the log on standard input contains WANTED; none is found if that is empty.
complaint() {
	local name=$1 wanted=$2 found code=0
	cat >"$log"
	found=$("$RLIS_TOP/scripts/kernel-complaints" "$log" "${3:-}") || code=$?
	if [ $code = "$([ -n "$wanted" ] && echo 0 || echo 1)" ] && [[ $found == *"$wanted"* ]]; then
		result "complaints/$name" ok
	else
		result "complaints/$name" FAIL "(wanted '$wanted', found '$found', exit code $code)"
	fi
}

warning() {
	printf '[ 1.0] %s\n' '------------[ cut here ]------------' "WARNING: at $1+0x1/0x2, CPU#0: x/1" 'Call Trace:' \
		' </TASK>' '---[ end trace 0000000000000000 ]---'
}
panic() {
	printf '[ 1.0] %s\n' "Kernel panic - not syncing: $1" 'Call Trace:' ' </TASK>'
}

complaint quiet '' <<<'[ 1.0] hv_vmbus: Vmbus version:6.0'
complaint nothing_logged '' </dev/null
complaint single_line 'still held' <<<'[ 1.0] lock still held'
complaint bytes_of_any_kind 'kmemleak: 3' < <(printf '\xff\x00\n[ 1.0] kmemleak: 3 new suspected memory leaks\r\n')
complaint warning_is_found 'WARNING: at planned' < <(warning planned)
complaint expected_warning_is_excused_whole '' planned < <(warning planned)
complaint another_warning_is_not 'WARNING: at other' planned < <(warning planned; warning other)
complaint nor_one_before 'WARNING: at other' planned < <(warning other; warning planned)
complaint trace_of_something_else 'Call Trace' planned < <(warning planned; echo '[ 2.0] Call Trace:')
complaint expected_panic '' 'triggered crash' < <(panic 'sysrq: triggered crash'; echo '[ 0.0] Linux version')
complaint failed_allocation '' 'vmalloc error' < <(panic x | sed 's/Kernel panic.*/perl: vmalloc error: size 1/')
complaint other_panic 'not syncing: VFS' 'triggered crash' < <(panic VFS)
complaint complaint_after_a_panic 'BUG: after' 'triggered crash' < <(panic 'triggered crash'; echo 'BUG: after')
unended() {
	warning planned | grep -v 'end trace'
	seq 200
	echo 'BUG: far behind'
}
complaint report_without_an_end 'far behind' planned < <(unended)
results_summary
