# SPDX-License-Identifier: GPL-2.0
#: what     The unmodified C driver of Hyper-V sockets gets its devices, whose classes no table of ids lists, and carries data both ways
#: host     rlis
#: drivers  c rustbus
#: quick    rustbus
#: modules  hv_vmbus hv_sock
#: programs perl
#: args     --no-ic --sockets
#: cpus     1

check bus_loads load hv_vmbus
check sockets_load load hv_sock
check echo peer echo vsock 200000
check discard peer discard vsock 200000
check source peer source vsock 200000
# A connection is a device; it goes with the connection.
bound() { ls -d /sys/bus/vmbus/drivers/hv_sock/*-*-*; }
peer source vsock 20000000 &
long=$!
check connection_is_a_device_of_hv_sock wait_for 20 bound
wait $long
check long_one_is_whole equal 0 $?
gone() { ! bound 2>/dev/null; }
check device_goes_with_it wait_for 60 gone
check no_violations equal '' "$(host violations)"
