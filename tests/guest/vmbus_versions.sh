# SPDX-License-Identifier: GPL-2.0
#: what     The bus connects at each version that the host allows, lets go of it, and connects again
#: host     rlis
#: drivers  c rustbus
#: quick    rustbus
#: modules  hv_vmbus hv_utils
#: cpus     1
#: args     --vmbus-max 5.3
#: seconds  240

# The list is the newest first, as the driver tries them; the host was started with 5.3 as its newest.
connect() {
	load hv_vmbus max_version="$1" && load hv_utils
}
let_go() {
	unload hv_utils && unload hv_vmbus
}
code() { echo $(($1 * 65536 + $2)); }

for version in 5.3 5.2 5.1 5.0 4.1 4.0; do
	check "connects_$version" connect "$(code "${version%.*}" "${version#*.}")"
	check "version_$version" host_says "^$version\$" version
	check "heartbeat_$version" wait_for 10 host_says 'answered=[1-9]' heartbeat
	check "lets_go_$version" let_go
done
check host_caps_the_version load hv_vmbus
check version_capped host_says '^5\.3$' version
check devices_offered_again test "$(ls /sys/bus/vmbus/devices | wc -l)" = 6
