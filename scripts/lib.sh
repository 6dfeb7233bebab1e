# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for the scripts that read this file
#
# What every script here shares: where things lie, how a cache entry is made whole or not at all,
# and how a long step shows its progress and names its log when it fails.

set -euo pipefail

# Messages, the order of sort and what a character is, the same whatever the user's language.
export LC_ALL=C.UTF-8

RLIS_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RLIS_CACHE=${RLIS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/rlis}
RLIS_LOGS=$RLIS_CACHE/logs
RLIS_JOBS=${RLIS_JOBS:-$(nproc)}

# The Debian release that the toolchain and the guest's user space come from.
RLIS_SUITE=${RLIS_SUITE:-trixie}

say()  { printf '%s\n' "rlis: $*" >&2; }
fail() { printf '%s\n' "rlis: error: $*" >&2; exit 1; }

# Prints a short hash of standard input; cache entries are named by it.
hash_inputs() { sha256sum | cut -c1-12; }

need_root() {
	[ "$(id -u)" = 0 ] || fail "$1 needs root (it makes a chroot and bind mounts). Run it with sudo, or as root in a container or VM."
}

# Prints the Debian mirror that sysroots are made from: RLIS_MIRROR, else the one this machine's apt uses. Remembered
# in the cache, whose entries are named by it.
debian_mirror() {
	local remembered=$RLIS_CACHE/mirror found
	if [ -n "${RLIS_MIRROR:-}" ]; then
		printf '%s\n' "${RLIS_MIRROR%/}"
		return
	fi
	if [ ! -s "$remembered" ]; then
		mkdir -p "$RLIS_CACHE"
		found=$(configured_mirror)
		# apt knows its targets only after it has fetched their lists.
		if [ -z "$found" ] && [ "$(id -u)" = 0 ]; then
			apt-get update >/dev/null 2>&1 || true
			found=$(configured_mirror)
		fi
		[ -n "$found" ] || fail "apt on this machine names no Debian mirror. Name one: RLIS_MIRROR=http://.../debian"
		printf '%s\n' "$found" >"$remembered"
	fi
	cat "$remembered"
}
# shellcheck disable=SC2016 # apt's own format, not the shell's
configured_mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
		sed 's,/*$,,' | grep '/debian$' | head -n 1 || true
}

# unpack_debs DIR SUITE PACKAGE...: unpacks packages of a Debian release into DIR/tree. The rig's own apt fetches them,
# with its keys and its way to the mirror, but lists of its own.
unpack_debs() {
	local dir=$1 suite=$2
	shift 2
	mkdir -p "$dir"/apt/{lists/partial,cache/archives/partial}
	echo "deb $(debian_mirror) $suite main" >"$dir/apt/sources.list"
	# shellcheck disable=SC2016 # for the shell in there
	RLIS_BIND=$dir "$RLIS_TOP/scripts/in-sysroot" rig -C "$dir/apt" sh -euc '
		dir=$1; shift
		options="-o Dir::Etc::SourceList=$dir/sources.list -o Dir::Etc::SourceParts=/dev/null
			-o Dir::State::Lists=$dir/lists -o Dir::Cache=$dir/cache -o APT::Sandbox::User=root"
		apt-get $options update
		apt-get $options download "$@"
		for deb in *.deb; do dpkg-deb -x "$deb" ../tree; done' sh "$dir/apt" "$@"
	rm -rf "$dir/apt"
}

# whole_sources FOLDER: prints where the sources lie with the portable Rust tree beside them: a tarball's here, a checkout's are
# unpacked in FOLDER from a tarball that is made.
whole_sources() {
	if [ -e "$RLIS_TOP/portable/VERSION" ]; then
		printf '%s\n' "$RLIS_TOP"
		return
	fi
	local tarball
	tarball=$("$RLIS_TOP/scripts/dist")
	tar -C "$1" -xf "$tarball"
	printf '%s\n' "$1/$(basename "$tarball" .tar.xz)"
}

