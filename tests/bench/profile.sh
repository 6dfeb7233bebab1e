# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the guests of the benchmarks share. For scripts/bench-profile rows other than $ROW are left out, and it has $TIMES times as
# many operations.

# wanted NAME: whether the row is to be measured.
wanted() { [ -z "${ROW:-}" ] || [ "$ROW" = "$1" ]; }

# operations COUNT: how many there are, instead of COUNT; notes them for the profile.
operations() {
	set -- $(($1 * ${TIMES:-1}))
	[ -z "${ROW:-}" ] || echo "rlis-profile: operations $1" >/dev/kmsg
	echo "$1"
}

# figures NAME [FILE]: prints what the last load of frames, request for pages or offer took, or the one that FILE has.
figures() {
	sed "s/[a-z]\+ //g" "${2:-$bus/netload}" | while read -r cycles host frames signals rest; do
		echo "rlis-bench: $1 $(((cycles - host) * 10 / frames))" >/dev/kmsg
		echo "rlis-bench: $1.host $((host * 10 / frames))" >/dev/kmsg
		echo "rlis-bench: $1.signals $((signals * 100 / frames))" >/dev/kmsg
		note "$1: $rest"
	done
}

# placed MODULE...: notes where the code of modules lies.
placed() {
	[ -n "${ROW:-}" ] || return 0
	for module; do
		for section in /sys/module/"$module"/sections/.*text*; do
			echo "rlis-profile: section $module $(basename "$section") $(cat "$section")" >/dev/kmsg
		done
	done
}
