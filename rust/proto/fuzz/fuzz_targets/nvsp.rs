// SPDX-License-Identifier: GPL-2.0

//! What a network host sends in its channel, see [`rlis_proto_fuzz::nvsp`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::nvsp::fuzz(data));
