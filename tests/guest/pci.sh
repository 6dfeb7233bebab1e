# SPDX-License-Identifier: GPL-2.0
#: what     PCI pass-through with the unmodified C driver: configuration space, BARs, MSI on either processor, ejected, rescinded
#: host     rlis
#: kernels  stock-6.12
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus pci-hyperv
#: args     --no-ic --pci pci0 --pci pci1,version=1.1 --pci pci2,version=1.2 --pci pci3,version=1.3
#: cpus     2
#: seconds  400

# The buses are the PCI domains 1000 to 1003; behind each is a serial port, which the kernel's own 8250_pci drives.
pci_device() { echo "/sys/bus/pci/devices/100$1:00:00.0"; }
bound() { [ "$(basename "$(readlink "$(pci_device "$1")/driver")")" = serial ] && [ -n "$(port "$1")" ]; }
gone() { ! [ -e "$(pci_device "$1")" ]; }
port() { find "$(pci_device "$1")/" -name 'ttyS*' -type d 2>/dev/null | sed 's,.*/,,'; }
is() { equal "$3" "$(cat "$(pci_device "$1")/$2")"; }
# state BUS NAME: what the host says of it.
state() { host pcis "pci$1" | sed -n "s/^pci$1.* $2=\\([^ ]*\\).*/\\1/p"; }
# bar BUS NUMBER: its address as the kernel has it.
bar() { sed -n "$(($2 + 1))s/ .*//p" "$(pci_device "$1")/resource" | sed 's/0x0*/0x/'; }
within() { [ $(($1)) -ge $(($2)) ] && [ $(($1)) -le $(($3)) ]; }
irq() { ls "$(pci_device "$1")/msi_irqs"; }
# interrupts BUS PROCESSOR: how many that processor got.
interrupts() { awk -v irq="$(irq "$1"):" -v column=$(($2 + 2)) '$1 == irq { print $column }' /proc/interrupts; }
# The host's count for each processor is not below the kernel's: two that come while one is handled are one.
counted() {
	for processor in 0 1; do
		said=$(state "$1" by_vcpu | tr , '\n' | sed -n "s/^$processor://p")
		[ "$(interrupts "$1" $processor)" -le "${said:-0}" ] || { state "$1" by_vcpu; grep "^ *$(irq "$1"):" /proc/interrupts; return 1; }
	done
	[ "$(($(interrupts "$1" 0) + $(interrupts "$1" 1)))" -gt 0 ]
}

# Descriptor 8 is the serial port of the bus in use.
open_port() { stty -F "/dev/$(port "$1")" raw -echo clocal; }
received() { equal "$2" "$(host pci-received "pci$1")"; }
sends() {
	host pci-received "pci$1" --take >/dev/null
	printf '%s' "$2" >&8
	wait_for 15 received "$1" "$2"
}
gets() {
	host pci-send "pci$1" "text:$2"
	equal "$2" "$(timeout 15 head -c ${#2} <&8)"
}
both_ways() {
	check "port_opens_$1" open_port "$1"
	exec 8<>"/dev/$(port "$1")"
	check "sends_$1" sends "$1" "from the guest on bus $1"
	check "receives_$1" gets "$1" 'from_the_host'
}

check bus_loads load hv_vmbus
before=$(cat /proc/iomem)
check driver_loads load pci-hyperv
for bus in 0 1 2 3; do check "found_$bus" wait_for 60 bound $bus; done

check vendor is 0 vendor 0x9710
check device is 0 device 0x9900
check subsystem_vendor is 0 subsystem_vendor 0xa000
check subsystem_device is 0 subsystem_device 0x1000
check class is 0 class 0x070002
said=$(host pcis)
check versions equal '1.4 1.1 1.2 1.3' "$(echo "$said" | sed 's/.* version=\([^ ]*\).*/\1/' | tr '\n' ' ' | sed 's/ $//')"
check resources_assigned equal 4 "$(echo "$said" | grep -c ' assigned=yes ')"

# Where the kernel put it is where the host finds it, and it is the bus's to give.
for bus in 0 1 2 3; do
	check "bar_0_$bus" equal "$(bar $bus 0)" "$(state $bus bar0)"
	check "bar_0_below_4g_$bus" within "$(bar $bus 0)" 0xf8000000 0xfbfff000
	check "bar_2_$bus" equal "$(bar $bus 2)" "$(state $bus bar2)"
	check "bar_2_above_4g_$bus" within "$(bar $bus 2)" 0x1000000000 0x1fffff0000
