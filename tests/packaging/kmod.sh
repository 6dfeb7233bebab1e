# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2016 # what tests/packaging/run sets; much here is for shells elsewhere
#
# Packages of built modules (make kmod), as a fleet with Secure Boot has them: made for one kernel and signed with a key of its
# own, installed without a compiler, taken away. Sourced by tests/packaging/run. The system is one of its own.

# in_tree COMMAND: a shell's, in the unpacked tarball; $1 there is the kernel, $2 our version.
in_tree() { in_system sh -euc "cd rlis-$version; $1" sh "$r" "$version"; }
kmod_says() { in_tree "if $2 >../said 2>&1; then cat ../said; exit 1; fi; grep -e '$1' ../said || { cat ../said; exit 1; }"; }
kmod_refused() { local pattern=$1; shift; kmod_says "$pattern" "make kmod $*"; }

# The signature behind a module is one of its content by the certificate, which openssl says from outside: at the end are 28 bytes of
# magic, before them 12 whose last four count the PKCS#7 message, which stands before.
signed_by() { # FILE CERTIFICATE
	in_system sh -euc 'file=$1 size=$(stat -c %s "$1")
		test "$(tail -c 28 "$file")" = "~Module signature appended~"
		length=$((0x$(tail -c 32 "$file" | head -c 4 | od -An -tx1 | tr -d " ")))
		head -c $((size - 40 - length)) "$file" >content
		tail -c $((40 + length)) "$file" | head -c "$length" >signature
		test "$(tail -c 40 "$file" | od -An -N3 -tu1 | tr -s " ")" = " 0 0 2"
		openssl cms -verify -binary -inform DER -in signature -content content -certfile "$2" -nointern -noverify -out verified
		cmp content verified' sh "$@"
}
# Each module for RELEASE is the kernel's own, or ours.
all_use() { # RELEASE updates/rlis|kernel
	local m
	for m in $(modules_of "$1"); do uses "$1" "$m" "$2" || return 1; done
}
image_has_both() { # LISTER IMAGE
	in_system sh -euc '"$1" "/boot/$2" >listed; for m in hv/hv_vmbus scsi/hv_storvsc; do
		grep -q "updates/rlis/${m##*/}.ko" listed; grep -q "kernel/drivers/$m.ko" listed; done; grep -q usr/libexec/rlis/load-module listed
		grep -q usr/libexec/rlis/check-disks listed' sh "$@"
}
image_is_clean() { in_system sh -euc '"$1" "/boot/$2" >listed; ! grep -e updates/ -e usr/libexec/rlis listed' sh "$@"; }
apt() { in_system env DEBIAN_FRONTEND=noninteractive apt-get -y "$@"; }
# The fields of a package: FILE and lines 'FIELD VALUE'.
deb_fields() {
	local file=$1 field value said
	while read -r field value; do
		said=$(in_system dpkg-deb -f "$file" "$field" </dev/null)
		[ "$said" = "$value" ] || { echo "$field is '$said'"; return 1; }
	done
}