# need_command COMMAND PACKAGE: makes sure that COMMAND exists, installing Debian's PACKAGE if we may.
need_command() {
	command -v "$1" >/dev/null 2>&1 && return
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		say "installing Debian package $2 (for $1)"
		local log=$RLIS_LOGS/apt-$2.log
		mkdir -p "$RLIS_LOGS"
		{ DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" ||
			{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"; }
		} >"$log" 2>&1 || fail "could not install $2; log: $log. Install it by hand and try again."
		return
	fi
	fail "command '$1' is missing. Install it: apt-get install $2"
}

# run_logged NAME WHAT COMMAND...: runs a long step with its output in a log, showing the time that
# passed and the last line of the log while it runs. Fails with the log's tail and its name.
run_logged() {
	local step=$1 what=$2 start=$SECONDS pid rc=0
	shift 2
	local log=$RLIS_LOGS/$step.log
	mkdir -p "$RLIS_LOGS"
	say "$what (log: $log)"
	# A process group of its own: an interrupted run must not leave children at work in a half-made cache entry.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	# shellcheck disable=SC2064 # the process is this one
	trap "kill -TERM -- -$pid 2>/dev/null; wait $pid 2>/dev/null; exit 130" INT TERM
	local shown=$SECONDS
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ -t 2 ]; then
			printf '\r\033[K  %4ds  %.90s' $((SECONDS - start)) "$(tail -n 1 "$log" 2>/dev/null | tr -d '\r\033')" >&2
		elif [ $((SECONDS - shown)) -ge 30 ]; then
			shown=$SECONDS
			printf '  %4ds  %.100s\n' $((SECONDS - start)) "$(tail -n 1 "$log" 2>/dev/null | tr -d '\r\033')" >&2
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM
	[ -t 2 ] && printf '\r\033[K' >&2
	if [ "$rc" != 0 ]; then
		tail -n 25 "$log" | sed 's/^/  | /' >&2
		fail "$what failed (exit $rc) after $((SECONDS - start)) s. Whole log: $log. Mend the cause and run the same command again; finished steps are kept."
	fi
	say "$what: done in $((SECONDS - start)) s"
}

# cache_entry NAME KEY BUILDER: prints the folder of a cache entry, building it if it is not there.
# BUILDER is called with an empty folder to fill; the folder takes its final name only when BUILDER
# succeeded, so an interrupted build leaves nothing that a later run could take for whole.
# Builds of one entry exclude each other by a lock.
cache_entry() {
	local kind=$1 key=$2 builder=$3
	local entry=$RLIS_CACHE/$kind-$key
	if [ -e "$entry/.complete" ]; then
		printf '%s\n' "$entry"
		return
	fi
	mkdir -p "$RLIS_CACHE"
	local lock
	exec {lock}>"$RLIS_CACHE/.lock-$kind-$key"
	flock -n "$lock" || { say "waiting for another run that builds $kind"; flock "$lock"; }
	if [ ! -e "$entry/.complete" ]; then
		rm -rf --one-file-system "$entry"
		mkdir -p "$entry"
		# shellcheck disable=SC2064 # the entry is this one
		trap "rm -rf --one-file-system '$entry'" EXIT
		"$builder" "$entry"
		touch "$entry/.complete"
		trap - EXIT
	fi
	exec {lock}>&-
	printf '%s\n' "$entry"
}

# cargo_target: prints cargo's folder for this checkout. Cargo tells crates of two checkouts apart by the times of their
# files alone, so that one folder for all would give one checkout what another has built.
cargo_target() {
	local target
	target=$RLIS_CACHE/target-$(hash_inputs <<<"$RLIS_TOP")
	mkdir -p "$target"
	printf '%s\n' "$target"
}

# What the runners of scenarios share (scripts/guest, scripts/loop, scripts/bench).

