# SPDX-License-Identifier: GPL-2.0
#: what     A guest that can hibernate accepts the host's request and tells user space; any other refuses it
#: host     rlis
#: drivers  c mixed rust rustbus
#: quick    none
#: modules  hv_vmbus hv_utils
#: args     --hibernation --ic shutdown
#: cpus     1
#: seconds  90

check bus_loads load hv_vmbus
check hibernation_is_possible equal 1 "$(cat /sys/bus/vmbus/hibernation)"
check utils_load load hv_utils
shutdown=0e0b6031-5213-4934-818b-38d90ced39db
bound() { test -e "$(vmbus_device $shutdown)/driver"; }
check bound wait_for 10 bound
uevent sh -c 'env >>/tmp/events' &
sleep 1
check accepted host_says '^0x0$' shutdown hibernate
told() { grep -q '^EVENT=hibernate' /tmp/events; }
check user_space_is_told wait_for 10 told
check of_the_bus grep -q '^SUBSYSTEM=vmbus' /tmp/events
check forced_too host_says '^0x0$' shutdown hibernate --force
check without_meaning host_says '^0x80004005$' shutdown-flags 6
