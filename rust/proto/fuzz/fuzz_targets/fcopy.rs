// SPDX-License-Identifier: GPL-2.0

//! File copy messages of the host and of the daemon, see [`rlis_proto_fuzz::fcopy`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::fcopy::fuzz(data));
