# SPDX-License-Identifier: GPL-2.0
#: what     Keyboard and mouse with the unmodified C drivers: what is typed, clicked and moved arrives; rescinded, reloaded
#: host     rlis
#: kernels  fast debug stock-6.12
#: drivers  c rustbus
#: quick    none
#: modules  hv_vmbus hyperv-keyboard hid-hyperv evdev
#: args     --no-ic --keyboard --mouse
#: cpus     1
#: seconds  500

keyboard=f912ad6d-2b17-48ea-bd65-f927a61c7684
mouse=cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a
check bus_loads load hv_vmbus
load evdev
check keyboard_loads load hyperv-keyboard
check mouse_loads load hid-hyperv
# The test kernels have no driver for what is behind a keyboard's port (atkbd), those of Debian have it built in.
case $(uname -r) in
*-cloud-*) check keyboard_driver_there test -d /sys/bus/serio/drivers/atkbd ;;
esac
atkbd() { [ -d /sys/bus/serio/drivers/atkbd ]; }

bound() { equal "$2" "$(basename "$(readlink "$(vmbus_device "$1")/driver")")"; }
check keyboard_bound wait_for 20 bound $keyboard hyperv_keyboard
check mouse_bound wait_for 20 bound $mouse hid_hyperv
check keyboard_agreed wait_for 20 host_says '^keyboard protocol=1\.0 ' input
check mouse_agreed wait_for 20 host_says '^mouse protocol=2\.0 info=acknowledged ' input

# event_of CLASS: the event device of the device of this class, such as event3. The C driver makes the mouse no child of
# its device on the bus.
event_of() {
	vmbus_device "$1" >/dev/null || { echo "no device of $1"; return 1; }
	case $1 in
	"$mouse") above='/sys/bus/hid/devices/0006:045E:0621.*/' ;;
	*) above="$(vmbus_device "$1")/" ;;
	esac
	event=$(basename "$(find $above -name 'event[0-9]*' 2>/dev/null | head -n 1)")
	if [ -c "/dev/input/$event" ]; then echo "$event"; else echo "no event device of $1"; false; fi
}
gone() { ! vmbus_device "$1" >/dev/null; }
port() { [ -n "$(find "$(vmbus_device $keyboard)/" -maxdepth 1 -name 'serio[0-9]*' 2>/dev/null)" ]; }
# there: both are what programs can use.
there() { if atkbd; then event_of $keyboard; else port; fi && event_of $mouse; }
check both_usable wait_for 20 there
sleep 0.5
listed() { grep -q "$1" /proc/bus/input/devices || { cat /proc/bus/input/devices; false; }; }
check mouse_listed listed '^N: Name="Microsoft Vmbus HID-compliant Mouse"'
check mouse_ids listed '^I: Bus=0006 Vendor=045e Product=0621 Version=0001'
if atkbd; then
	check keyboard_listed listed '^N: Name="AT Translated Set 2 keyboard"'
	check keyboard_place listed '^P: Phys=d34b2567-b9b6-42b9-'
fi

# Types of events, and codes in them (linux/input-event-codes.h).
KEY=1 REL=2 ABS=3
X=0 Y=1 WHEEL=8 WHEEL_HI_RES=11
LEFT=272 RIGHT=273 MIDDLE=274 SIDE=275 EXTRA=276

