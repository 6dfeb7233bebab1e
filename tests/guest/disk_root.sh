# SPDX-License-Identifier: GPL-2.0
#: what     The root file system is on a disk that the driver serves, from the initramfs to a clean power-off
#: host     rlis
#: drivers  rust mixed c rustbus
#: quick    none
#: modules  hv_vmbus hv_storvsc
#: root     96M
#: programs fstrim
#: args     --no-ic --scsi scsi0 --disk scsi0:0:0,file=@job@/root.ext4
#: cmdline  root=LABEL=rlis-root ro
#: cpus     1
#: seconds  120

# From here on everything that runs is read from the disk. `init` has mounted it for writing.
root=$(sed -n 's,^/dev/\([a-z]*\) / ext4 .*,\1,p' /proc/mounts)
check root_is_a_disk test -b "/dev/$root"
driver() { basename "$(readlink "$(readlink -f "/sys/block/$root" | sed 's,/host[0-9].*,,')/driver")"; }
check root_is_on_our_driver equal hv_storvsc "$(driver)"
check root_is_writable grep -q "^/dev/$root / ext4 rw" /proc/mounts
check driver_is_held sh -c '! rmmod hv_storvsc 2>/dev/null'

# Every file, read past the cache, is what the image was made of.
echo 3 >/proc/sys/vm/drop_caches
unchanged() { cd / && sha256sum -c /etc/manifest >/tmp/sums 2>&1 || { grep -v 'OK$' /tmp/sums; false; }; }
check files_are_unchanged unchanged

# What is written survives being thrown out of memory, and renames and deletions besides.
mkdir /var/kept
written() {
	for i in 1 2 3 4; do
		head -c 2000000 /dev/urandom >"/var/kept/$i.new" && mv "/var/kept/$i.new" "/var/kept/$i" || return 1
	done
	rm /var/kept/3
	(cd /var/kept && sha256sum 1 2 4 >/tmp/kept)
}
check files_are_written written
check sync sync
echo 3 >/proc/sys/vm/drop_caches
check files_are_kept sh -c 'cd /var/kept && sha256sum -c /tmp/kept'
check fsync dd if=/dev/zero of=/var/kept/5 bs=64k count=16 conv=fsync
check trim fstrim /
check files_after_trim unchanged
# The driver that serves the root is not swapped: everything that ran came from it.
check no_error_in_log sh -c '! dmesg | grep -E "I/O error|EXT4-fs error|ignored a packet"'
check host_has_no_complaint equal '' "$(host violations)"
