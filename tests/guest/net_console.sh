# SPDX-License-Identifier: GPL-2.0
#: what     What the bus logs while a card sends leaves through that card (netconsole), and no lock is taken twice
#: host     rlis
#: drivers  rustbus
#: quick    none
#: kernels  stock-6.12
#: modules  hv_vmbus hv_netvsc netconsole
#: programs ethtool
#: args     --no-ic --net net0
#: cpus     1
#: seconds  240

# Kernels from 7.x on hand the lines of netconsole to a thread; 6.12 sends them where printk was called. With one CPU a
# lock that is taken twice is the end of this guest.
check bus_loads load hv_vmbus
check network_loads load hv_netvsc
check card_found wait_for 30 has_card 00:15:5d:00:01:00
eth=$(card 00:15:5d:00:01:00)
ip link set "$eth" up
ip addr add 10.0.0.2/24 dev "$eth"
check ping ping -c 2 -w 20 10.0.0.1
peer=$(awk '$1 == "10.0.0.1" { print $4 }' /proc/net/arp)
# The host's port 9 counts what it discards.
check netconsole_loads modprobe netconsole "netconsole=@10.0.0.2/$eth,9@10.0.0.1/$peer"
lines_at_host() { counted net0 discarded; }
before=$(lines_at_host)
note 'a line for the card'
came() { [ "$(lines_at_host)" -gt "$before" ]; }
check a_line_arrives wait_for 10 came

# The host answers, and then shows a read index outside of the ring: the guest finds it when it completes the answer's
# packet in its poll function, where the card's queue is not locked, or when it sends.
ruined() { dmesg | grep -c 'outbound ring of relid .*'; }
completes_in_vain() {
	for i in $(seq 25); do
		host fault net0 ring-read-index-outside 1 300 || return
		ping -c 4 -i 0.05 -w 2 10.0.0.1 >/tmp/ping
	done
	[ "$(ruined)" -gt 4 ] || { echo "$(ruined) lines of the bus"; false; }
}
busy() { ethtool -S "$eth" | sed -n 's/^ *rx_comp_busy: //p'; }
check completes_in_vain completes_in_vain
check from_the_poll_function test "$(busy)" -gt 0
before=$(lines_at_host)
note 'another line for the card'
check a_line_arrives_afterwards wait_for 20 came
check ping_afterwards ping -c 2 -w 30 10.0.0.1
check no_violations equal '' "$(host violations)"
