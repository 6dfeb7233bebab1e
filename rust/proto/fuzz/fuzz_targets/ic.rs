// SPDX-License-Identifier: GPL-2.0

//! IC packets of the host, see [`rlis_proto_fuzz::ic`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::ic::fuzz(data));