# header FILE KEY [DEFAULT]: the value of a scenario's '#: key value' line.
header() {
	local found
	found=$(sed -n "s/^#: $2  *//p" "$1")
	printf '%s\n' "${found:-${3:-}}"
}

# choose_scenarios FOLDER [SCENARIO...]: the scenarios of a folder that fit the names and the environment (DRIVERS, HOST,
# ALL and the runner's $kernel), 'SCENARIO DRIVERS' a line. A few choices of drivers are enough for every day; naming a
# scenario, DRIVERS= or ALL=1 runs them all.
choose_scenarios() {
	local folder=$1 file name wanted choices drivers
	shift
	for file in "$folder"/*.sh; do
		name=$(basename "$file" .sh)
		# What scenarios read is no scenario.
		[ -n "$(header "$file" what)" ] || continue
		if [ $# -gt 0 ]; then
			case " $* " in *" $name "*) ;; *) continue ;; esac
		elif [ "$(header "$file" when)" = all ] && [ -z "${ALL:-}" ]; then
			continue
		fi
		[ -n "${HOST:-}" ] && [ "$(header "$file" host)" != "$HOST" ] && continue
		wanted=$(header "$file" kernels)
		if [ -n "$wanted" ]; then case " $wanted " in *" ${kernel:-} "*) ;; *) continue ;; esac; fi
		choices=$(header "$file" drivers)
		if [ $# = 0 ] && [ -z "${ALL:-}${DRIVERS:-}" ]; then choices=$(header "$file" quick "$choices"); fi
		for drivers in ${choices/none/}; do
			[ -n "${DRIVERS:-}" ] && [ "$drivers" != "$DRIVERS" ] && continue
			echo "$name $drivers"
		done
	done
}
# chosen_or_fail CHOSEN FOLDER [SCENARIO...]: with LIST=1 prints what is chosen and ends; ends, too, if nothing is.
chosen_or_fail() {
	local chosen=$1 folder=$2
	shift 2
	if [ -n "${LIST:-}" ]; then
		[ -z "$chosen" ] || printf '%s\n' "$chosen"
		exit
	fi
	[ -n "$chosen" ] || fail "no scenario fits SCENARIO='$*' HOST='${HOST:-}' DRIVERS='${DRIVERS:-}' KERNEL='${KERNEL:-}'. There are: $(cd "$folder" && grep -l '^#: what' -- *.sh | sed 's/\.sh$//' | paste -sd' ')"
}

# archive_tree TREE ARCHIVE: packs TREE, owned by root, as an initramfs.
archive_tree() {
	RLIS_BIND=$(dirname "$2") "$RLIS_TOP/scripts/in-sysroot" rig -C "$1" sh -euc \
		'find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1 >"$1"' sh "$2"
}

# Results are printed as `name ok|FAIL detail` and counted; results_summary ends a run with their number.
RLIS_PASSED=0
RLIS_FAILED=0
result() {
	printf '%s\n' "$*"
	case $2 in ok) RLIS_PASSED=$((RLIS_PASSED + 1)) ;; *) RLIS_FAILED=$((RLIS_FAILED + 1)) ;; esac
}
results_summary() {
	printf '%d passed, %d failed\n' "$RLIS_PASSED" "$RLIS_FAILED"
	[ "$RLIS_FAILED" = 0 ]
}

# scenario_checks PREFIX LOG: the results in a log.
scenario_checks() {
	local name state detail
	while read -r name state detail; do
		result "$1/$name" "$state" "$detail"
	done < <(sed -nE 's/^.*rlis-check: ([^ ]+) (ok|FAIL) ?(.*)$/\1 \2 \3/p' "$2")
}

# scenario_results PREFIX LOG WHY [EXPECTED]: the results that a guest left in its console's log, and two more: that it
# came to its end (WHY says what else became of it), and that its kernel did not complain of anything but EXPECTED, a
# pattern of lines.
scenario_results() {
	local prefix=$1 log=$2 why=$3 expected=${4:-} found
	scenario_checks "$prefix" "$log"
	if grep -qE 'rlis-end: 0$' "$log"; then
		result "$prefix/reached_its_end" ok
	else
		result "$prefix/reached_its_end" FAIL "($why) last lines of $log:"
		tail -n 15 "$log" | sed 's/^/    | /'
	fi
	if found=$("$RLIS_TOP/scripts/kernel-complaints" "$log" "$expected"); then
		result "$prefix/kernel_log_clean" FAIL "$found (see $log)"
	else
		result "$prefix/kernel_log_clean" ok
	fi
}

# patience: how many times as long as alone a program takes here now, rounded up, 1 to 10. Limits of time are multiplied
# by it: they are there to end what hangs, and must not judge how busy the machine is.
patience() {
	local spent TIMEFORMAT='%R %U %S'
	spent=$({ time awk 'BEGIN { for (i = 0; i < 5000000; i++) n += i }'; } 2>&1)
	awk '{ n = $1 / ($2 + $3 + 0.01); n = n == int(n) ? n : int(n) + 1; print (n < 1 ? 1 : n > 10 ? 10 : n) }' <<<"$spent"
}

# bench_tree DIR MODULE...: makes DIR/tree, a guest that has these modules and runs the script on standard input, which
# can call what tests/guest/lib.sh and tests/loop/loop.sh have.
bench_tree() {
	local tree=$1/tree
	mkdir -p "$tree/scenario" "$tree/modules"
	cp "${@:2}" "$tree/modules/"
	{ echo ". /scenario/lib.sh; . /scenario/loop.sh"; cat; echo "exit 0"; } >"$tree/scenario/run"
	cp "$RLIS_TOP/tests/guest/lib.sh" "$RLIS_TOP/tests/loop/loop.sh" "$tree/scenario/"
	install -m 755 "$RLIS_TOP/tests/guest/init" "$tree/init"
}

# bench_guest DIR CPUS KDIR BASE [OPTION...]: boots DIR/tree on top of the initramfs BASE in plain QEMU with these options;
# DIR/log has what it printed. One thread runs all CPUs in turn, and time passes by instructions, so that figures do not
# depend on this machine. BENCH_CPU is the processor, BENCH_SECONDS how long it may take.
bench_guest() {
	local dir=$1
	archive_tree "$dir/tree" "$dir/overlay.cpio.gz"
	rm -rf "$dir/tree"
	cat "$4" "$dir/overlay.cpio.gz" >"$dir/initrd"
	"$RLIS_TOP/scripts/in-sysroot" rig -C "$dir" timeout "${BENCH_SECONDS:-600}" qemu-system-x86_64 \
		-accel tcg,thread=single -icount shift=0,sleep=off -cpu "${BENCH_CPU:-max}" -smp "$2" -m 512M \
		-nographic -no-reboot -nodefaults -serial mon:stdio -kernel "$3/arch/x86/boot/bzImage" \
		-initrd "$dir/initrd" -append "console=ttyS0 panic=-1 no5lvl tsc=reliable nokaslr" "${@:5}" </dev/null >"$dir/log" 2>&1 || true
	rm -f "$dir/initrd" "$dir/overlay.cpio.gz"
	if ! grep -q 'rlis-end: 0' "$dir/log" || grep -q 'rlis-check:.*FAIL' "$dir/log"; then
		tail -n 15 "$dir/log" | sed 's/^/  | /' >&2
		fail "the measurement $(basename "$dir") did not come to its end. Whole log: $dir/log"
	fi
}

# measure_guest DIR CPUS KDIR BASE PREFIX [OPTION...]: as bench_guest, and appends the lines 'PREFIX NAME FIGURE' of the figures that
# the guest printed to DIR/../results.
measure_guest() {
	bench_guest "${@:1:4}" "${@:6}"
	tr -d '\r' <"$1/log" | sed -nE "s/^.*rlis-bench: ([^ ]+) ([0-9]+)\$/$5 \1 \2/p" >>"$1/../results"
}
