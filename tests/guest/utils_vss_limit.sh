# SPDX-License-Identifier: GPL-2.0
#: what     File systems that the host has frozen and forgotten are thawed without it, and it is told of that
#: host     rlis
#: drivers  mixed rust
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc ptp scsi_transport_fc
#: programs hv_vss_daemon mke2fs
#: args     --scsi 0 --disk 0:0:0,size=64M
#: cpus     1
#: seconds  400

writer_on_ext4
limit=/sys/module/hv_utils/parameters/vss_freeze_limit
check limit_is_15_minutes equal 900 "$(cat $limit)"
echo 20 >$limit

# A freeze that the host ends in time is not touched.
check freeze host vss freeze
check frozen stands
check thaw host vss thaw
check thawed wait_for 10 grows
sleep 25
check nothing_was_told sh -c '! dmesg | grep -q "has not thawed"'

# One that it forgets.
frozen=$(uptime)
check freeze_and_forget host vss freeze
check frozen_again stands
# Other requests do not make it last longer.
check asked_meanwhile host vss hot-backup
check thawed_without_host wait_for 60 grows
check after_20_seconds between 18 45 $(($(uptime) - frozen))
check told logged 'VSS IC: the host has not thawed the file systems'
refused() { ! said=$(host vss thaw) && echo "$said" | grep -q 80004005; }
check host_learns_of_it refused
check next_freeze host vss freeze
check frozen_third stands
check next_thaw host vss thaw
check thawed_third wait_for 10 grows

# The limit passes with no daemon there: the next one thaws.
check freeze_fourth host vss freeze
kill -KILL $daemon
sleep 25
check still_frozen stands
hv_vss_daemon -n & daemon=$!
check thawed_by_the_next_daemon wait_for 15 grows
check host_learns_of_that refused

# No limit.
echo 0 >$limit
check freeze_without_limit host vss freeze
sleep 30
check frozen_without_limit stands
check thaw_at_last host vss thaw
check thawed_at_last wait_for 10 grows
writer_ends
check no_violations equal '' "$(host violations)"
