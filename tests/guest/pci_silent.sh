# SPDX-License-Identifier: GPL-2.0
#: what     The C driver of PCI pass-through waits for a host that is silent, once with interrupts off; the rescind ends it
#: host     rlis
#: kernels  stock-6.12
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus pci-hyperv
#: args     --no-ic --pci pci0
#: cpus     2
#: seconds  150

pci_device=/sys/bus/pci/devices/1000:00:00.0
port() { find "$pci_device/" -name 'ttyS*' -type d 2>/dev/null | sed 's,.*/,,'; }
bound() { [ -n "$(port)" ]; }
gone() { ! [ -e "$pci_device" ]; }
released() { ! host list | grep -q '^pci0 '; }
# What `timeout` leaves behind keeps the port open for a second.
closed() { ! grep -q "Hyper-V PCIe MSI.*$(port)" /proc/interrupts; }
works() {
	stty -F "/dev/$(port)" raw -echo clocal
	exec 8<>"/dev/$(port)"
	host pci-send pci0 text:answer
	answer=$(timeout 15 head -c 6 <&8)
	exec 8>&-
	equal answer "$answer"
}

# This shell and the host's interrupts stay on the first processor: the second will be busy.
taskset -p 1 $$ >/dev/null
echo 1 >"/proc/irq/3/smp_affinity"
check bus_loads load hv_vmbus
before=$(cat /proc/iomem)

# The first message of a probe is not answered.
check silent_from_the_start host fault pci0 no-reply
(load pci-hyperv && touch /tmp/loaded) &
check asks_in_vain wait_for 30 none_armed
sleep 1
check rescinded_while_it_probes host rescind pci0
check probe_ends wait_for 30 released
check driver_loads wait_for 30 test -e /tmp/loaded
check told_why logged 'The device is gone'
check nothing_left equal "$before" "$(cat /proc/iomem)"
check offered_again host offer pci0
check bound wait_for 30 bound
check works works

# The request for an interrupt is not answered: the driver polls for it with interrupts off, until the bus has taken
# its callback away.
check port_is_closed wait_for 15 closed
check silent_now host fault pci0 no-reply
taskset 2 sh -c "(: <>/dev/$(port)); touch /tmp/opened" &
check polls_in_vain wait_for 30 none_armed
sleep 1
check still_polls test ! -e /tmp/opened
check rescinded_while_it_polls host rescind pci0
check poll_ends wait_for 30 test -e /tmp/opened
check device_gone wait_for 30 gone
check bus_released wait_for 30 released
check nothing_left_again equal "$before" "$(cat /proc/iomem)"
check offered_once_more host offer pci0
check bound_again wait_for 30 bound
check works_again works

check unloads unload pci-hyperv
check nothing_left_at_last equal "$before" "$(cat /proc/iomem)"
check bus_unloads unload hv_vmbus
check no_violations equal '' "$(host violations)"
