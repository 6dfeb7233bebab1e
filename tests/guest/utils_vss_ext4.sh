# SPDX-License-Identifier: GPL-2.0
#: what     A mounted ext4 file system with a writer stands still between freeze and thaw
#: host     rlis
#: drivers  mixed c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc ptp scsi_transport_fc
#: programs hv_vss_daemon mke2fs
#: args     --scsi 0 --disk 0:0:0,size=64M
#: cpus     1
#: seconds  150

writer_on_ext4
check freeze host vss freeze
check frozen stands
check thaw host vss thaw
check thawed wait_for 10 grows

if ! c_drivers; then
	# The daemon dies with the file system frozen, and nobody asks for a thaw: the next daemon does it first of all.
	check freeze_again host vss freeze
	kill -KILL $daemon
	check frozen_again stands
	hv_vss_daemon -n & daemon=$!
	check thawed_by_the_next_daemon wait_for 15 grows
	# The same when the host withdraws the service instead of asking for a thaw.
	check freeze_third host vss freeze
	check rescind host rescind vss
	check thawed_by_rescind wait_for 15 grows
fi
writer_ends
check no_violations equal '' "$(host violations)"
