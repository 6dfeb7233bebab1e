# SPDX-License-Identifier: GPL-2.0
#: what     Long time-outs as they are: none for a KVP daemon to come, 15 minutes for FREEZE, 10 minutes for a time sample
#: host     rlis
#: drivers  mixed rust
#: when     all
#: modules  hv_vmbus hv_utils hv_storvsc ptp scsi_transport_fc
#: programs hv_vss_daemon hv_kvp_daemon mke2fs perl
#: args     --scsi 0 --disk 0:0:0,size=64M
#: cpus     1
#: seconds  1300

check bus_loads load hv_vmbus
check disk_driver_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
check file_system /usr/bin/mke2fs -q -t ext4 /dev/sda
check mounted mount -t ext4 /dev/sda /mnt

check utils_load load hv_utils
check time_negotiated wait_for 10 logged 'TimeSync IC version 4\.0'
check samples_off host time-samples off
check told_the_time host time 0
sampled=$(uptime)
ptp=/dev/$(basename "$(dirname "$(grep -l '^hyperv$' /sys/class/ptp/*/clock_name | head -n 1)")")
ptp_works() { time=$(ptp_time "$ptp"); [ "${time%.*}" -gt 1700000000 ] || { echo "got $time"; false; }; }
check ptp_works ptp_works

# Nobody opens the KVP device: the host's negotiation waits, for longer than the 55 seconds of older drivers.
sleep 70
check kvp_negotiation_waits sh -c '! dmesg | grep -q "KVP IC version"'
hv_kvp_daemon -n & kvp_daemon=$!
check kvp_negotiated wait_for 10 logged 'KVP IC version 4\.0'
check kvp_works wait_for 10 host kvp-set external key value
kill -KILL $kvp_daemon
wait $kvp_daemon
refused() { ! said=$(host kvp-get external key) && echo "$said" | grep -q 80004005; }
asked=$(uptime)
check kvp_refused_without_daemon refused
check kvp_refused_at_once between 0 5 $(($(uptime) - asked))

# The daemon reads FREEZE and does not answer.
hv_vss_daemon -n & daemon=$!
sleep 3
check vss_works host vss hot-backup
while :; do echo line >>/mnt/log; sleep 0.5; done &
writer=$!
kill -STOP $daemon
stty -F /dev/ttyS1 raw -echo
exec 7<>/dev/ttyS1
asked=$(uptime)
echo 'vss freeze' >&7
IFS= read -t 1000 -r answer <&7
exec 7>&-
check freeze_fails sh -c "case '$answer' in error*80004005*) ;; *) echo '$answer'; exit 1 ;; esac"
check freeze_after_15_minutes between 899 930 $(($(uptime) - asked))

# When it wakes up it freezes after all, and has to thaw without being asked.
kill -CONT $daemon
check thawed wait_for 15 grows
sleep 3
check still_thawed grows
check vss_works_again wait_for 10 host vss hot-backup
check freeze_again host vss freeze
check thaw_again host vss thaw

check sample_is_old between 600 1250 $(($(uptime) - sampled))
check ptp_is_stale equal 116 "$(ptp_time "$ptp")"
check told_the_time_again host time 0
check ptp_works_again ptp_works
kill $writer
kill -KILL $daemon
wait
check unmounted umount /mnt
check no_violations equal '' "$(host violations)"
