// SPDX-License-Identifier: GPL-2.0

//! What a host sends for dynamic memory, see [`rlis_proto_fuzz::balloon`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::balloon::fuzz(data));
