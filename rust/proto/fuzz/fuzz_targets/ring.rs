// SPDX-License-Identifier: GPL-2.0

//! A ring that the host fills, see [`rlis_proto_fuzz::ring`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::ring::fuzz(data));
