# SPDX-License-Identifier: GPL-2.0
#: what     The host reads and sets the addresses of a network card through the distribution's unmodified hv_kvp_daemon
#: host     rlis
#: drivers  mixed rust rustbus c
#: quick    none
#: modules  hv_vmbus hv_netvsc hv_utils ptp
#: programs hv_kvp_daemon ip
#: args     --net net0,mac=00:15:5d:0a:0b:0c
#: cpus     1
#: seconds  120

mac=00:15:5d:0a:0b:0c
MAC=00:15:5D:0A:0B:0C
card() { basename "$(dirname "$(grep -l "^$mac" /sys/class/net/*/address)")"; }
has_card() { grep -q "^$mac" /sys/class/net/*/address; }
check bus_loads load hv_vmbus
check network_loads load hv_netvsc
check card_found wait_for 30 has_card
eth=$(card)
check utils_load load hv_utils
check device_node wait_for 10 test -c /dev/vmbus/hv_kvp
guid=$(cat "/sys/class/net/$eth/device/device_id")
check up ip link set "$eth" up
check address ip addr add 10.0.0.2/24 dev "$eth"
check route ip route add default via 10.0.0.1 dev "$eth"
v6() { [ -e /proc/net/if_inet6 ]; }

# What a distribution puts there: takes the settings over, and remembers what it was called with.
mkdir -p /usr/libexec/hypervkvpd
cat >/usr/libexec/hypervkvpd/hv_set_ifconfig <<'EOF'
#!/bin/sh
cp "$1" /run/ifcfg
cp "$2" /run/keyfile
. "$1"
ip addr flush dev "$DEVICE" scope global
ip addr add "$IPADDR0/24" dev "$DEVICE"
ip addr add "$IPADDR1/16" dev "$DEVICE"
[ ! -e /proc/net/if_inet6 ] || /usr/bin/ip addr add "$IPV6ADDR/$IPV6NETMASK" dev "$DEVICE" nodad
ip route replace default via "$GATEWAY" dev "$DEVICE"
EOF
printf '#!/bin/sh\necho 192.0.2.53\n' >/usr/libexec/hypervkvpd/hv_get_dns_info
printf '#!/bin/sh\necho Enabled\n' >/usr/libexec/hypervkvpd/hv_get_dhcp_info
chmod +x /usr/libexec/hypervkvpd/*
hv_kvp_daemon -n & daemon=$!
ready() { host kvp-list auto-external >/dev/null; }
check daemon_ready wait_for 20 ready

host kvp-ip $MAC >/tmp/info
note "$(tr '\n' ' ' </tmp/info)"
check addresses grep -qE '^addresses=10\.0\.0\.2(;|$)' /tmp/info
check netmasks grep -qE '^netmasks=255\.255\.255\.0(;|$)' /tmp/info
check gateways grep -qE '^gateways=10\.0\.0\.1(;|$)' /tmp/info
check name_servers grep -qE '^dns=192\.0\.2\.53(;|$)' /tmp/info
check dhcp grep -q 'dhcp=true' /tmp/info

inject() {
	host kvp-set-ip "$guid" '"192.0.2.7;192.0.2.8;2001:db8::7"' '"255.255.255.0;255.255.0.0;64"' \
		'"192.0.2.1;2001:db8::1"' '"192.0.2.53;2001:db8::53"'
}
check inject inject
note "$(tr '\n' ' ' </run/ifcfg)"
note "$(tr '\n' ' ' </run/keyfile)"
line() { grep -qxF "$1" "${2:-/run/ifcfg}" || { echo "no line $1"; false; }; }
check set_mac line "HWADDR=$MAC"
check set_device line "DEVICE=$eth"
check set_static line BOOTPROTO=none
check set_address line IPADDR0=192.0.2.7
check set_second_address line IPADDR1=192.0.2.8
check set_netmask line NETMASK0=255.255.255.0
check set_second_netmask line NETMASK1=255.255.0.0
check set_gateway line GATEWAY=192.0.2.1
check set_name_server line DNS1=192.0.2.53
check set_address_6 line IPV6ADDR=2001:0db8:0000:0000:0000:0000:0000:0007
check set_netmask_6 line IPV6NETMASK=64
check set_gateway_6 line IPV6_DEFAULTGW=2001:0db8:0000:0000:0000:0000:0000:0001
check set_name_server_6 line DNS2=2001:0db8:0000:0000:0000:0000:0000:0053
check key_address line address1=192.0.2.7/24 /run/keyfile
check key_address_6 line address1=2001:db8::7/64 /run/keyfile

host kvp-ip $MAC >/tmp/info
note "$(tr '\n' ' ' </tmp/info)"
check new_addresses grep -qE '^addresses=192\.0\.2\.7;192\.0\.2\.8(;|$)' /tmp/info
v6 && check new_address_6 grep -qiE '^addresses=.*;2001:db8::7(;|$)' /tmp/info
check new_gateway grep -qE '^gateways=192\.0\.2\.1(;|$)' /tmp/info
unknown() { said=$(host kvp-set-ip '{00000000-0000-0000-0000-00000000000a}' 10.0.0.1 255.0.0.0) && return 1; echo "$said" | grep -qi 80041002; }
check unknown_card unknown
kill -KILL $daemon
wait
check no_violations equal '' "$(host violations)"
