# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What scenarios over hv_loop have at hand, besides lib.sh. Devices and LUNs are named by number, as in hv_loop's ctl.

bus=/sys/kernel/debug/hv_loop

# start PARAMETER...: the bus with these offers, and the driver on it.
start() {
	# shellcheck disable=SC2086
	insmod /modules/hv_loop.ko "$@" && insmod /modules/hv_storvsc.ko ${driver_args:-}
}
# A disk that is still being scanned or opened by the partition reader holds its driver for a moment.
stop() {
	for try in $(seq 60); do
		rmmod hv_storvsc 2>/dev/null && break
		[ "$try" -lt 60 ] || rmmod hv_storvsc || return 1
		sleep 0.5
	done
	rmmod hv_loop
}

ctl() { echo "$*" >$bus/ctl; }

# host NUMBER: the SCSI host number of a device.
host() {
	for h in /sys/bus/vmbus/devices/*"$1"/host*; do
		[ -d "$h" ] && { basename "$h" | sed 's/host//'; return; }
	done
	echo "device $1 has no SCSI host"
	return 1
}

# disk DEVICE LUN: the disk's name (sda). Fails if there is none.
disk() {
	for d in /sys/class/scsi_device/"$(host "$1")":0:*:"$2"/device/block/*; do
		[ -d "$d" ] && { basename "$d"; return; }
	done
	echo "device $1 has no disk at LUN $2"
	return 1
}
has_disk() { disk "$@" >/dev/null; }
no_disk() { ! disk "$@" >/dev/null; }
# bytes DISK: its size.
bytes() { echo $(($(cat "/sys/block/$1/size") * 512)); }
has_size() { equal "$2" "$(bytes "$(disk 0 "$1")")"; }

# channels DEVICE: how many are open. counter NAME: its sum over all channels.
channels() { grep -c "^chan $1\..*open 1" $bus/stat; }
counter() { sed -n "s/^chan .* $1 \([0-9]*\).*/\1/p" $bus/stat | awk '{ s += $1 } END { print s + 0 }'; }
requests_by_channel() { sed -n 's/^chan .* requests \([0-9]*\).*/\1/p' $bus/stat; }
no_violations() { equal 0 "$(counter violations)"; }

# run_fio ARGUMENT...: fio, with output only when it fails.
run_fio() { fio --minimal --ioengine=libaio --direct=1 --random_generator=lfsr --allow_mounted_write=1 "$@" >/tmp/fio 2>&1 || { grep -v '^[0-9];' /tmp/fio | tail -n 5; false; }; }
# verified DISK SIZE [ARGUMENT...]: writes random blocks from four queues, reads all back, checks content.
verified() {
	d=$1
	s=$2
	shift 2
	run_fio --name=verify --filename="/dev/$d" --size="$s" --rw=randwrite --bs=4k --iodepth=16 --verify=crc32c \
		--verify_fatal=1 --do_verify=1 "$@"
}

# trimmed DISK SIZE: discards the beginning of the disk block by block, in any order; then it reads as zeroes.
trimmed() {
	run_fio --name=trim --filename="/dev/$1" --size="$2" --rw=randtrim --bs=64k || return 1
	equal 0 "$(dd if="/dev/$1" bs=64k count=$((${2%m} * 16)) iflag=direct 2>/dev/null | tr -d '\0' | wc -c)"
}

# no_leak: kmemleak, if the kernel has it at work, finds no memory that nobody can reach. It looks twice, since it takes
# what was allocated a moment ago for alive.
no_leak() {
	[ -e /sys/kernel/debug/kmemleak ] || return 0
	echo scan >/sys/kernel/debug/kmemleak && sleep 6 && echo scan >/sys/kernel/debug/kmemleak
	! grep -q . /sys/kernel/debug/kmemleak || { head -n 30 /sys/kernel/debug/kmemleak >/dev/kmsg; head -n 2 /sys/kernel/debug/kmemleak; false; }
}
