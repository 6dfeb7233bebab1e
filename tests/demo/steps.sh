# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the demo's guest can be asked for. A step prints `key value...` lines for the host's half, or plain text to be
# shown as it is.

step_boot() {
	echo "kernel $(uname -r)"
	echo "uptime $(cut -d' ' -f1 /proc/uptime)"
	echo "cpus $(grep -c '^processor' /proc/cpuinfo)"
	echo "hypervisor $(dmesg | sed -n 's/.*Hypervisor detected: //p')"
	echo "vmbus $(dmesg | sed -n 's/.*Vmbus version:/version /p')"
	# The path of the disk in sysfs leads through the device on the bus; its driver is what the kernel says it is.
	device=$(readlink -f /sys/block/sda/device)
	while [ "$device" != / ] && [ ! -e "$device/class_id" ]; do device=$(dirname "$device"); done
	echo "root $(awk '$2 == "/" { print $1, $3 }' /proc/mounts) driver $(basename "$(readlink -f "$device/driver")") device $(basename "$device")"
}

# Name, version, author, the kernel's mark for modules that are not its own (O), and the build id of what is loaded.
step_modules() {
	for module in hv_vmbus hv_storvsc hv_netvsc hv_utils hv_balloon; do
		folder=/sys/module/$module
		id=$(od -An -v -tx1 "$folder/notes/.note.gnu.build-id" | tr -d ' \n' | tail -c 40)
		read -r version <"$folder/version"
		read -r taint <"$folder/taint"
		echo "$module $version $taint $id $(modinfo -F author "$module")"
	done
	echo "others $(sed -n 's/^\(hv_[a-z_]*\|hyperv_[a-z]*\) .*/\1/p' /proc/modules | grep -vxE 'hv_vmbus|hv_storvsc|hv_netvsc|hv_utils|hv_balloon' | tr '\n' ' ')"
}

step_bus() { lsvmbus -v; }

now_ms() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
sectors() { awk '{ print $3, $7 }' /sys/block/sda/stat; }
# step_disk MEBIBYTES: random data to a file on the root disk, past the page cache and back.
step_disk() {
	dd if=/dev/urandom of=/tmp/data bs=1M count="$1" 2>/dev/null
	written=$(sha256sum </tmp/data | cut -d' ' -f1)
	was=$(sectors)
	begin=$(now_ms)
	dd if=/tmp/data of=/root/data bs=1M oflag=direct conv=fsync 2>/tmp/dd || { cat /tmp/dd; return 1; }
	middle=$(now_ms)
	echo 3 >/proc/sys/vm/drop_caches
	between=$(now_ms)
	read_back=$(dd if=/root/data bs=1M iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)
	end=$(now_ms)
	echo "bytes $(($1 * 1048576))"
	echo "write_ms $((middle - begin))"
	echo "read_ms $((end - between))"
	echo "written $written"
	echo "read $read_back"
	echo "sectors $was $(sectors)"
	rm -f /tmp/data
}

# step_net_lease: takes the card up, and the address that the host's DHCP gives.
step_net_lease() {
	card=$(basename "$(ls -d /sys/bus/vmbus/drivers/hv_netvsc/*/net/* | head -n 1)")
	ip link set "$card" up
	udhcpc -i "$card" -n -q -f -t 20 -s /demo/lease >/tmp/udhcpc 2>&1 || { tail -n 1 /tmp/udhcpc; return 1; }
	echo "card $card"
	echo "mac $(cat "/sys/class/net/$card/address")"
	echo "driver $(basename "$(readlink -f "/sys/class/net/$card/device/driver")")"
	cat /tmp/lease
}
# step_net_ping ADDRESS: small ones, and one that takes several frames.
step_net_ping() {
	ping -c 3 -W 10 "$1" >/tmp/ping && ping -c 1 -W 10 -s 4000 "$1" >>/tmp/ping
	status=$?
	grep -E 'packets transmitted|^round-trip' /tmp/ping
	return $status
}
# step_net_bulk ADDRESS MEBIBYTES: random data by TCP to the host's echo, and back at the same time.
step_net_bulk() {
	dd if=/dev/urandom of=/tmp/data bs=1M count="$2" 2>/dev/null
	begin=$(now_ms)
	perl -e '$SIG{PIPE} = "IGNORE"; my ($address, $data, $back) = @ARGV;
		sub fail { print "$_[0]: $!\n"; exit 1 }
		socket(my $peer, 2, 1, 0) or fail("socket");
		connect($peer, pack("SnC4x8", 2, 7, split /\./, $address)) or fail("connecting to $address");
		my $child = fork;
		unless ($child) {
			open(my $in, "<", $data) or fail($data);
			while (sysread $in, my $bytes, 65536) { while (length $bytes) { substr($bytes, 0, syswrite($peer, $bytes) || fail("sending")) = "" } }
			shutdown $peer, 1;
			exit 0;
		}
		open(my $out, ">", $back) or fail($back);
		while (sysread $peer, my $bytes, 65536) { syswrite($out, $bytes) or fail("writing") }
		waitpid $child, 0;
		exit $? >> 8' "$1" /tmp/data /tmp/back || return
	end=$(now_ms)
	echo "bytes $(stat -c %s /tmp/data)"
	echo "ms $((end - begin))"
	echo "sent $(sha256sum </tmp/data | cut -d' ' -f1)"
	echo "back $(sha256sum </tmp/back | cut -d' ' -f1)"
	rm -f /tmp/data /tmp/back
}

pool=/var/lib/hyperv/.kvp_pool_
# A record of a pool is a key in 512 bytes and a value in 2048, filled up with zeroes.
step_kvp_read() {
	tr '\0' '\n' <"${pool}0" | sed '/^$/d' | grep -A1 -xF "$1" | tail -n 1 | sed 's/^/value /'
}
# step_kvp_write KEY VALUE: into the pool of what the guest tells the host. The daemon reads it at each request.
step_kvp_write() {
	printf '%s' "$1" >/tmp/record
	printf '%s' "$2" >/tmp/value
	dd if=/tmp/value of=/tmp/record bs=1 seek=512 conv=notrunc 2>/dev/null
	truncate -s 2560 /tmp/record
	cat /tmp/record >>"${pool}1"
}

# In KiB.
step_memory() { sed -nE 's/^Mem(Total|Available): *([0-9]+) kB/\1 \2/p' /proc/meminfo; }

step_clock() { echo "seconds $(date +%s.%N)"; }
# step_clock_set SECONDS: wrong on purpose.
step_clock_set() { date -s "@$(($(date +%s) + $1))" >/dev/null; }

step_sum() { sha256sum "$1" && stat -c 'size %s' "$1"; }
step_service_log() { dmesg | sed -nE 's/^\[ *[0-9.]+\] hv_utils: (.*IC version.*)/\1/p'; }
# What a stock kernel says of the emulated processor, and of any module without a signature, is no complaint of ours.
step_complaints() { dmesg | grep -vE 'Speculative Return Stack Overflow|module verification failed' | grep -E 'BUG:|WARNING:|Oops|Call Trace|hv_[a-z]+: .*(fail|error|invalid)' || true; }
# A person at the console, until they leave.
step_shell() {
	{ stty sane; echo "This is $(uname -n), Linux $(uname -r). 'exit' goes on with the demo."; sh -l; stty -echo; } </dev/ttyS0 >/dev/ttyS0 2>&1
}
