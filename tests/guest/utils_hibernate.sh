# SPDX-License-Identifier: GPL-2.0
#: what     The system is written to disk and read back with all services at work
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc ptp scsi_transport_fc
#: programs hv_kvp_daemon hv_vss_daemon
#: args     --scsi 0 --disk 0:0:0,size=512M
#: cpus     1
#: memory   256M
#: seconds  180

check bus_loads load hv_vmbus
check disk_driver_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda
check utils_load load hv_utils
check node wait_for 10 test -c /dev/vmbus/hv_kvp
hv_kvp_daemon -n &
hv_vss_daemon -n &
sleep 4
check kvp_before host kvp-set external before 1
check vss_before host vss freeze
check vss_before_thaw host vss thaw

# Writes the image, restores from it at once, and goes on.
echo test_resume >/sys/power/disk
check round_trip hibernate
check host_here wait_for 20 host ping
for device in heartbeat shutdown timesync kvp vss; do
	check "open_$device" wait_for 20 host_says "^$device .* open" list
done
answered() { host heartbeat | sed -n 's/answered=\([0-9]*\).*/\1/p'; }
progress() { was=$(answered); sleep 5; [ "$(answered)" -gt "$was" ]; }
check heartbeat_after wait_for 20 progress
check kvp_after wait_for 20 host_says '^before=1$' kvp-list external
check vss_after wait_for 20 host vss freeze
check vss_after_thaw host vss thaw
check time_after host time 0
check no_violations equal '' "$(host violations)"
