# SPDX-License-Identifier: GPL-2.0
#: what     A storage host that fails during the initialisation costs the adapter once; loaded again, the driver works
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     1
#: seconds  120
#: c:max-transfer  a disk that moves no data, with a warning and a call trace
#: ours:max-transfer  no disk; loaded again, the driver works

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
disk() { test -b /dev/sda; }
no_disk() { ! disk; }
works() { wait_for 30 disk && dd if=/dev/sda of=/dev/null bs=4096 count=4 iflag=direct; }
check works_at_first works

# fails FAULT [COUNT [VALUE]]: the driver comes, meets the fault and makes no disk; the next time it does.
fails() {
	unload hv_storvsc && host fault scsi0 "$@" && load hv_storvsc || return 1
	wait_for 10 none_armed || { echo "$1 did not strike"; return 1; }
	sleep 1
	no_disk || { echo "there is a disk in spite of $1"; return 1; }
	unload hv_storvsc && load hv_storvsc && works
}
check first_step_fails fails init-status 1
check wrong_answer_to_first_step fails wrong-operation 1
check open_refused fails bus-refuse-open
if c_drivers; then
	# The C driver makes a disk of it that moves no data, with a warning and a call trace.
	note 'max-transfer is not for this driver'
else
	check no_room_for_a_page fails max-transfer 1 512
	check no_room_at_all fails max-transfer 1 0
fi
