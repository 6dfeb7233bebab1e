# SPDX-License-Identifier: GPL-2.0
#: what     Drivers get MMIO space from the bus: aligned, apart, no more than there is, and again when given back
#: host     rlis
#: drivers  rustbus c
#: quick    none
#: modules  hv_vmbus hv_mmio
#: cpus     1
#: seconds  90

check bus_loads load hv_vmbus
# Whoever helps with a framebuffer that is missing looks for this line.
[ "$DRIVERS" = c ] || check windows_are_logged logged 'hv_mmio=\[mem 0x[0-9a-f]+-0x[0-9a-f]+.*\],\[mem .*\] fb='
before=$(cat /proc/iomem)
check test_loads load hv_mmio
check tested logged 'rlis-note: [0-9]+ pieces, 0 checks failed'
check nothing_left equal "$before" "$(cat /proc/iomem)"
check test_unloads unload hv_mmio
check bus_unloads unload hv_vmbus
check bus_loads_again load hv_vmbus
