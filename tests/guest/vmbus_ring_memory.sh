# SPDX-License-Identifier: GPL-2.0
#: what     Where memory has no larger pieces, channels and sub-channels open all the same, at a resume, too
#: host     rlis
#: kernels  debug
#: drivers  rust rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc hyperv-keyboard uio_hv_generic
#: args     --no-ic --keyboard --scsi scsi0,channels=2 --disk scsi0:0:0,size=512M --disk scsi0:0:1,size=16M
#: cpus     2
#: memory   512M
#: seconds  400
#: expect   smp_call_function_many_cond|no 4096 KiB of memory
#: when     all
# With lockdep the kernel's own hv_suspend() is told that it must not patch its hypercalls with interrupts off.

fail=/sys/kernel/debug/fail_page_alloc
# no_pieces ORDER: from here on nobody in the guest gets a piece of memory of 2^ORDER pages; with no ORDER all do.
no_pieces() {
	echo 0 >$fail/probability
	[ -n "${1:-}" ] || return 0
	echo 0 >$fail/verbose
	echo N >$fail/ignore-gfp-wait
	echo "$1" >$fail/min-order
	echo -1 >$fail/times
	echo 100 >$fail/probability
}
disks() { disk_of_mib 512 && disk_of_mib 16; }
subs() { [ "$(host list | grep -c '^scsi0 .* sub=[1-9].* open')" -ge 1 ]; }
reads() { dd if="/dev/$(disk_of_mib 16)" of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null; }
quiet() { ! dmesg | grep -A 5 'page allocation failure'; }

check bus_loads load hv_vmbus
# The rings of a channel are 256 KiB, order 6.
for order in 6 5 4; do
	no_pieces $order
	check "loads_$order" load hv_storvsc
	check "disks_$order" wait_for 60 disks
	check "sub_channel_$order" wait_for 60 subs
	check "reads_$order" reads
	no_pieces
	check "nothing_reported_$order" quiet
	check "unloads_$order" wait_for 60 unload hv_storvsc
done

# Not even pieces of two pages: only for this, as nothing in the guest would get a stack. The C driver of the keyboard
# needs little memory besides its rings.
keyboard=/sys/bus/vmbus/drivers/hyperv_keyboard
device=$(basename "$(vmbus_device f912ad6d-2b17-48ea-bd65-f927a61c7684)")
single_pages() {
	echo "$device" >$keyboard/unbind
	echo Y >$fail/task-filter
	no_pieces 1
	sh -c "echo 1 >/proc/self/make-it-fail; echo $device >$keyboard/bind"
	bound=$?
	no_pieces
	echo N >$fail/task-filter
	return $bound
}
check keyboard_loads load hyperv-keyboard
check keyboard_on_single_pages single_pages
check keyboard_open wait_for 20 host_says '^keyboard .* open' list
check nothing_reported_1 quiet
check keyboard_unloads unload hyperv-keyboard

# uio_hv_generic tells programs where its rings lie: it gets them in one piece or not at all.
uio=/sys/bus/vmbus/drivers/uio_hv_generic
bound() { [ -e "$uio/$device" ]; }
check uio_loads load uio_hv_generic
no_pieces 8
echo f912ad6d-2b17-48ea-bd65-f927a61c7684 >$uio/new_id
check uio_has_no_rings sh -c "[ ! -e $uio/$device ]"
check uio_is_told logged 'no 4096 KiB of memory in one piece for the rings of relid'
no_pieces
check nothing_reported_uio quiet
echo "$device" >$uio/bind
check uio_has_rings bound
check uio_unloads unload uio_hv_generic

check loads_again load hv_storvsc
check disks_again wait_for 60 disks
check sub_channel_again wait_for 60 subs
swap=/dev/$(disk_of_mib 512)
dd if=/dev/urandom of=/tmp/pattern bs=1M count=4 2>/dev/null
dd if=/tmp/pattern of="/dev/$(disk_of_mib 16)" bs=1M oflag=direct 2>/dev/null
mkswap "$swap" >/dev/null
check swap swapon "$swap"
echo test_resume >/sys/power/disk
no_pieces 5
check round_trip hibernate
no_pieces
check host_here wait_for 20 host ping
same() { dd if="/dev/$(disk_of_mib 16)" bs=1M count=4 iflag=direct 2>/dev/null | cmp - /tmp/pattern; }
check content_after same
check sub_channel_after wait_for 60 subs
check nothing_reported quiet
check swap_off swapoff "$swap"
check unloads wait_for 60 unload hv_storvsc
check bus_unloads unload hv_vmbus
check no_violations equal '' "$(host violations)"
