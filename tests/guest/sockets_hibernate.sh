# SPDX-License-Identifier: GPL-2.0
#: what     A hibernation ends a Hyper-V socket that is in use, with the unmodified C driver; nothing of it is left after that
#: host     rlis
#: kernels  stock-6.12
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hv_sock hv_storvsc
#: programs perl
#: args     --no-ic --sockets --scsi 0 --disk 0:0:0,size=512M
#: cpus     1
#: seconds  240

check bus_loads load hv_vmbus
check storvsc_loads load hv_storvsc
check socket_driver_loads load hv_sock
check disk_there wait_for 30 test -b /dev/sda
mkswap /dev/sda >/dev/null
check swap swapon /dev/sda

# An address of AF_VSOCK: port 7 of the host.
socket='socket(my $s, 40, 1, 0) or die; setsockopt($s, 40, 6, pack("qq", 30, 0)); connect($s, pack("SSLLx4", 40, 0, 7, 2)) or die $! + 0;'
echo_works() { equal hello "$(perl -e "$socket"' syswrite $s, "hello"; sysread $s, my $b, 10; print $b')"; }
# Reads a line, and waits for one more until there will be none. Says how that ended, and keeps the socket for a while.
holder() {
	perl -e '$SIG{PIPE} = "IGNORE"; $| = 1;'"$socket"' syswrite $s, "hello"; sysread $s, my $b, 10; print "$b ";
		my $n = sysread $s, $b, 10; print defined $n ? "read $n" : "read error " . ($! + 0);
		print defined syswrite($s, "x") ? " writes on" : " write error " . ($! + 0);
		sleep 1 until -e "/tmp/let_go"' >/tmp/said 2>&1 &
}
said() { equal "$1" "$(cat /tmp/said)"; }
devices() { ls /sys/bus/vmbus/devices | sort; }

check echo_before echo_works
one_device() { [ "$(devices | wc -l)" = 1 ]; }
check only_the_disk wait_for 20 one_device
before=$(devices)
holder
check connected wait_for 20 said 'hello '
echo test_resume >/sys/power/disk
check round_trip hibernate
check host_here wait_for 20 host ping
check reader_was_told wait_for 20 said 'hello read 0 write error 32'
check no_violations_yet equal '' "$(host violations)"
check echo_while_held echo_works

# The socket goes when its program lets go of it, and is no business of the host's any more.
touch /tmp/let_go
as_before() { equal "$before" "$(devices)"; }
check devices_as_before wait_for 20 as_before
check nothing_open wait_for 20 host_says ' live=0$' sockets
said=$(host violations --take)
case $DRIVERS in
# The C bus closes the channel once more, by the relid that it has not any more.
c) note "violations: $said" ;;
*) check no_violation_by_its_end equal '' "$said" ;;
esac
check echo_after echo_works
check swap_off swapoff /dev/sda
check unload_socket wait_for 20 unload hv_sock
check unload_storvsc wait_for 20 unload hv_storvsc
check unload_bus unload hv_vmbus
check no_violations equal '' "$(host violations)"
