# SPDX-License-Identifier: GPL-2.0
#: what     Dynamic memory comes and goes; all pages come back, and no block stays that must not come online
#: host     rlis
#: drivers  mixed rust
#: quick    none
#: modules  hv_vmbus hv_balloon
#: args     --no-ic --memory-device --hot-add 1G
#: memory   512M
#: seconds  400

check bus_loads load hv_vmbus
check balloon_loads load hv_balloon pressure_report_delay=0
ready() { host_says 'ready=1' memory; }
check agreed wait_for 20 ready
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
before=$(total)
check takes_64M host_says '^pages=16384 ' balloon 64M
check total_is_less equal $((before - 65536)) "$(total)"
check unloads unload hv_balloon
check total_is_back equal "$before" "$(total)"
grep -q '^Balloon:' /proc/meminfo && check meminfo_has_none grep -qE '^Balloon: +0 kB' /proc/meminfo
check debugfs_has_no_file test ! -e /sys/kernel/debug/hv-balloon

round() { load hv_balloon && wait_for 20 ready && host_says '^pages=513 ' balloon 2052K && unload hv_balloon; }
rounds() { for round in $(seq 100); do round || { echo "round $round"; return 1; }; done; }
check comes_and_goes_100 rounds
check total_is_back_again equal "$before" "$(total)"

# Half a block that nobody onlines: without the module, nobody would know which half.
check loads_again load hv_balloon
check agreed_again wait_for 20 ready
echo offline >/sys/devices/system/memory/auto_online_blocks
blocks() { ls -d /sys/devices/system/memory/memory* | wc -l; }
had=$(blocks)
check adds_half_a_block host_says '^pages=16384 result=1' hot-add 64M
check has_a_block equal $((had + 1)) "$(blocks)"
check unloads_with_it unload hv_balloon
check block_is_gone equal "$had" "$(blocks)"
# The device goes and comes, and the module still knows what was added.
check loads_once_more load hv_balloon
check agreed_once_more wait_for 20 ready
echo online >/sys/devices/system/memory/auto_online_blocks
check adds_half_of_another host_says '^pages=16384 result=1' hot-add 64M --at 128M
device=$(basename "$(vmbus_device 525074dc-8985-46e2-8057-a307dc18a502)")
check unbinds sh -c "echo $device >/sys/bus/vmbus/drivers/hv_balloon/unbind"
check binds sh -c "echo $device >/sys/bus/vmbus/drivers/hv_balloon/bind"
check agreed_after_bind wait_for 20 ready
check adds_its_other_half host_says '^pages=16384 result=1' hot-add 64M --at 192M
check total_has_it equal $((before + 131072)) "$(total)"

# Switched off, also while it runs.
echo 0 >/sys/module/hv_balloon/parameters/hot_add
check adds_nothing host_says '^pages=0 result=1' hot-add 128M
check takes_still host_says '^pages=256 ' balloon 1M
check gives_still host_says '^pages=256 ' unballoon
check unloads_at_last unload hv_balloon
check total_is_right equal $((before + 131072)) "$(total)"
check no_leak no_leak
check no_violations equal '' "$(host violations)"