part_kmod() {
	local r other m deb_modules deb_common rpm_modules rpm_common rhel=6.12.0-124.8.1.el10_1.x86_64 uek=6.12.0-105.51.5.el10uek.x86_64
	new_system
	own_files >"$system/own-files"
	r=$(releases | grep '^6')
	other=$(releases | grep '^7')
	in_system tar -xf "$tarball"
	# The key of the machines' owner, another, and headers like these of kernels that are none.
	in_system sh -euc 'for who in fleet other; do
			openssl req -new -x509 -newkey rsa:2048 -nodes -days 36 -subj "/CN=modules of the $who/" -addext extendedKeyUsage=codeSigning \
				-keyout $who.key -out $who.pem 2>&1; openssl x509 -in $who.pem -outform DER -out $who.der; done
		like() { # RELEASE NEW: with its drivers for Hyper-V
			(cd "/lib/modules/$1" && find kernel -name "hv_*.ko.xz" -exec install -D {} "/lib/modules/$2/{}" ";")
			cp -a "/usr/src/linux-headers-$1" "/usr/src/linux-headers-$2" && ln -s "/usr/src/linux-headers-$2" "/lib/modules/$2/build"
			echo "$2" >"/lib/modules/$2/build/include/config/kernel.release"
		}
		like "$1" "$2"; like "$1" "$3"; like "$1" 6.12.0-forced; like "$1" 5.10.0-1-amd64
		echo CONFIG_MODULE_SIG_FORCE=y >>/lib/modules/6.12.0-forced/build/include/config/auto.conf' sh "$r" "$rhel" "$uek" >/dev/null

	check kmod/unfit_kernel_is_refused kmod_refused 'older than 6.12' KDIR=/lib/modules/5.10.0-1-amd64/build
	check kmod/no_kernel_is_refused kmod_refused 'KDIR' ''
	check kmod/key_alone_is_refused kmod_refused 'a key and its certificate' KDIR="/lib/modules/$r/build" KEY=../fleet.key
	check kmod/foreign_certificate_is_refused kmod_refused 'does not sign with the certificate' KDIR="/lib/modules/$r/build" KEY=../fleet.key CERT=../other.der
	check kmod/missing_key_is_refused kmod_refused 'none.key cannot be read' KDIR="/lib/modules/$r/build" KEY=none.key CERT=../fleet.der
	check kmod/forced_signatures_want_a_key kmod_refused 'loads signed modules only' KDIR=/lib/modules/6.12.0-forced/build
	check kmod/deb_of_an_rpm_kernel_is_refused kmod_refused 'KIND=rpm makes the other' KDIR="/lib/modules/$rhel/build" KIND=deb
	check kmod/unknown_kind_is_refused kmod_refused 'KIND is deb' KDIR="/lib/modules/$r/build" KIND=tgz
	check kmod/refusals_left_nothing in_tree '! ls build/packages'

	check kmod/makes in_tree 'make kmod KDIR="/lib/modules/$1/build" KEY=../fleet.key CERT=../fleet.der && mv build/packages ../made' || return
	# What it says that it has made, by the versions of this tree.
	deb_modules=made/rlis-modules-${r}_$version-1_amd64.deb deb_common=made/rlis-common_$version-1_all.deb
	rpm_modules=made/kmod-rlis-$r-$version-1.x86_64.rpm rpm_common=made/rlis-common-$version-1.noarch.rpm
	check kmod/lintian_clean in_system lintian --fail-on error,warning --tag-display-limit 0 --suppress-tags initial-upload-closes-no-bugs \
		"$deb_modules" "$deb_common"
	check kmod/rpmlint_clean in_system rpmlint -c "rlis-$version/packaging/rpm/rpmlint.toml" "$rpm_modules" "$rpm_common"
	check kmod/deb_fields deb_fields "$deb_modules" <<-END
		Package rlis-modules-$r
		Version $version-1
		Architecture amd64
		Depends rlis-common (>= $version), linux-image-$r | linux-image-$r-unsigned | linux-image-unsigned-$r, kmod
	END
	check kmod/deb_fields_of_common deb_fields "$deb_common" <<-END
		Architecture all
		Conflicts rlis-dkms
		Replaces rlis-dkms
	END
	check kmod/rpm_is_tied_to_its_kernel in_system sh -euc 'rpm -qpR "$1" >said; grep -x "/lib/modules/$2/modules.builtin" said
		grep -x "rlis-common >= $3" said; rpm -qp --conflicts "$4" | grep -x rlis-dkms' sh "$rpm_modules" "$r" "$version" "$rpm_common"
	# Kernels as distributions of rpms name them; in place of a compiler stands a program there.
	stand_in_modules "$system/io/rlis-$version/scripts/modules"
	for m in "$rhel:kernel-uname-r" "$uek:kernel-uek-uname-r"; do
		check "kmod/${m#*:}" in_system sh -euc 'cd "rlis-$3"; make kmod KDIR="/lib/modules/$1/build" >../named
			test "$(wc -l <../named)" = 2; rpm -qpR "build/packages/kmod-rlis-$1-$3"-1*.rpm | grep -x "$2 = $1"
			rpm -qp --provides "build/packages/kmod-rlis-$1-$3"-1*.rpm | grep -x "kmod-rlis = $3-1"' sh "${m%%:*}" "${m#*:}" "$version"
	done
	in_system sh -c 'rm -rf /lib/modules/"$1" /lib/modules/"$2" /lib/modules/6.12.0-forced /lib/modules/5.10.0-1-amd64
		for r in "$1" "$2" 6.12.0-forced 5.10.0-1-amd64; do rm -rf "/usr/src/linux-headers-$r"; done' sh "$rhel" "$uek"

	# As on a machine that runs the kernel.
	pretend_kernel "$r"
	kmod_by_apt "$r" "$other" "$deb_modules" "$deb_common"
	kmod_boots "$r"
	kmod_goes "$r" "$other" "$deb_modules" "$deb_common"
	kmod_by_rpm "$r" "$other" "$rpm_modules" "$rpm_common"
	pretend_kernel
	in_system rm -rf "rlis-$version"
	check kmod/nothing_is_left nothing_left
}

