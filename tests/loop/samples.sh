# SPDX-License-Identifier: GPL-2.0
#: what     The examples for other drivers: a driver on the bus, a card, a clock, a mailbox and a worker come, work and go
#: drivers  rust
#: samples  yes
#: cpus     2
#: seconds  120

check bus_loads insmod /modules/hv_loop.ko luns=1
check samples_load insmod /modules/rlis_samples.ko
check driver_is_registered test -d /sys/bus/vmbus/drivers/rlis_sample
check clock_is_there grep -qx 'rlis sample' /sys/class/ptp/ptp*/clock_name

# What is written to the mailbox can be read once.
box=/dev/rlis_sample
check mode equal 600 "$(stat -c %a $box)"
take() { dd if=$box bs=64 count=1 2>/dev/null; }
put() { printf %s "$1" >$box; }
check put put first
check too_little_room sh -c "! dd if=$box bs=4 count=1"
check taken equal first "$(take)"
take >/tmp/taken &
reader=$!
waits() { sleep 1; kill -0 $reader; }
check reader_waits waits
check put_for_reader put second
ended() { ! kill -0 $reader 2>/dev/null; }
check reader_wakes wait_for 10 ended
check reader_has_it equal second "$(cat /tmp/taken)"

# The card counts what it is told to send, and has no peer.
card() { for c in /sys/class/net/*; do [ "$(cat "$c/address")" = 02:00:00:00:00:01 ] && basename "$c" && return; done; return 1; }
check card_is_there card || exit 1
eth=$(card)
sent() { cat "/sys/class/net/$eth/statistics/tx_packets"; }
check card_goes_up ip link set "$eth" up
check card_has_carrier equal 1 "$(cat "/sys/class/net/$eth/carrier")"
check card_has_an_address ip addr add 10.9.0.1/24 dev "$eth"
before=$(sent)
ping -c 1 -W 1 10.9.0.2 >/dev/null 2>&1
check card_has_sent test "$(sent)" -gt "$before"
check mtu ip link set "$eth" mtu 9000
check mtu_beyond_is_refused sh -c "! ip link set $eth mtu 9001"
check another_address sh -c "ip link set $eth down && ip link set $eth address 02:00:00:00:00:02"

check worker_notices wait_for 10 logged 'rlis_samples: nothing heard for 1000 ms'

# All of it goes with the module.
check samples_unload rmmod rlis_samples
check card_is_gone test ! -e "/sys/class/net/$eth"
check mailbox_is_gone test ! -e $box
check samples_load_again insmod /modules/rlis_samples.ko
check samples_unload_again rmmod rlis_samples
check bus_unloads rmmod hv_loop
