#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Each gate of scripts/check-style finds the mistake that it is there for: in a copy of the checkout one is planted
# after the other. ALL=1 also plants those for shellcheck, checkpatch and clippy, which take minutes.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# Inside build/, so that sysroots see it; a git tree of its own, since the gates ask git for the project's files.
copy=$RLIS_TOP/build/style/copy
rm -rf "$copy"
mkdir -p "$copy"
trap 'rm -rf "$copy"' EXIT
git -C "$RLIS_TOP" ls-files -co --exclude-standard -z | (cd "$RLIS_TOP" && tar --null --ignore-failed-read -cf - -T -) | tar -xf - -C "$copy"
git -C "$copy" init -q
git -C "$copy" add -A

# plant GATE FILE PATTERN: what is on standard input is put behind FILE (made if it is not there); the gate then has to
# fail and to print a line that matches PATTERN, and to pass again once it is gone. Not behind a pipe: there a result is not counted.
plant() {
	local gate=$1 file=$copy/$2 pattern=$3 output had=
	[ -e "$file" ] && had=1 && cp -p "$file" "$copy/.saved"
	mkdir -p "$(dirname "$file")"
	cat >>"$file"
	if output=$("$copy/scripts/check-style" "$gate" 2>&1); then
		result "style/$gate" FAIL "a mistake in $2 was not noticed"
	elif ! grep -qE "$pattern" <<<"$output"; then
		result "style/$gate" FAIL "no line matches '$pattern' in: $(head -n 3 <<<"$output" | tr '\n' ' ')"
	else
		result "style/$gate" ok
	fi
	if [ -n "$had" ]; then mv "$copy/.saved" "$file"; else rm -f "$file"; fi
}

plant rustfmt rust/proto/error.rs error.rs <<<'fn  planted( ) {}'
plant spdx scripts/planted 'planted: no SPDX' <<<'#!/bin/sh'
plant unsafe_only_where_allowed drivers/hv/utils/kvp.rs 'kvp.rs' <<<'fn planted() { unsafe { core::hint::unreachable_unchecked() } }'
plant unsafe_only_where_allowed rust/proto/ring.rs 'ring.rs' <<<'unsafe impl Send for Planted {}'
plant unsafe_only_where_allowed tests/host/src/ic/kvp.rs 'kvp.rs' <<<'fn planted() { unsafe { core::hint::unreachable_unchecked() } }'
plant safety_reasons rust/hv/work.rs 'work.rs:.*without a SAFETY reason' < <(
	seq -f '// Line %g.' 20
	echo 'fn planted() { unsafe { core::hint::unreachable_unchecked() } }'
)
plant nothing_forgotten_in_drivers drivers/hv/utils/kvp.rs 'kvp.rs' <<<'fn planted() { core::mem::forget(core::mem::ManuallyDrop::new(1)); }'
plant no_circles_of_modules rust/proto/guid.rs 'rust/proto: a circle of modules: guid vmbus' <<<'use crate::vmbus::version::Version as Planted;'
plant no_circles_of_modules rust/hv/vmbus/channel/params.rs 'rust/hv/vmbus/channel: a circle of modules: open params' <<<'use super::OpenChannel as Planted;'
plant no_circles_of_modules scripts/module_circles.known 'drivers/scsi/storvsc: control is in no circle' <<<'2026-11-27 drivers/scsi/storvsc: control'
plant no_long_files rust/proto/error.rs 'error.rs: [0-9]+ lines' < <(seq -f '// Line %g.' 600)
plant unsafe_in_the_bus rust/hv/bus/planted.rs 'times unsafe' < <(seq -f 'unsafe fn planted_%g() {}' 20)
plant links_in_docs README.md 'no such file: Documentation/planted.md' <<<'[planted](Documentation/planted.md)'
plant links_in_docs README.md 'no such heading: Documentation/testing.md#planted' <<<'[planted](Documentation/testing.md#planted)'
plant names_in_docs README.md 'make has no target planted' <<<'Type `make planted`.'
plant names_in_docs README.md 'no such file: scripts/planted' <<<'Type `scripts/planted`.'
plant messages_in_docs Documentation/troubleshooting.md 'no such message: planted' <<<$'\n| message | meaning |\n| `hv_vmbus: planted …` | |'
plant samples_in_docs samples/rust/ptp_clock.rs 'ptp_clock.rs: < // planted' <<<$'// --8<--\n// planted'
plant samples_in_docs samples/rust/planted.rs 'planted.rs: nothing is marked' <<<'// planted'
plant samples_in_docs Documentation/rust-abstractions.md 'shows something else' <<<$'```rust\n```'
plant robustness_in_docs tests/guest/net_vf.sh 'planted' <<<'#: c:net-slow-switch planted'
plant example_in_docs tests/guest/storage_hot_add.sh 'planted' <<<'check planted true'
plant sysfs_and_parameters Documentation/sysfs-and-parameters.md 'planted' <<<'| `planted` | 0444 | |'
if [ -n "${ALL:-}" ]; then
	# shellcheck disable=SC2016 # a mistake in another file
	plant shellcheck scripts/kernel-source 'SC2068' <<<'ls $@'
	# shellcheck disable=SC2016 # a mistake in another file
	plant shellcheck tests/guest/balloon.sh 'balloon' <<<'if [ $# -gt 0 ]; then echo "$((1 +))"; fi'
	plant checkpatch rust/sys/helpers.c 'helpers.c' <<<'int planted( int a ){return a ;}'
	plant clippy_host rust/proto/error.rs 'needless_return|unused' <<<'fn planted() -> u8 { return 1; }'
	plant docs_host rust/proto/error.rs 'planted' <<<'/// See [`planted`].
pub fn undocumented() {}'
	plant clippy_kernel drivers/hv/utils/heartbeat.rs 'never used|dead_code|needless_return' <<<'fn planted() -> u8 { return 1; }'
fi
# Without a mistake all of them pass.
if output=$("$copy/scripts/check-style" rustfmt spdx unsafe_only_where_allowed safety_reasons nothing_forgotten_in_drivers no_circles_of_modules no_long_files links_in_docs names_in_docs 2>&1); then
	result style/none_without_mistakes ok
else
	result style/none_without_mistakes FAIL "$(grep -m 3 -E 'FAIL|\|' <<<"$output" | tr '\n' ' ')"
fi
results_summary
