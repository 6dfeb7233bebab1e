# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2016 # what tests/packaging/run sets; much here is for shells elsewhere
#
# install.sh, upgrade.sh and uninstall.sh at the top of the tarball, as a user runs them. Sourced by tests/packaging/run.

# said PATTERN COMMAND: COMMAND, run in the unpacked tarball, succeeds and says that. refused: it fails, and says that.
said() { ends_with 0 "$@"; }
refused() { ends_with 1 "$@"; }
ends_with() {
	in_system sh -euc 'cd "rlis-$1"; failed=0; (eval "$4") >../said 2>&1 || failed=1
		[ $failed = "$2" ] && grep -qe "$3" ../said || { cat ../said; exit 1; }' sh "$version" "$@"
}
is_there() { in_system sh -euc 'test "$(cat /usr/share/rlis/VERSION)" = "$1" && dkms status "rlis/$1" -k "$2" | grep -q ": installed"' sh "$1" "$2"; }
part_setup() {
	local r m deb_name
	r=$(releases | grep '^6')
	deb_name=$(basename "$deb")
	pretend_kernel "$r"
	in_system sh -euc 'rm -rf "rlis-$2" rlis-0.0.9 "$3" && tar -xf "$1" && if [ -d compiled ]; then cp -a compiled /var/cache/rlis; fi
		cp -a "rlis-$2" rlis-0.0.9 && cd rlis-0.0.9 && echo 0.0.9 >VERSION && sed -i "s/^PACKAGE_VERSION=.*/PACKAGE_VERSION=\"0.0.9\"/" dkms.conf
		echo an-old-file >packaging/old && sed -i "s,^VERSION usr,packaging/old usr/share/rlis-old 644\nVERSION usr," packaging/install' sh "$tarball" "$version" "$deb_name"
	check setup/dry_run said '^+ dkms add rlis/' './install.sh --dry-run'
	check setup/dry_run_changes_nothing nothing_left /var/lib
	check setup/checkout_is_refused refused 'make dist' 'mv portable away; ./install.sh || { mv away portable; false; }'
	check setup/nothing_to_upgrade refused 'nothing is installed yet' ./upgrade.sh
	check setup/nothing_to_uninstall refused 'nothing is installed' ./uninstall.sh
	check setup/unknown_option_is_refused refused '--dry-run' './install.sh --force'
	in_system sh -euc 'mkdir -p /lib/modules/5.10.0-1-amd64/build/include/config
		cd /lib/modules/5.10.0-1-amd64/build && echo 5.10.0-1-amd64 >include/config/kernel.release && touch Makefile
		printf "CONFIG_%s=y\n" X86_64 MODULES HYPERV >include/config/auto.conf'
	pretend_kernel 5.10.0-1-amd64
	check setup/unfit_kernel_is_refused refused 'takes none of the modules' ./install.sh
	in_system rm -r /lib/modules/5.10.0-1-amd64
	pretend_kernel 6.12.0-none
	check setup/missing_headers_are_named refused 'linux-headers-6.12.0-none could not be installed' ./install.sh
	pretend_kernel "$r"
	check setup/refusals_left_nothing nothing_left /var/lib

	check setup/older_one_installs said 'version 0.0.9 is installed' 'cd ../rlis-0.0.9 && ./install.sh'
	check setup/older_one_is_there is_there 0.0.9 "$r"
	check setup/image_from_before_is_kept in_system sh -c 'test -s "/boot/initrd.img-$1.bak" && ! lsinitramfs "/boot/initrd.img-$1.bak" | grep updates/dkms' sh "$r"
	check setup/install_names_upgrade refused './upgrade.sh' ./install.sh
	check setup/upgrades said "version $version is installed" ./upgrade.sh
	check setup/newer_one_is_there is_there "$version" "$r"
	check setup/older_one_is_gone in_system sh -c '! ls -d /usr/src/rlis-0.0.9 /usr/share/rlis-old /var/lib/dkms/rlis/0.0.9'
	check setup/no_way_down refused 'is newer than this one' 'cd ../rlis-0.0.9 && ./upgrade.sh'
	for m in $(modules_of "$r"); do check "setup/${m}_is_ours" uses "$r" "$m" updates; done
	check setup/lsvmbus_is_in_the_path in_system sh -c 'rlis-lsvmbus --help | grep -q relid'

	cp "$deb" "$system/io/"
	check setup/package_takes_over said 'installing the package' ./upgrade.sh
	check setup/package_is_there in_system sh -c 'dpkg-query -W -f "\${db:Status-Status}" rlis-dkms | grep -qx installed'
	check setup/package_serves uses "$r" hv_storvsc updates
	check setup/package_again said 'installing the package' ./upgrade.sh
	check setup/uninstalls said "own drivers are used after the next boot" ./uninstall.sh
	check setup/kernels_own_is_used uses "$r" hv_storvsc kernel
	check setup/kernel_files_as_before same_own_files

	in_system rm "$deb_name"
	check setup/installs said "version $version is installed" ./install.sh
	check setup/uninstalls_by_hand said "own drivers are used after the next boot" ./uninstall.sh
	check setup/image_is_clean in_system sh -c '! lsinitramfs "/boot/initrd.img-$1" | grep -e updates/ -e rlis' sh "$r"
	check setup/no_image_is_left in_system sh -c '! ls /boot/*.bak'
	in_system rm -rf "rlis-$version" rlis-0.0.9
	pretend_kernel
	check setup/nothing_is_left nothing_left
}
