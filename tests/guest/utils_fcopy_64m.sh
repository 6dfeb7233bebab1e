# SPDX-License-Identifier: GPL-2.0
#: what     A file of 64 MiB copied from the host
#: host     rlis
#: drivers  mixed rust
#: modules  hv_vmbus hv_utils ptp
#: programs hv_fcopy_daemon
#: cpus     1
#: memory   768M
#: seconds  900
#: when     all

# 10923 fragments of 6 KiB, each a round trip from the host to the daemon and back: about 5 ms where both the guest and
# its hypervisor are emulated, a minute in all, which is too long for every day.
load hv_vmbus
load hv_utils
wait_for 10 test -c /dev/vmbus/hv_fcopy
hv_fcopy_daemon -n &
sleep 3
# The answer takes longer than `host` waits for one.
stty -F /dev/ttyS1 raw -echo
copy() {
	exec 7<>/dev/ttyS1
	echo 'fcopy pattern:67108864 /tmp large' >&7
	IFS= read -t 800 -r answer <&7
	exec 7>&-
	equal ok "$answer"
}
check copied copy
check content equal 98dc891b284e4d84ac25b0c0a24fdbe39a7f0dbd643ad5e8aa06e02fc6258254 "$(sha256sum /tmp/large | cut -d ' ' -f 1)"
