#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/test-all: what has passed is not run again, what failed or was cut short is, and what counts as another state of
# the sources. In a small checkout whose runners are stand-ins that note their calls.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

top=$RLIS_TOP/build/resume
rm -rf "$top"
mkdir -p "$top"/{scripts,tests/guest,tests/loop,tests/host,tests/scripts,drivers,tests/packaging,rust/proto/fuzz/fuzz_targets,Documentation}
cp "$RLIS_TOP"/scripts/{lib.sh,test-all} "$top/scripts/"
export RLIS_CACHE=$top/cache
calls=$top/calls

# stand_in FILE: a runner that notes its call, and passes unless a file named fail-FILE is there.
stand_in() {
	cat >"$top/$1" <<-END
	#!/bin/bash
	echo "\$(basename "\$0") \$*" >>"$calls"
	if [ -e "$top/fail-$(basename "$1")" ]; then echo 'x/c/y FAIL'; echo '1 passed, 1 failed'; exit 1; fi
	echo '2 passed, 0 failed'
	END
	chmod +x "$top/$1"
}
for file in scripts/{check-style,host-test,kunit,fuzz,modules,test-host} tests/packaging/{run,hooks} \
	tests/scripts/{probe,support,lsvmbus,complaints,exports,style,demo,resume,check_modules,portable_crates,without_ibt,report}.sh; do
	stand_in "$file"
done
# Guests: choosing is the real thing; running prints two checks a scenario, of which one fails if its file says so.
cat >"$top/scripts/guest" <<'END'
#!/usr/bin/env bash
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tests=$RLIS_TOP/tests/guest
kernel=${KERNEL:-fast}
chosen=$(choose_scenarios "$tests" "$@")
chosen_or_fail "$chosen" "$tests" "$@"
echo "guest $KERNEL $DRIVERS $*" >>"$RLIS_TOP/calls"
while read -r name drivers; do
	if [ -e "$RLIS_TOP/cut-$name" ]; then exit 1; fi
	echo "$name/$drivers/one ok"
	if [ -e "$RLIS_TOP/fail-$name" ]; then echo "$name/$drivers/two FAIL it did"; echo '    | a line of its log'; else echo "$name/$drivers/two ok"; fi
done <<<"$chosen"
END
cp "$top/scripts/guest" "$top/scripts/loop"
sed -i 's,tests/guest,tests/loop,; s/^echo "guest.*//; $ a echo "2 passed, 0 failed"' "$top/scripts/loop"
chmod +x "$top"/scripts/{guest,loop}
for name in alpha beta gamma; do
	printf '#: what %s\n#: drivers c rust\n' "$name" >"$top/tests/guest/$name.sh"
done
printf '#: what a soak\n#: drivers rust\n' >"$top/tests/loop/soak.sh"
: >"$top/rust/proto/fuzz/fuzz_targets/ring.rs"
printf '%s\n' 'fast * *' '# a remark' 'debug rust beta' >"$top/tests/matrix"
printf '%s\n' build /calls /out /errors '/fail-*' '/cut-*' /cache >"$top/.gitignore"
echo text >"$top/Documentation/page.md"
git_here() { git -C "$top" -c user.name=test -c user.email=test@localhost "$@"; }
git_here init -q
git_here add .
git_here commit -qm first

# ran: what the runners were called for since the last time, sorted.
ran() { sort "$calls" 2>/dev/null | grep -v -e '^modules' -e '^test-host'; rm -f "$calls"; }
# all ARGUMENT...: runs test-all there; its output is in $top/out.
all() { "$top/scripts/test-all" "$@" >"$top/out" 2>"$top/errors"; }
# check NAME COMMAND...
check() { if "${@:2}"; then result "resume/$1" ok; else result "resume/$1" FAIL "$(tail -n 3 "$top/out" "$top/errors" | tr '\n' ' ')"; fi; }
ends() { [ "$(tail -n 1 "$top/out")" = "$1" ]; }
has() { grep -qxE "$1" "$top/out"; }
calls_are() { local got; got=$(ran); [ "$got" = "$*" ] || { echo "called: $got" >>"$top/errors"; false; }; }

touch "$top/fail-beta" "$top/cut-gamma"
rc=0
all || rc=$?
check failure_is_told test $rc = 1
check failed_check_is_shown grep -q '^beta/rust/two FAIL it did' "$top/out"
check each_kernel_has_its_run grep -q '^guest debug rust beta' "$calls"
rm -f "$calls" "$top/fail-beta" "$top/cut-gamma"
all list
check what_passed_is_kept has 'guest/fast/c/alpha +passed .*2 passed, 0 failed.*'
check what_failed_is_known has 'guest/fast/rust/beta +failed .*1 passed, 1 failed.*'
check what_was_cut_short_has_not_passed has 'guest/fast/c/gamma +failed .*'
all
check goes_on_with_the_rest ends "$((15 * 2 + 2 + 2 + 2 + 2 + 7 * 2)) passed, 0 failed"
check runs_only_the_rest calls_are 'guest debug rust beta
guest fast c beta gamma
guest fast rust beta gamma'
all
check nothing_is_run_twice calls_are ''
PART='guest/debug/* kunit' AGAIN=1 all
check a_choice_is_run_again calls_are 'guest debug rust beta
kunit '
# What a clone elsewhere knows: what was recorded.
all record
git_here add Documentation
git_here commit -qm 'results'
check recorded test "$(grep -vc '^#' "$top/Documentation/test-results.tsv")" = 26
check record_has_its_licence_line grep -qx '# SPDX-License-Identifier: GPL-2.0' "$top/Documentation/test-results.tsv"
mv "$top/cache" "$top/cache-away"
all list
check recorded_is_not_run_again test "$(grep -c ' passed ' "$top/out")" = 26
rm -rf "$top/cache"
mv "$top/cache-away" "$top/cache"
echo more >>"$top/Documentation/page.md"
check changes_are_not_recorded test "$(all record; echo $?)" != 0
all
check documents_ask_for_the_gates_alone calls_are 'check-style 
style.sh '
echo '# more' >>"$top/tests/guest/alpha.sh"
all list
check changed_scenario_is_to_be_run has 'guest/fast/c/alpha +missing *'
check other_scenarios_are_not has 'guest/fast/c/beta +passed .*'
echo more >"$top/drivers/driver.rs"
git_here add drivers
all list
check changed_driver_is_another_state has 'guest/fast/rust/beta +missing *'
check it_is_none_of_the_c_drivers has 'guest/fast/c/beta +passed .*'
check nor_of_a_parser has 'fuzz/ring +passed .*'
echo more >"$top/tests/host/host.rs"
git_here add tests/host
all list
check changed_host_is_another_state has 'guest/fast/c/beta +missing *'
git_here add .
git_here commit -qm more
all record
check older_results_stay_on_record grep -q '^guest/fast/rust/alpha' "$top/Documentation/test-results.tsv"
all table
check table_says_what_was_not_run has '\| fast \| c \| 3 \| 0 \| - \| 0 \| 0 \|'
PART=nonsense all list || true
check unknown_part_is_refused grep -q "no part fits PART='nonsense'" "$top/errors"
results_summary
