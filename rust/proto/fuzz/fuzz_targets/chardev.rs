// SPDX-License-Identifier: GPL-2.0

//! A character device with a host and a daemon that do as they please, see [`rlis_proto_fuzz::chardev`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rlis_proto_fuzz::chardev::fuzz(data));
