# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What scripts/bench-profile has in the guest: rows other than $ROW are left out, and it has $TIMES times as many operations.

# wanted NAME: whether the row is to be measured.
wanted() { [ -z "${ROW:-}" ] || [ "$ROW" = "$1" ]; }

# operations COUNT: how many there are, instead of COUNT; notes them for the profile.
operations() {
	set -- $(($1 * ${TIMES:-1}))
	[ -z "${ROW:-}" ] || echo "rlis-profile: operations $1" >/dev/kmsg
	echo "$1"
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