kmod_by_apt() {
	local r=$1 other=$2 m
	check kmod/dkms_by_hand_is_refused in_system sh -euc 'mkdir -p /var/lib/dkms/rlis/0.0.1; if dpkg -i "$1" >said 2>&1; then exit 1; fi
		grep "DKMS has modules of version 0.0.1" said; rm -r /var/lib/dkms/rlis' sh "$4"
	if [ -n "${STAND_IN:-}" ]; then
		# In the place of DKMS and its modules.
		cp "$deb" "$system/io/rlis-dkms.deb"
		check kmod/dkms_installs apt install ./rlis-dkms.deb
		check kmod/dkms_is_in_use uses "$r" hv_storvsc updates/dkms
	fi
	check kmod/installs apt install "./$3" "./$4"
	[ -z "${STAND_IN:-}" ] || check kmod/dkms_gave_way in_system sh -euc 'if dpkg-query -W -f "\${db:Status-Status}" rlis-dkms | grep -qx installed; then exit 1; fi
		if ls -d /var/lib/dkms/rlis /lib/modules/*/updates/dkms/hv_*; then exit 1; fi; apt-get purge -y rlis-dkms; test -s /var/lib/rlis/kept-images'
	check kmod/no_compiler_is_asked_for in_system sh -c '! dpkg-deb -f "$1" Depends Recommends | grep -e gcc -e rustc -e dkms && ! dpkg-deb -c "$2" | grep -e build-modules -e /etc/kernel' sh "$3" "$4"
	check kmod/ours_are_used all_use "$r" updates/rlis
	for m in $(modules_of "$r"); do
		check "kmod/${m}_version" is_version "$r" "$m"
		check "kmod/${m}_signer" in_system sh -c 'test "$(modinfo -k "$1" -F signer "$2")" = "modules of the fleet" && test "$(modinfo -k "$1" -F sig_id "$2")" = PKCS#7' sh "$r" "$m"
		check "kmod/${m}_signature" signed_by "$(file_of "$r" "$m")" fleet.pem
	done
	check kmod/signature_is_no_other_keys fails signed_by "$(file_of "$r" hv_storvsc)" other.pem
	in_system sh -euc 'cp "$1" spoilt.ko && printf X | dd of=spoilt.ko bs=1 seek=4000 conv=notrunc 2>/dev/null' sh "$(file_of "$r" hv_storvsc)"
	check kmod/signature_is_of_the_content fails signed_by spoilt.ko fleet.pem
	check kmod/image_has_both image_has_both lsinitramfs "initrd.img-$r"
	check kmod/image_from_before_is_kept in_system sh -c 'test -s "/boot/initrd.img-$1.bak" && ! lsinitramfs "/boot/initrd.img-$1.bak" | grep updates/' sh "$r"
	check kmod/other_kernel_has_its_own all_use "$other" kernel
	check kmod/kernel_files_untouched same_own_files
	check kmod/dpkg_verifies in_system sh -c '! dpkg --verify rlis-common "rlis-modules-$1" | grep -v /usr/share/man/' sh "$r"
	check kmod/goes_with_its_kernel in_system sh -c 'apt-get -s remove "linux-image-$1" | grep "^Remv rlis-modules-$1 "' sh "$r"
	cp "$deb" "$system/io/rlis-dkms.deb"
	check kmod/dkms_would_take_its_place in_system sh -c 'apt-get -s install ./rlis-dkms.deb >said; grep "^Remv rlis-common " said && grep "^Remv rlis-modules-" said'
	check kmod/install_names_the_packages refused 'packages of built modules are installed' ./install.sh
	check kmod/upgrade_names_the_packages refused 'packages of built modules are installed' ./upgrade.sh
	check kmod/uninstall_would_take_them_away said 'apt-get purge -y rlis-common rlis-modules-' './uninstall.sh --dry-run'
}
# What the packages have put there is what the machine comes up with.
kmod_boots() {
	local r=$1
	[ -n "$(booted | grep -xF "$r")" ] || return 0
	new_run kmod
	root_image "$run/image-kmod" "$r"
	add_guest kmod-boots "$r" "$run/image-kmod" "$(initramfs_of "initrd.img-$r")" '' "vmbus=ours storvsc=ours utils=ours netvsc=ours version=$version"
	run_guests
}
kmod_goes() {
	local r=$1 other=$2
	check kmod/installs_again apt install --reinstall "./$3" "./$4"
	check kmod/ours_are_used_again all_use "$r" updates/rlis
	check kmod/image_kept_is_the_first in_system sh -c '! lsinitramfs "/boot/initrd.img-$1.bak" | grep updates/' sh "$r"
	check kmod/modules_are_removed apt remove "rlis-modules-$r"
	check kmod/own_are_used all_use "$r" kernel
	check kmod/image_has_its_own in_system sh -c 'lsinitramfs "/boot/initrd.img-$1" >listed; grep -q kernel/drivers/scsi/hv_storvsc.ko listed && ! grep updates/ listed' sh "$r"
	check kmod/image_kept_is_gone in_system sh -c '! ls /boot/*.bak'
	check kmod/installs_once_more apt install "./$3"
	check kmod/ours_are_back all_use "$r" updates/rlis
	check kmod/image_of_ours_is_not_kept in_system sh -euc 'rm /boot/*.bak; /usr/libexec/rlis/refresh-initramfs "$1"; if ls /boot/*.bak; then exit 1; fi' sh "$r"
	check kmod/uninstalls said 'own drivers are used after the next boot' ./uninstall.sh
	check kmod/own_are_used_in_the_end all_use "$r" kernel
	check kmod/image_is_clean image_is_clean lsinitramfs "initrd.img-$r"
	check kmod/kernel_files_as_before same_own_files
	check kmod/no_package_is_left in_system sh -c '! dpkg-query -W "rlis*" 2>/dev/null | grep . && ! ls -d /var/lib/rlis'
}
kmod_by_rpm() {
	local r=$1 other=$2
	in_system sh -euc 'mv "/boot/initrd.img-$1" /root/; printf "%s\n" "initrdname=\"initramfs-\${kernel}.img\"" hostonly=no >/etc/dracut.conf.d/name.conf
		dracut --force "" "$1" && test -s "/boot/initramfs-$1.img"' sh "$r" >/dev/null 2>&1
	check kmod/rpm/installs in_system rpm -i --nodeps "$3" "$4" || return 0
	check kmod/rpm/files_are_as_packaged in_system rpm -V --nodeps rlis-common "kmod-rlis-$r"
	check kmod/rpm/ours_are_used all_use "$r" updates/rlis
	check kmod/rpm/signature signed_by "$(file_of "$r" hv_storvsc)" fleet.pem
	check kmod/rpm/image_has_both image_has_both lsinitrd "initramfs-$r.img"
	check kmod/rpm/one_image_before_is_kept kept_image "$r"
	cp "$packages"/rlis-dkms-"$version"-1*.noarch.rpm "$system/io/"
	check kmod/rpm/dkms_is_refused in_system sh -euc 'if rpm -i --test rlis-dkms-*.rpm >said 2>&1; then exit 1; fi; grep "rlis-.* conflicts with .*rlis-" said'
	check kmod/rpm/installs_again in_system rpm -U --nodeps --replacepkgs "$3" "$4"
	check kmod/rpm/ours_are_used_again all_use "$r" updates/rlis
	check kmod/rpm/modules_are_erased in_system rpm -e "kmod-rlis-$r"
	check kmod/rpm/own_are_used all_use "$r" kernel
	check kmod/rpm/image_kept_is_gone in_system sh -c '! ls /boot/*-old'
	check kmod/rpm/common_is_erased in_system rpm -e rlis-common
	check kmod/rpm/image_is_clean image_is_clean lsinitrd "initramfs-$r.img"
	check kmod/rpm/kernel_files_as_before same_own_files
}
