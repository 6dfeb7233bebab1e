# SPDX-License-Identifier: GPL-2.0
#: what     Every C driver of the kernel finds the symbols it wants in our bus; the file copy's by uio binds
#: host     rlis
#: drivers  rustbus c
#: quick    none
#: modules  hv_vmbus hid-hyperv hyperv-keyboard hv_sock hyperv_drm uio_hv_generic hv_netvsc pci-hyperv hv_storvsc hv_utils
#: cpus     1
#: seconds  120

check bus_loads load hv_vmbus
for module in hid_hyperv hyperv_keyboard hv_sock hyperv_drm uio_hv_generic hv_netvsc pci_hyperv hv_storvsc hv_utils; do
	# Not every test kernel has them all.
	find /lib/modules | tr - _ | grep -q "/$module.ko" || { note "the kernel has no $module"; continue; }
	check "${module}_loads" load $module
	check "${module}_here" loaded $module
done
fcopy=34d14be3-dee4-41c8-9ae7-6b174977c192
device=$(vmbus_device $fcopy)
check uio_binds equal uio_hv_generic "$(basename "$(readlink "$device/driver")")"
check uio_opens_the_channel sh -c "exec 3<>/dev/uio0 && sleep 1 && [ \"\$(cat $device/state)\" = 3 ]"
check uio_maps test -e "$device/uio/uio0/maps/map0"
check ring_file test -e "$device/channels/$(cat "$device/id")/ring"
# A class that no driver knows, given to uio by hand.
heartbeat=57164f39-9115-4e78-ab55-382f3bd5422d
check utils_let_go sh -c "echo $(basename "$(vmbus_device $heartbeat)") >/sys/bus/vmbus/drivers/hv_utils/unbind"
check uio_new_id sh -c "echo $heartbeat >/sys/bus/vmbus/drivers/uio_hv_generic/new_id"
bound() { equal uio_hv_generic "$(basename "$(readlink "$(vmbus_device $heartbeat)/driver")")"; }
check uio_takes_it wait_for 10 bound
for module in hv_utils hv_storvsc pci_hyperv hv_netvsc uio_hv_generic hyperv_drm hv_sock hyperv_keyboard hid_hyperv; do
	loaded $module && check "${module}_unloads" wait_for 20 unload $module
done
check bus_unloads unload hv_vmbus
host violations --take >/dev/null
