# SPDX-License-Identifier: GPL-2.0
#: what     A socket's connection that the host does not withdraw, although both sides have shut down: closing it does not wait
#: host     rlis
#: kernels  stock-6.12
#: drivers  rustbus
#: quick    none
#: modules  hv_vmbus hv_sock
#: programs perl
#: args     --no-ic --sockets
#: cmdline  slub_debug=FZP
#: seconds  240
# What is freed is filled with 0x6b here, so that whoever uses it falls into a pointer that is none.

check bus_loads load hv_vmbus
check socket_driver_loads load hv_sock
# Sends a line to an echo, takes it back, shuts down, takes the host's end, and closes.
cat >/tmp/echo <<'PERL'
socket(my $s, 40, 1, 0) or die "socket: $!\n";
# The kernel waits two seconds otherwise.
setsockopt($s, 40, 6, pack('qq', 30, 0)) or die "SO_VM_SOCKETS_CONNECT_TIMEOUT: $!\n";
connect($s, pack 'SSLLx4', 40, 0, 7, 2) or die "connect: $!\n";
syswrite $s, "hello\n" or die "write: $!\n";
sysread($s, my $b, 10) == 6 or die "read: $!\n";
shutdown $s, 1;
sysread($s, $b, 10) == 0 or die "no end\n";
PERL
echoes() { perl /tmp/echo; }
nothing_open() { equal '' "$(host list)" && equal '' "$(ls /sys/bus/vmbus/devices)"; }
check works echoes
check is_withdrawn wait_for 20 nothing_open

check armed host fault all bus-no-rescind 1
begun=$(uptime)
check closes echoes
took=$(($(uptime) - begun))
note "closing took $took s"
# The driver keeps the socket for the channel until that is withdrawn, and so nobody waits.
check closes_at_once between 0 15 $took
socket=$(host list | sed -n 's/ .*//p')
check still_there host_says "^$socket .* open\$" list
device_there() { [ "$(ls /sys/bus/vmbus/devices | wc -l)" = 1 ]; }
check device_stays device_there
# The socket is gone. A signal must find nobody, nor a rescind that comes after all.
signals() { for i in 1 2 3 4 5; do host signal "$socket" || return 1; sleep 0.1; done; }
check signalled signals
check works_beside_it echoes
check withdrawn_after_all host rescind "$socket"
check nothing_left wait_for 20 nothing_open
check works_after_that echoes
check nothing_left_after_that wait_for 20 nothing_open
check socket_driver_unloads wait_for 10 unload hv_sock
check bus_unloads unload hv_vmbus
check no_violations equal '' "$(host violations)"