done
check bars_in_iomem equal 2 "$(grep -c ' 1000:00:00.0' /proc/iomem)"
check config_by_sysfs equal '10 97 00 99' "$(hexdump -n 4 -e '4/1 "%02x " "\n"' "$(pci_device 0)/config" | sed 's/ $//')"
memory=$(bar 0 2)
check memory_written devmem $((memory + 0xfff8)) 32 0x12345678
check memory_read equal 0x12345678 "$(devmem $((memory + 0xfff8)) 32)"
check other_memory_untouched equal 0x00000000 "$(devmem $(($(bar 1 2) + 0xfff8)) 32)"

for bus in 1 2 3; do
	both_ways $bus
	check "interrupts_counted_$bus" counted $bus
	exec 8>&-
done
both_ways 0
check is_msi grep -qE "^ *$(irq 0): .*Hyper-V PCIe MSI" /proc/interrupts
check one_message equal 1 "$(state 0 messages)"
# All bytes that there are, more than any buffer on the way holds at once.
pattern() {
	host pci-send pci0 pattern:3000
	timeout 60 head -c 3000 <&8 | hexdump -v -e '1/1 "%u\n"' |
		awk '$1 != (NR - 1) % 251 { print "byte " NR " is " $1; wrong = 1 } END { if (NR != 3000) print NR " bytes"; exit wrong || NR != 3000 }'
}
check receives_much pattern
check sends_much sends 0 "$(seq 1000 1700 | tr '\n' ' ')"
check interrupts_counted counted 0

# The interrupt follows its affinity. The first one after the change still comes to the old processor.
moves_to() {
	echo $((1 << $1)) >"/proc/irq/$(irq 0)/smp_affinity"
	gets 0 x && gets 0 y || return 1
	was=$(interrupts 0 "$1")
	for i in 1 2 3 4 5; do gets 0 "$i" || return 1; done
	[ "$(interrupts 0 "$1")" -ge $((was + 5)) ] || { grep "^ *$(irq 0):" /proc/interrupts; return 1; }
}
moved=$(state 0 retargets)
check second_processor moves_to 1
check first_processor moves_to 0
check second_processor_again moves_to 1
check host_was_told test "$(state 0 retargets)" -ge $((moved + 3))
check counted_by_processor counted 0
for bus in 1 2; do
	exec 8<>"/dev/$(port $bus)"
	irq=$(irq $bus)
	check "moves_old_version_$bus" sh -c "echo 2 >/proc/irq/$irq/smp_affinity"
	for i in 1 2 3; do check "gets_after_move_$bus$i" gets $bus "$i"; done
	check "on_second_processor_$bus" test "$(interrupts $bus 1)" -ge 2
	exec 8>&-
done
check nothing_lost equal 4 "$(host pcis | grep -c ' lost=0 ')"

# Ejected while its port is open; the bus goes as well.
exec 8<>"/dev/$(port 3)"
check ejected host eject pci3
check ejected_gone wait_for 20 gone 3
exec 8>&-
offered() { host list | grep -q "^pci$1 "; }
not_offered() { ! offered "$1"; }
check ejected_released wait_for 20 not_offered 3
check ejected_deleted_its_message equal 0 "$(state 3 undeleted)"
check others_stay bound 0
check offered_after_ejection host offer pci3
check back_after_ejection wait_for 60 bound 3
both_ways 3
exec 8>&-

check rescinded host rescind pci2
check rescinded_gone wait_for 20 gone 2
check rescinded_released wait_for 20 not_offered 2
check offered_again host offer pci2
check back_again wait_for 60 bound 2
both_ways 2
exec 8>&-

for i in 1 2 3; do
	check "unloads_$i" unload pci-hyperv
	check "nothing_left_$i" equal "$before" "$(cat /proc/iomem)"
	check "no_domain_left_$i" equal '' "$(ls /sys/bus/pci/devices)"
	said=$(host pcis)
	check "not_in_use_$i" equal 4 "$(echo "$said" | grep -c ' d0=no window=none bar0=none bar2=none assigned=no msi=off ')"
	check "all_deleted_$i" equal 4 "$(echo "$said" | grep -c ' messages=0 undeleted=0 ')"
	check "loads_again_$i" load pci-hyperv
	for bus in 0 1 2 3; do check "found_again_$i$bus" wait_for 60 bound $bus; done
done
both_ways 0
exec 8>&-
check unloads_at_last unload pci-hyperv
check bus_unloads unload hv_vmbus
check no_violations equal '' "$(host violations)"
complaints() { ! dmesg | grep -E 'hv_irq_retarget|interrupt failed|No irq handler|Invalid transaction|unhandled packet|too small'; }
check driver_content complaints
