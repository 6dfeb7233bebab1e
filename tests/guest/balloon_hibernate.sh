# SPDX-License-Identifier: GPL-2.0
#: what     A machine that may hibernate gives and adds no memory, and hibernates
#: host     rlis
#: drivers  mixed rust
#: quick    none
#: modules  hv_vmbus hv_balloon hv_storvsc scsi_transport_fc
#: args     --no-ic --hibernation --memory-device --hot-add 1G --scsi 0 --disk 0:0:0,size=512M
#: cpus     1
#: memory   256M
#: seconds  300

check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check disk_there wait_for 30 test -b /dev/sda
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda
check balloon_loads load hv_balloon pressure_report_delay=0
# Hosts want to see both.
both() { host_says 'ready=1 balloon=1 hot-add=1' memory; }
check agreed wait_for 20 both
check gives_nothing host_says '^pages=0 messages=1' balloon 4M
check it_says_so logged 'Ignore balloon-up request!'
check adds_nothing host_says '^pages=0 result=1' hot-add 128M
check it_says_so_too logged 'Ignore hot-add request!'
reports() { host memory | sed 's/.* reports=\([0-9]*\) .*/\1/'; }
told() { [ "$(reports)" -gt 0 ]; }
check reports wait_for 20 told
echo test_resume >/sys/power/disk
check round_trip hibernate
check agreed_after wait_for 20 both
was=$(reports)
goes_on() { [ "$(reports)" -gt "$was" ]; }
check reports_after wait_for 20 goes_on
check gives_nothing_after host_says '^pages=0 messages=1' balloon 4M
check no_violations equal '' "$(host violations)"
