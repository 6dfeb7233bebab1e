# SPDX-License-Identifier: GPL-2.0
#: what     A network host that misbehaves while a card starts, in ways that the C driver bears: each is refused, or does without
#: host     rlis
#: drivers  c rust rustbus
#: quick    none
#: modules  hv_vmbus hv_netvsc
#: args     --no-ic --net net0,offload,channels=2
#: cpus     2
#: seconds  400
#: c:net-grant-more  deletes NAPI instances that are at work, with a warning
#: c:net-receive-offset  no card; the memory is freed without revoking the buffer
#: c:net-receive-parts  no card; the memory is freed without revoking the buffer
#: c:net-send-section  no card; the memory is freed without revoking the buffer
#: ours:net-grant-more  the card works
#: ours:net-receive-offset  no card; loaded again, the driver works
#: ours:net-receive-parts  no card; loaded again, the driver works
#: ours:net-send-section  the card works without the buffer

check bus_loads load hv_vmbus
gone() { ! has_card 00:15:5d:00:01:00; }
# refused FAULT VALUE [COUNT]: with it there is no card.
refused() {
	starts_with "$1" "$2" "$3" && gone
	result=$?
	stops "$1"
	return $result
}
# without FAULT VALUE [COUNT]: the card does without.
without() {
	starts_with "$1" "$2" "$3" && wait_for 20 has_card 00:15:5d:00:01:00 && use_card "$(card 00:15:5d:00:01:00)"
	result=$?
	stops "$1"
	return $result
}
check section_of_0 refused net-receive-section 0
check section_of_a_gigabyte refused net-receive-section 1073741824
check sections_without_number refused net-receive-count 4294967295
check two_parts refused net-receive-parts 2
check parts_further_back refused net-receive-offset 4096
# Ours sends by pages then. The C driver takes the memory of these three back without revoking the buffer that it has announced.
if c_drivers; then check send_section_of_0 refused net-send-section 0; else check send_section_of_0 without net-send-section 0; fi
if c_drivers; then host violations --take >/dev/null; fi
check version_refused_once without init-status 7
check all_versions_refused refused init-status 7 6
check table_too_long without net-table-count 17
check table_outside without net-table-offset 4294967295
check table_names_another without net-table-entry 1
# The C driver then deletes NAPI instances that are at work, and the kernel warns.
c_drivers || check more_channels_than_asked without net-grant-more 200
check no_batch without net-max-frames 0
check works_as_ever without net-completion-status 1 0
check no_violations equal '' "$(host violations)"
