# SPDX-License-Identifier: GPL-2.0
#: what     Half an hour of verified I/O while units and controllers come and go and the host misbehaves, under the debug kernel
#: drivers  rust
#: when     all
#: kernel   debug
#: soak     1800
#: cpus     4
#: memory   1G
#: cmdline  kmemleak=on
#: seconds  150

seconds_up() { cut -d. -f1 /proc/uptime; }
# among FROM TO: a random number.
among() { shuf -n 1 -i "$1-$2"; }
one_of() { shuf -n 1 -e "$@"; }

# A scan of a whole controller, which others wait for, takes its time under this kernel.
echo $((120 * PATIENCE)) >/proc/sys/kernel/hung_task_timeout_secs 2>/dev/null

# No Fibre Channel: the mid-layer looks for a thousand targets each time, which takes minutes under this kernel.
check starts start scsi=3 luns=3 lun_mib=32 subchannels=3
all_disks() { has_disk 0 0 && has_disk 0 1 && has_disk 0 2 && has_disk 1 0 && has_disk 2 0; }
check disks wait_for 60 all_disks || exit 1
main=$(disk 0 0)
files=$(disk 0 1)
resized=$(disk 0 2)
# What is lost comes back by a reset once it is overdue. The SCSI layer gives a command up after six times as long.
hurry() { for d in "$@"; do echo $((5 * PATIENCE)) >"/sys/block/$d/device/timeout"; done 2>/dev/null; }
hurry "$main" "$files" "$resized"

# What must hold: whatever the host does, these see no error and no wrong content. `broken` gets what went wrong.
touch /tmp/go
: >/tmp/broken
: >/tmp/ended
rounds() { cat "/tmp/rounds-$1" 2>/dev/null | wc -l; }
verify_main() {
	while [ -e /tmp/go ]; do
		verified "$main" 4m --numjobs=3 --offset_increment=8m --bs="$(one_of 4k 16k 64k)" --iodepth="$(among 1 32)" \
			--rw="$(one_of randwrite randrw write)" >/tmp/main 2>&1 && trimmed "$main" 2m >>/tmp/main 2>&1 ||
			{ echo "main: $(tail -n 2 /tmp/main)" >>/tmp/broken; return; }
		echo >>/tmp/rounds-main
	done
}
verify_files() {
	while [ -e /tmp/go ]; do
		{ mount -t ext4 -o discard "/dev/$files" /mnt && head -c 3000000 /dev/urandom >/tmp/content && cp /tmp/content /mnt/a && cp /mnt/a /mnt/b && rm /mnt/a &&
			umount /mnt && mount -t ext4 "/dev/$files" /mnt && cmp /mnt/b /tmp/content && umount /mnt && e2fsck -fn "/dev/$files"; } >/tmp/files 2>&1 ||
			{ echo "files: $(tail -n 2 /tmp/files)" >>/tmp/broken; return; }
		echo >>/tmp/rounds-files
	done
}
# On controllers that go away every now and then; I/O may fail, but must end.
load_others() {
	while [ -e /tmp/go ]; do
		for device in 1 2; do
			d=$(disk $device 0 2>/dev/null) && hurry "$d" && fio --minimal --name=o --filename="/dev/$d" --ioengine=libaio --direct=1 --size=2m --rw=randrw \
				--bs=4k --iodepth=16 --numjobs=2 --runtime=5 --time_based >/dev/null 2>&1
			echo >>/tmp/rounds-others
		done
		sleep 0.2
	done
}
/usr/bin/mke2fs -q -t ext4 "/dev/$files"
for load in verify_main verify_files load_others; do
	{ $load; echo $load >>/tmp/ended; } &
done

