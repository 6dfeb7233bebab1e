// SPDX-License-Identifier: GPL-2.0

//! Storage packets of the host, see [`rlis_proto_fuzz::storvsc`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::storvsc::fuzz(data));
