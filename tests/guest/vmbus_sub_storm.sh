# SPDX-License-Identifier: GPL-2.0
#: what     A controller with sub-channels goes while they come, are opened, are in use and are closed; none is left behind
#: host     rlis
#: drivers  rust
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0,channels=4 --disk scsi0:0:0,size=16M
#: cpus     4
#: memory   768M
#: cmdline  kmemleak=on
#: when     all
#: seconds  900

# The debug kernel takes several times as long.
storms=100
grep -q debug /proc/version && storms=30
check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
sub_channels() { host list | grep -c '^scsi0 .* sub=[1-9] .*open$'; }
open() { equal 3 "$(sub_channels)"; }
disk() { for disk in /sys/block/sd*; do [ -e "$disk" ] && basename "$disk" && return 0; done; return 1; }
check disk_comes wait_for 30 disk
check sub_channels_open wait_for 30 open
folders() { equal 4 "$(ls "$(vmbus_device ba6163d9-04a1-4d29-b605-72e2ffb1dc7f)/channels" | wc -l)"; }
check a_folder_for_each wait_for 10 folders

reading() {
	while [ ! -e /tmp/enough ]; do
		for i in 1 2 3 4; do dd if=/dev/"$(disk)" of=/dev/null bs=16k count=64 iflag=direct 2>/dev/null & done
		wait
	done
}
storm() { host offer-storm scsi0 "$1" "$2"; }
check from_offer_to_open storm "$storms" 100000
check while_they_open storm "$storms" 400000
check disk_after_storm wait_for 240 disk
check open_after_storm wait_for 240 open
reading &
check in_use storm $((storms / 5)) 2000000
touch /tmp/enough
wait
check disk_at_last wait_for 240 disk
check open_at_last wait_for 240 open
check folders_at_last wait_for 10 folders
check reads dd if=/dev/"$(disk)" of=/dev/null bs=64k count=16 iflag=direct

# A relid that was not given up, or a channel that still waits, would show here.
check storage_unloads wait_for 20 unload hv_storvsc
none() { ! host list | grep -v 'relid=[0-9]* sub=0 .*offered$'; }
check nothing_left_with_the_host wait_for 20 none
check one_folder equal 1 "$(ls "$(vmbus_device ba6163d9-04a1-4d29-b605-72e2ffb1dc7f)/channels" | wc -l)"
check bus_unloads unload hv_vmbus
check no_leak no_leak
check host_has_no_complaint equal '' "$(host violations)"