# act N: one thing that happens to the guest. Returns 1 with a sentence if it should not have gone as it did.
act() {
	case $1 in
	0) ctl fault 0 "$(one_of duplicate unknown early short badlen badheader unsolicited)" "$(among 1 20)" ;;
	1) ctl fault 0 slow "$(among 1 20)" "$(among 1 200)" ;;
	2) ctl fault 0 stall "$(among 10 500)" ;;
	3) ctl fault 0 error 1 256 "$(one_of 0x04 0x0e 0x05)" "$(one_of 0 8)" 0 0 0 ;;
	4)
		ctl fault 0 "$(one_of hold lose)" "$(among 1 6)" "$(among 1 20000)"
		sleep 1
		# What is lost after the reset would wait for the next one, as may this very loop.
		ctl fault 0 hold 0 0
		ctl fault 0 lose 0
		timeout 60 sg_reset -H "/dev/$main" >/dev/null 2>&1 || { echo "reset ended with $?"; return 1; }
		;;
	5) timeout 60 sg_reset -H "/dev/$main" >/dev/null 2>&1 || { echo "reset ended with $?"; return 1; } ;;
	6) ctl cpu 0 "$(among 0 3)" "$(among 0 3)" ;;
	7) n=$(among 5 9); ctl lun 0 add "$n" "$(among 2 16)" 2>/dev/null; ctl notify 0 11 ;;
	8) n=$(among 5 9); ctl lun 0 del "$n" 2>/dev/null; ctl notify 0 2 ;;
	9) ctl lun 0 resize 2 "$(among 8 64)"; dd if="/dev/$resized" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null ;;
	10) ctl lun 0 attention "$(among 0 2)" ;;
	11) echo "$(among 1 200)" >"/sys/block/$main/device/queue_depth" ;;
	12 | 13)
		device=$(($1 - 11))
		[ "$(one_of 0 1)" = 0 ] || ctl fault $device "$(one_of hold lose slow)" "$(among 1 20)" 50 2>/dev/null
		timeout 90 sh -c "echo 'rescind $device' >$bus/ctl" || { echo "rescind of $device ended with $?"; return 1; }
		[ "$(one_of 0 1)" = 0 ] || sleep 0.5
		ctl offer $device || { echo "offer of $device failed"; return 1; }
		;;
	14) echo 1 >"/sys/block/$(one_of "$main" "$files" "$resized")/device/rescan" ;;
	esac
	return 0
}
# An event of its own must come to its end however the rest goes.
deadline=$(($(seconds_up) + SOAK_SECONDS))
acts=0
: >/tmp/acts
while [ "$(seconds_up)" -lt $deadline ] && [ ! -s /tmp/broken ]; do
	what=$(among 0 14)
	echo "$(seconds_up) $what" >>/tmp/history
	if ! said=$(act "$what" 2>&1); then
		# A command to the bus that cannot be carried out just now is no failure, a sentence is.
		case $said in *ended*|*failed*) echo "act $what: $said" >>/tmp/broken ;; esac
	fi
	echo "$what" >>/tmp/acts
	acts=$((acts + 1))
	[ $((acts % 100)) != 0 ] || note "$acts events, rounds: main $(rounds main) files $(rounds files) others $(rounds others)"
	sleep "0.$(among 1 9)"
done
rm /tmp/go
[ ! -s /tmp/broken ] || note "second and number of the last events: $(tail -n 12 /tmp/history | tr '\n' ',')"
note "$acts events in $SOAK_SECONDS s; rounds: main $(rounds main) files $(rounds files) others $(rounds others)"
# What was lost at the very end comes back by a reset.
for device in 0 1 2; do
	d=$(disk $device 0 2>/dev/null) && timeout 60 sg_reset -H "/dev/$d" >/dev/null 2>&1
done
ended() { [ "$(wc -l </tmp/ended)" = 3 ]; }
check loads_end wait_for 120 ended
check nothing_was_broken equal '' "$(cat /tmp/broken)"
# In a short run chance may leave one out.
[ "$SOAK_SECONDS" -lt 600 ] || check every_kind_of_event equal 15 "$(sort -u /tmp/acts | wc -l)"
check much_was_verified test "$(rounds main)" -ge $((SOAK_SECONDS / 240))
none_busy() { equal '0' "$(cat /sys/class/scsi_host/host*/host_busy | sort -u)"; }
check no_command_is_left wait_for 20 none_busy
check files_clean e2fsck -fn "/dev/$files"
check no_violations no_violations
check module_goes stop
check nothing_leaks no_leak
