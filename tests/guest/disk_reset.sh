# SPDX-License-Identifier: GPL-2.0
#: what     A reset of the bus gives back nothing that the host still works on, and waits for nobody who waits for the host
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: programs fio sg_reset perl
#: args     --no-ic --scsi scsi0,channels=1 --disk scsi0:0:0,size=16M --scsi scsi1 --disk scsi1:0:0,size=8M
#: cpus     2
#: seconds  900
#: c:hold-io  waits for all commands, however long the host takes
#: c:spoil-opcode  whoever waits for the command waits for ever
#: ours:hold-io  what is overdue is got back by closing the channel; no memory is given back before
#: ours:spoil-opcode  the disk is there all the same
# The C driver waits for all commands, however long the host takes, and so does ours as long as they may be on the way. A
# completion that it cannot read leaves the C driver waiting for good.

check bus_loads load hv_vmbus
check storage_loads load hv_storvsc
both() { disk_of_mib 16 && disk_of_mib 8; }
check disks wait_for 60 both || exit 1
a=$(disk_of_mib 16)
until_time() { while [ "$(uptime)" -lt "$1" ]; do sleep 0.2; done; }
time_out() { echo "$1" >"/sys/block/$a/device/timeout"; }
# of LETTER: half a MiB of it.
of() { head -c 524288 /dev/zero | tr '\0' "$1"; }
of A >/tmp/A
of B >/tmp/B
put() { dd if="/tmp/$1" of="/dev/$a" bs=512k oflag=direct 2>/dev/null; }
reset() { timeout 300 sg_reset -H "/dev/$a" || { echo "the reset ended with $?"; return 1; }; }
has() {
	dd if="/dev/$a" of=/tmp/now bs=512k count=1 iflag=direct 2>/dev/null
	cmp -s "/tmp/$1" /tmp/now || { echo "$(tr -d "$1" </tmp/now | wc -c) of 524288 bytes are not $1"; return 1; }
}

# write_held SECONDS: a write of A that the host carries out so much later, with the content that its pages have by then;
# a reset; then a write of B to the same place, which is what must be there in the end.
write_held() {
	end=$(($(uptime) + $1 + 5))
	host fault scsi0 hold-io 1 $(($1 * 1000)) || return 1
	put A &
	job=$!
	wait_for 10 none_armed || { echo "nothing was held"; return 1; }
	reset || return 1
	wait $job || { echo "the write of A ended with $?"; return 1; }
	# What the pages of A become if they are free.
	dd if=/dev/urandom of=/tmp/filler bs=1M count=32 2>/dev/null
	put B && has B || return 1
	until_time $end
	has B
}
# read_held SECONDS: likewise a read, by a program that uses its memory for something else as soon as read() has returned.
read_held() {
	end=$(($(uptime) + $1 + 5))
	host fault scsi0 hold-io 1 $(($1 * 1000)) || return 1
	# 0x4000 is O_DIRECT, and 0 the call read.
	perl -e 'sysopen(my $disk, "/dev/$ARGV[0]", 0x4000) or die $!;
		my ($n, $end) = (524288, $ARGV[1]); my $memory = "\0" x ($n + 4096);
		my $at = unpack("J", pack("p", $memory)); my $skip = -$at & 4095;
		syscall(0, fileno($disk), $at + $skip, $n) == $n or die "read: $!";
		substr($memory, $skip, $n) = "Z" x $n;
		sub up { open(my $f, "<", "/proc/uptime"); (split(/\./, <$f>))[0] } sleep 1 while up() < $end;
		$at == unpack("J", pack("p", $memory)) or die "the memory has moved";
		my $other = substr($memory, $skip, $n) =~ tr/Z//c; print "$other bytes of the memory are not what the program wrote"; exit($other != 0)' \
		"$a" $end >/tmp/reader 2>&1 &
	job=$!
	wait_for 20 none_armed || { echo "nothing was held: $(cat /tmp/reader)"; return 1; }
	sleep 1
	reset || return 1
	wait $job || { cat /tmp/reader; return 1; }
}
check write_held_over_a_reset write_held 25
check read_held_over_a_reset read_held 25
if ! c_drivers; then
	# Long overdue: our driver closes the channel, which ends everything on the host, and opens it again.
	time_out 5
	check write_overdue write_held 25
	check read_overdue read_held 25
	check close_is_told logged 'hv_storvsc.*the channel is closed and opened again'
fi
time_out 180

# Resets while commands are held, again and again; all that was written is read back.
fio --name=v --minimal --filename="/dev/$a" --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --size=2m --loops=1000 --runtime=75 --time_based \
	--iodepth=8 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --random_generator=lfsr >/tmp/fio 2>&1 &
load=$!
c_drivers || time_out 5
resets() {
	for round in 1 2 3 4; do
		sleep 1
		host fault scsi0 hold-io 6 12000 && wait_for 20 none_armed && sleep 1 && reset || { echo "round $round"; return 1; }
	done
}
check resets_under_load resets
wait $load
check verified equal 0 $?
time_out 180

# A completion that cannot be read, while the host is looked at for new disks: the disk is there all the same.
if ! c_drivers; then
	# spoiled OPCODE LUN: strikes the scan that the new disk causes.
	spoiled() {
		host fault scsi1 spoil-opcode 1 "$1" && host lun-add "scsi1:0:$2,size=$((16 + $2))M" || return 1
		wait_for 30 disk_of_mib $((16 + $2)) || { echo "no disk; armed: $(host faults)"; return 1; }
		wait_for 5 none_armed || { echo "it did not strike"; return 1; }
	}
	check test_unit_ready_spoiled spoiled 0x00 1
	check inquiry_spoiled spoiled 0x12 2
	check report_luns_spoiled spoiled 0xa0 3
	# READ CAPACITY(16).
	check read_capacity_spoiled spoiled 0x9e 4
fi

# A sub-channel that is withdrawn alone: its commands go another way, and what was out on it is got back.
if ! c_drivers; then
	time_out 5
	fio --name=w --minimal --filename="/dev/$a" --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --size=1m --offset_increment=1m --numjobs=2 \
		--cpus_allowed=0,1 --cpus_allowed_policy=split --loops=1000 --runtime=40 --time_based --iodepth=8 --verify=crc32c --verify_fatal=1 \
		--verify_backlog=64 --random_generator=lfsr >/tmp/fio 2>&1 &
	load=$!
	sleep 2
	check sub_channel_withdrawn host rescind scsi0.1
	check withdrawal_is_told wait_for 20 logged 'hv_storvsc.*1 sub-channels were withdrawn by the host'
	wait $load
	check load_goes_on equal 0 $?
	time_out 180
fi
check host_has_no_complaint equal '' "$(host violations)"
goes() { unload hv_storvsc && for h in /sys/class/scsi_host/host*; do [ ! -e "$h" ] || return 1; done; }
check driver_unloads wait_for 30 goes
