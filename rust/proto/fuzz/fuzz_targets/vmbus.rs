// SPDX-License-Identifier: GPL-2.0

//! Channel messages of the host, see [`rlis_proto_fuzz::vmbus`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::vmbus::fuzz(data));
