# SPDX-License-Identifier: GPL-2.0
#: what     What uio_hv_generic leaves in a channel is gone when the device is another driver's, also if a program held it open
#: host     rlis
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc uio_hv_generic hyperv-keyboard
#: args     --no-ic --net net0 --keyboard
#: cpus     1
#: memory   768M
#: seconds  180

nic=f8615163-df3e-46c5-913f-f2d2f965ed0e
keyboard=f912ad6d-2b17-48ea-bd65-f927a61c7684
check bus_loads load hv_vmbus
check network_loads load hv_netvsc
check keyboard_loads load hyperv-keyboard
check uio_loads load uio_hv_generic
bound() { equal "$2" "$(basename "$(readlink "$(vmbus_device "$1")/driver")")"; }
state() { host_says "^$1 .* $2\$" list; }
gone() { ! vmbus_device "$1" >/dev/null; }
check nic_bound wait_for 30 bound $nic hv_netvsc
check keyboard_bound wait_for 30 bound $keyboard hyperv_keyboard

# give CLASS FROM TO: the device of this class goes from one driver to another.
give() {
	id=$(basename "$(vmbus_device "$1")")
	echo "$id" >"/sys/bus/vmbus/drivers/$2/unbind" && echo "$id" >"/sys/bus/vmbus/drivers/$3/bind" && bound "$1" "$3"
}
uio_of() { ls "$(vmbus_device "$1")/uio"; }
open_and_close() { sh -c "exec 3<>/dev/$(uio_of "$1")"; }
for device in "nic $nic hv_netvsc net0" "keyboard $keyboard hyperv_keyboard keyboard"; do
	set -- $device
	check "$1_new_id" sh -c "echo $2 >/sys/bus/vmbus/drivers/uio_hv_generic/new_id"
	check "$1_to_uio" give "$2" "$3" uio_hv_generic
	check "$1_opened_and_closed" open_and_close "$2"
	check "$1_closed" wait_for 10 state "$4" offered
	check "$1_back" give "$2" uio_hv_generic "$3"
	check "$1_open_again" wait_for 20 state "$4" open
done
typed() { host type hello && wait_for 10 host_says ' strokes=[1-9]' input; }
check keyboard_types typed

# A program that holds /dev/uioN open when the device is taken away never closes the channel, and the driver does not either.
check held_to_uio give $nic hv_netvsc uio_hv_generic
sh -c "exec 3<>/dev/$(uio_of $nic); exec sleep 1000" &
program=$!
check held_open wait_for 10 state net0 open
check held_back give $nic uio_hv_generic hv_netvsc
check held_open_again wait_for 20 state net0 open
kill $program
wait $program

check uio_unloads wait_for 20 unload uio_hv_generic
check nic_rescinded host rescind net0
check nic_gone wait_for 20 gone $nic
check keyboard_rescinded host rescind keyboard
check keyboard_gone wait_for 20 gone $keyboard
check nic_offered host offer net0
check nic_there wait_for 20 state net0 open
check no_violations equal '' "$(host violations)"
