# SPDX-License-Identifier: GPL-2.0
#: what     Eight, then 63 disks come and go at once while the host answers slowly: each is there, and none is left
#: host     rlis
#: drivers  rust mixed
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=4M
#: cpus     2
#: seconds  400

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
count() { find /sys/block -name 'sd*' | wc -l; }
there() { equal "$1" "$(count)"; }
check disk wait_for 30 there 1
# A slow answer for each of the next commands, whichever they are. The disks have 1 MiB.
slow() { host fault scsi0 slow-reply "$1" 200; }
add() { for lun; do host lun-add "scsi0:$lun,size=1M" || return 1; done; }
remove() { for lun; do host lun-remove "scsi0:$lun" || return 1; done; }
# each_has_its_node LUN...: that the mid-layer knows is there for programs, too, and can be read.
each_reads() {
	for lun; do
		set -- "/sys/class/scsi_device/"*":0:$lun/device/block"/*
		dd if="/dev/$(basename "$1")" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null || { echo "$lun: $1"; return 1; }
	done
}
few='0:7 0:17 0:40 0:100 0:200 0:254 1:0 1:200'
check slow_for_eight slow 40
# shellcheck disable=SC2086
check eight_added add $few
check eight_come wait_for 60 there 9
# shellcheck disable=SC2086
check eight_read each_reads $few
check slow_while_eight_go slow 40
# shellcheck disable=SC2086
check eight_removed remove $few
check eight_go wait_for 60 there 1

# More changes than the driver has places for: it looks at the whole adapter then.
many=$(for n in $(seq 1 63); do echo "$((n % 2)):$((n * 4))"; done)
check slow_for_63 slow 40
begun=$(uptime)
# shellcheck disable=SC2086
check many_added add $many
check many_come wait_for 120 there 64
note "63 disks came in $(($(uptime) - begun)) s"
# shellcheck disable=SC2086
check many_read each_reads $many
check slow_while_they_go slow 40
begun=$(uptime)
# shellcheck disable=SC2086
check many_removed remove $many
check many_go wait_for 120 there 1
note "63 disks went in $(($(uptime) - begun)) s"
host fault scsi0 slow-reply 0
check first_is_still_there each_reads 0:0
check unloads wait_for 20 unload hv_storvsc
check no_violations equal '' "$(host violations)"