# events TYPE: CODE:VALUE of the events of a type in /tmp/events, each a struct input_event of 24 bytes; `lost` where the
# kernel says that it dropped some (SYN_DROPPED).
events() {
	od -An -v -tu2 -w24 /tmp/events | awk -v type="$1" '
		$9 == 0 && $10 == 3 { printf "%slost", sep; sep = " " }
		$9 == type { v = $11 + 65536 * $12; printf "%s%d:%d", sep, $10, v < 2147483648 ? v : v - 4294967296; sep = " " }'
}
# holds PROCESS DEVICE: it has the event device open.
holds() {
	for fd in /proc/"$1"/fd/*; do [ "$(readlink "$fd")" = "/dev/input/$2" ] && return; done
	false
}
# reads DEVICE: a program that reads the event device into /tmp/events, $reader.
reads() {
	rm -f /tmp/events
	dd if="/dev/input/$1" of=/tmp/events bs=24 >/dev/null 2>/tmp/reader &
	reader=$!
	wait_for 10 holds $reader "$1"
}
came() { equal "$2" "$(events "$1" 2>/dev/null)" >/dev/null; }
# gives CLASS TYPE EVENTS COMMAND...: the host's COMMAND makes exactly these events of the type.
gives() {
	device=$(event_of "$1") || { echo "$device"; return 1; }
	type=$2 want=$3
	shift 3
	reads "$device"
	said=$(host "$@") || { echo "$said"; kill $reader; return 1; }
	wait_for 20 came "$type" "$want"
	sleep 0.3
	kill $reader
	equal "$want" "$(events "$type")"
}
# keys, moves: the same for each of both.
keys() { gives $keyboard $KEY "$@"; }
moves() { gives $mouse "$@"; }
works() {
	wait_for 20 there >/dev/null || { echo 'not there'; return 1; }
	# The mouse's driver takes reports a moment after its device is there.
	sleep 0.5
	if atkbd; then keys '30:1 30:0' key 0x1e || return 1; fi
	# Somewhere else than where it may be.
	host mouse 1 1 && moves $ABS "$X:7 $Y:8" mouse 7 8
}

if atkbd; then
	check key keys '30:1 30:0' key 0x1e
	check keys_of_each_row keys '2:1 2:0 16:1 16:0 30:1 30:0 44:1 44:0 57:1 57:0 88:1 88:0' key 0x02 0x10 0x1e 0x2c 0x39 0x58
	check shift keys '42:1 30:1 30:0 42:0' type A
	# Cursor keys, right Control, Enter of the key pad; and the keys of the same codes without the prefix.
	check keys_behind_e0 keys '103:1 103:0 108:1 108:0 105:1 105:0 106:1 106:0 97:1 97:0 96:1 96:0' \
		key 0xe048 0xe050 0xe04b 0xe04d 0xe01d 0xe01c
	check keys_without_e0 keys '72:1 72:0 80:1 80:0 75:1 75:0 77:1 77:0 29:1 29:0 28:1 28:0' \
		key 0x48 0x50 0x4b 0x4d 0x1d 0x1c
	# Pause, whose code has two parts.
	check pause_pressed keys 119:1 key --down 0xe11d 0x45
	check pause_released keys 119:0 key --up 0xe11d 0x45
	check key_held keys 30:1 key --down 0x1e
	sleep 0.5
	check key_repeated keys 30:2 key --down 0x1e
	check key_released keys 30:0 key --up 0x1e

	# More than a ring holds, at once: what is typed arrives whole and in order on the console.
	text='The quick brown fox jumps over the lazy dog; 0123456789 !@#$%^&*()-=[]{}|<>?'
	for i in $(seq 25); do printf '%s' "$text"; done >/tmp/wanted
	typed() { cmp /tmp/wanted /tmp/typed; }
	: >/tmp/typed
	exec 8</dev/tty1
	stty raw -echo <&8
	cat <&8 >>/tmp/typed 2>/dev/null &
	console=$!
	# The console may have kept what was typed while nobody read.
	host key 0x39
	wait_for 20 test -s /tmp/typed
	sleep 1
	: >/tmp/typed
	check types_a_lot host type "\"$text\"" 25
	wait_for 60 typed >/dev/null 2>&1
	check typed_text_arrives typed
	sleep 1
	check nothing_more_was_typed typed
	kill $console
	exec 8<&-
	check strokes_counted host_says '^keyboard .* strokes=[0-9]{4}$' input
	# The C driver has no way to set the lights.
	check lights_untold host_says '^keyboard .* leds=untold ' input
fi

check position moves $ABS "$X:1000 $Y:2000" mouse 1000 2000
check corner moves $ABS "$X:32767 $Y:0" mouse 32767 0
check one_axis moves $ABS "$Y:5" mouse 32767 5
check left_pressed moves $KEY "$LEFT:1" mouse 32767 5 left
check others_pressed moves $KEY "$LEFT:0 $RIGHT:1 $MIDDLE:1" mouse 32767 5 right+middle
check side_buttons moves $KEY "$RIGHT:0 $MIDDLE:0 $SIDE:1 $EXTRA:1" mouse 32767 5 side+extra
check all_released moves $KEY "$SIDE:0 $EXTRA:0" mouse 32767 5
check wheel_up moves $REL "$WHEEL:1 $WHEEL_HI_RES:120" mouse 32767 5 none 1
check wheel_down moves $REL "$WHEEL:-3 $WHEEL_HI_RES:-360" mouse 32767 5 none -3
check home moves $ABS "$X:0 $Y:0" mouse 0 0
line=$(for i in $(seq 30); do printf '%s ' "$X:$((i * 100)) $Y:$((i * 200))"; done)
check burst moves $ABS "${line% }" mouse-line 3000 6000 30
# Five times what a ring holds, at once: more than a program's queue holds, but nothing comes out of order, and the last
# last.
long_line() {
	reads "$(event_of $mouse)"
	host mouse-line 20000 10000 5000 || return 1
	last() { [ "$(events $ABS | tr ' ' '\n' | sed -n "s/^$X://p" | tail -n 1)" = 20000 ]; }
	wait_for 60 last
	sleep 0.5
	kill $reader
	last || { echo "the last is $(events $ABS | tail -c 30)"; return 1; }
	events $ABS | tr ' ' '\n' | sed -n "s/^$X://p" | awk '
		$1 <= was { print was " before " $1; bad = 1 } { was = $1; n++ } END { print n " came"; exit bad || n < 20 }'
}
check long_line long_line
check works_after_bursts works

# rescinded NAME CLASS: withdrawn while a program reads.
rescinded() {
	device=$(event_of "$2") || { echo "$device"; return 1; }
	reads "$device"
	let_go() { ! holds $reader "$device"; }
	host rescind "$1" && wait_for 20 gone "$2" && wait_for 20 let_go || { host list; return 1; }
	grep 'No such device' /tmp/reader
}
if atkbd; then check keyboard_rescinded rescinded keyboard $keyboard; else check keyboard_rescinded host rescind keyboard; fi
check other_device_stays moves $ABS "$X:9 $Y:9" mouse 9 9
check keyboard_offered host offer keyboard
check mouse_rescinded rescinded mouse $mouse
check mouse_offered host offer mouse
check work_again works
come_and_go() {
	for round in $(seq 10); do
		host rescind keyboard && host rescind mouse && wait_for 20 gone $keyboard && wait_for 20 gone $mouse &&
			host offer keyboard && host offer mouse && wait_for 20 there >/dev/null || {
			echo "round $round: $(host list; host input)"
			return 1
		}
	done
}
check come_and_go come_and_go
check work_after_that works

# A host that does not answer, or refuses: the driver gives up and closes the channel; it takes the device later.
# refused DEVICE CLASS DRIVER FAULT: with the fault, the driver does not take the device.
refused() {
	id=$(basename "$(readlink -f "$(vmbus_device "$2")")") driver=/sys/bus/vmbus/drivers/$3
	echo "$id" >"$driver/unbind" && host_says "^$1 .* offered\$" list && host fault "$1" "$4" || return 1
	! echo "$id" >"$driver/bind" || { echo 'bound'; return 1; }
	equal '' "$(host faults)" && host_says "^$1 .* offered\$" list && echo "$id" >"$driver/bind"
}
for fault in no-reply init-status; do
	check "keyboard_$fault" refused keyboard $keyboard hyperv_keyboard $fault
	check "mouse_$fault" refused mouse $mouse hid_hyperv $fault
done
check work_after_failures works

reload() {
	for round in $(seq "$1"); do
		said=$(unload hyperv-keyboard && unload hid-hyperv && load hyperv-keyboard && load hid-hyperv && works) || {
			echo "round $round: $said"
			return 1
		}
	done
}
check reload_5 reload 5
reads "$(event_of $mouse)"
check unloads_under_a_reader unload hid-hyperv
check reader_ended wait_for 10 grep 'No such device' /tmp/reader
check loads_after_that load hid-hyperv
check work_at_last works
check keyboard_unloads unload hyperv-keyboard
check mouse_unloads unload hid-hyperv
check bus_unloads unload hv_vmbus
check bus_loads_again load hv_vmbus
check keyboard_loads_again load hyperv-keyboard
check mouse_loads_again load hid-hyperv
check work_with_a_new_connection works
check no_violations equal '' "$(host violations)"
