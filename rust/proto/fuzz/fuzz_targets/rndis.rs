// SPDX-License-Identifier: GPL-2.0

//! RNDIS messages of a network host, and of a guest, see [`rlis_proto_fuzz::rndis`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::rndis::fuzz(data));
