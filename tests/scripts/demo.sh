#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# make demo as a person runs it, on a terminal: it passes; with SHELL=1 there is a shell in the guest; and on a host that
# does not do its part it fails, with one sentence. Takes some minutes, so it is part of `make test-all` only.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

logs=$RLIS_TOP/build/logs
mkdir -p "$logs"
# check NAME LOG PATTERN: the log has a line that matches.
check() {
	if grep -aqE "$3" "$2"; then result "demo/$1" ok; else result "demo/$1" FAIL "no line matches '$3' in $2: $(tail -n 1 "$2")"; fi
}
cd "$RLIS_TOP" || exit

need_command script bsdutils
log=$logs/demo-shell.log
keys=$(mktemp -u)
mkfifo "$keys"
: >"$log"
script -qefc 'make demo SHELL=1' "$log" <"$keys" >/dev/null 2>&1 &
pid=$!
exec 3>"$keys"
rm -f "$keys"
limit=$((SECONDS + 1800))
# The prompt of a login shell of root.
until grep -aq "goes on with the demo" "$log" || ! kill -0 $pid 2>/dev/null || [ "$SECONDS" -ge "$limit" ]; do sleep 1; done
sleep 5
# What is typed differs from what is to be seen, so that an echo does not pass for an answer.
printf 'echo answer-$((6 * 7)) from $(hostname)\n' >&3
until grep -aq 'answer-42' "$log" || ! kill -0 $pid 2>/dev/null || [ "$SECONDS" -ge "$limit" ]; do sleep 1; done
printf 'exit\n' >&3
rc=0
wait $pid || rc=$?
exec 3>&-
check shell_answers "$log" 'answer-42 from rlis-demo'
check shutdown_follows "$log" 'state: off \(exit code 0\)'
check passes "$log" '^demo passed'
if [ $rc = 0 ]; then result demo/exit_code ok; else result demo/exit_code FAIL "$rc"; fi

log=$logs/demo-fails.log
rc=0
DEMO_HOST_ARGS='--ic heartbeat,timesync' make demo >"$log" 2>&1 </dev/null || rc=$?
if [ $rc != 0 ]; then result demo/fails_without_services ok; else result demo/fails_without_services FAIL "it passed"; fi
check says_why "$log" '^rlis: error: the demo failed: the guest says: hv_utils made no devices for the daemons within 10 s\. Logs: '
results_summary
