# SPDX-License-Identifier: GPL-2.0
#: what     A daemon whose memory has to be read from a slow disk first holds up neither time-outs nor the device's end
#: host     rlis
#: drivers  mixed rust
#: quick    none
#: modules  hv_vmbus hv_utils hv_storvsc ptp scsi_transport_fc
#: programs perl
#: args     --scsi scsi0 --disk scsi0:0:0,size=16M
#: cpus     1
#: seconds  600

kvp=a9a0f4e7-5a45-4d96-b827-8a841e8c03e6
check bus_loads load hv_vmbus
check utils_load load hv_utils
check storage_loads load hv_storvsc
check disk_found wait_for 30 test -b /dev/sda
check node wait_for 10 test -c /dev/vmbus/hv_kvp

# client read|write OFFSET: registers as a daemon. Then the host's request goes into memory that is mapped from the disk,
# or the answer to it comes from there.
client() {
	rm -f /tmp/ready /tmp/client
	perl -e '
		my ($how, $offset) = @ARGV;
		open(my $kvp, "+<", "/dev/vmbus/hv_kvp") or die "open: $!";
		syswrite($kvp, chr(100) . "\0" x 7431) == 7432 or die "register: $!";
		sysread($kvp, my $message, 7432) == 7432 or die "handshake: $!";
		open(my $disk, "+<", "/dev/sda") or die "disk: $!";
		# mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, ...)
		my $pages = syscall(9, 0, 8192, 3, 1, fileno($disk), $offset + 0);
		$pages > 0 or die "mmap: $!";
		open(my $ready, ">", "/tmp/ready") or die "ready: $!";
		close($ready);
		$how eq "read" or sysread($kvp, $message, 7432) == 7432 or die "request: $!";
		my $done = syscall($how eq "read" ? 0 : 1, fileno($kvp), $pages, 7432);
		print $done < 0 ? "errno " . ($! + 0) : $done, "\n"' "$@" >/tmp/client 2>&1 &
	wait_for 20 test -e /tmp/ready || { cat /tmp/client; false; }
}
refused() { ! said=$(host kvp-get external key) && echo "$said" | grep -q 80004005; }

# The disk takes 55 seconds for the page: the host is told after 30 that there is no answer.
check reader client read 4194304
check slow_page host fault scsi0 slow-reply 1 55000
asked=$(uptime)
check no_answer_of_reader refused
check reader_after_30_seconds between 28 45 $(($(uptime) - asked))
# The message that was given up is not the one that the reader gets, when it gets its memory.
sleep 35
check reader_goes_on_waiting test ! -s /tmp/client
check next_request_is_read refused
check reader_got_it wait_for 10 grep -qx 7432 /tmp/client
wait

check writer client write 6291456
check slow_page_of_writer host fault scsi0 slow-reply 1 55000
asked=$(uptime)
check no_answer_of_writer refused
check writer_after_30_seconds between 28 45 $(($(uptime) - asked))
check late_answer_is_taken wait_for 60 grep -qx 7432 /tmp/client
wait

# The device goes while the reader waits for its memory.
check reader_again client read 8388608
check slow_page_again host fault scsi0 slow-reply 1 55000
(host kvp-get external key >/tmp/asked 2>&1) &
sleep 5
check still_waits test ! -s /tmp/client
device=$(vmbus_device $kvp)
started=$(uptime)
check unbound timeout 40 sh -c "echo ${device##*/} >/sys/bus/vmbus/drivers/hv_utils/unbind"
check unbound_at_once between 0 20 $(($(uptime) - started))
# EBADF: there is nothing to read any more.
check reader_learns_it wait_for 70 grep -qx 'errno 9' /tmp/client
wait
check bound_again sh -c "echo ${device##*/} >/sys/bus/vmbus/drivers/hv_utils/bind"
check node_again wait_for 10 test -c /dev/vmbus/hv_kvp
check no_violations equal '' "$(host violations)"
