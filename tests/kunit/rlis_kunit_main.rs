// SPDX-License-Identifier: GPL-2.0

//! KUnit suites that belong to no single driver.
//!
//! The layout suites compare what `rlis_proto` says of every wire struct with the kernel's own C structs. A
//! mistake in a layout would otherwise be made by our guest and by our test host alike, and seen by nobody.

use kernel::prelude::*;

module! {
    type: Suites,
    name: "rlis_kunit",
    authors: ["rlis developers"],
    description: "KUnit suites of the Hyper-V Linux Integration Services in Rust",
    license: "GPL",
}

struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals
)]
#[allow(
    clippy::undocumented_unsafe_blocks,
    clippy::ptr_as_ptr,
    clippy::as_underscore
)]
#[allow(
    clippy::cast_lossless,
    clippy::ref_as_ptr,
    improper_ctypes,
    unreachable_pub,
    unused_imports
)]
#[allow(unknown_lints, unsafe_op_in_unsafe_fn, unnecessary_transmutes)]
mod private {
    use kernel::ffi;
    use rlis_sys::*;

    include!(env!("RLIS_PRIVATE_BINDINGS"));
}

/// The C structs under their own names.
mod c {
    pub(crate) use super::private::rlis_hv_ring_buffer as hv_ring_buffer;
    pub(crate) use rlis_sys::*;
}

// One test case a struct, named as the struct is in C: its size and the offset of each field.
macro_rules! layout_suites {
    (
        public { $( $ty:path, $c:ident, $size:literal { $( $field:ident : $off:literal ),* $(,)? } ; )* }
        private { $( $pty:path, $pc:ident, $psize:literal { $( $pfield:ident : $poff:literal ),* $(,)? } ; )* }
    ) => {
        #[kunit_tests(rlis_layout_public)]
        mod public_layouts {
            use core::mem::{offset_of, size_of};
            $(
                #[test]
                fn $c() {
                    type Wire = $ty;
                    assert_eq!(size_of::<Wire>(), size_of::<super::c::$c>());
                    assert_eq!(size_of::<Wire>(), $size);
                    $( assert_eq!(offset_of!(Wire, $field), offset_of!(super::c::$c, $field)); )*
                }
            )*
        }

        #[kunit_tests(rlis_layout_private)]
        mod private_layouts {
            use core::mem::{offset_of, size_of};
            $(
                #[test]
                fn $pc() {
                    type Wire = $pty;
                    assert_eq!(size_of::<Wire>(), size_of::<super::private::$pc>());
                    assert_eq!(size_of::<Wire>(), $psize);
                    $( assert_eq!(offset_of!(Wire, $pfield), offset_of!(super::private::$pc, $pfield)); )*
                }
            )*
        }
    };
}

rlis_proto::for_each_wire_struct!(layout_suites);

/// Hints that memory is free are made of words, whose bits the kernel declares as fields.
#[kunit_tests(rlis_layout_hints)]
mod hint_layouts {
    use super::c::*;
    use core::mem::size_of;
    use rlis_proto::balloon::*;

    fn range(start: u64, end: u64) -> Option<u64> {
        hinted_ranges(Span::new(start, end)).next()
    }

    #[test]
    fn ranges() {
        type Small = hv_gpa_page_range__bindgen_ty_1;
        type Large = hv_gpa_page_range__bindgen_ty_2;
        let small = Small::new_bitfield_1(2, 0, 0x1234).get(0, 64);
        assert_eq!(range(0x1234, 0x1237), Some(small));
        // Two pages of 2 MiB.
        let count = Small::new_bitfield_1(1, 1, 0).get(0, 64);
        let large = Large::new_bitfield_1(0, 0, 0, 0x8000 >> 9).get(0, 64);
        assert_eq!(range(0x8000, 0x8400), Some(count | large));
        assert_eq!(size_of::<hv_gpa_page_range>(), size_of::<u64>());
    }

    #[test]
    fn calls() {
        assert_eq!(
            u32::from(QUERY_CAPABILITIES),
            HV_EXT_CALL_QUERY_CAPABILITIES
        );
        assert_eq!(u32::from(MEMORY_HEAT_HINT), HV_EXT_CALL_MEMORY_HEAT_HINT);
        let kind = u64::from(HV_EXT_MEMORY_HEAT_HINT_TYPE_COLD_DISCARD);
        assert_eq!(HINT_HEADER, kind);
        assert_eq!(4096 / size_of::<u64>() - 1, MAX_HINTED);
        assert_eq!(size_of::<hv_memory_hint>(), size_of::<u64>());
    }
}

// include/vmbus_private.h mirrors the kernel's private header, through which other modules use these objects.
macro_rules! private_mirror_suite {
    ( $( $c:ident { $( $field:ident ),* $(,)? } )* ) => {
        #[kunit_tests(rlis_layout_bus_private)]
        mod bus_private_layouts {
            use core::mem::{offset_of, size_of};
            $(
                #[test]
                fn $c() {
                    assert_eq!(size_of::<rlis_sys::$c>(), size_of::<super::private::$c>());
                    $( assert_eq!(
                        offset_of!(rlis_sys::$c, $field),
                        offset_of!(super::private::$c, $field)
                    ); )*
                }
            )*
        }
    };
}

private_mirror_suite! {
    hv_per_cpu_context {
        hyp_synic_message_page, hyp_synic_event_page, para_synic_message_page, para_synic_event_page,
        post_msg_page, msg_dpc,
    }
    hv_context { guestid, cpu_context, hv_numa_map }
    vmbus_connection {
        msg_conn_id, offer_in_progress, conn_state, next_gpadl_handle, unload_event, int_page, send_int_page,
        recv_int_page, monitor_pages, chn_msg_list, channelmsg_lock, chn_list, channel_mutex, channels,
        relid_hiwater, work_queue, handle_primary_chan_wq, handle_sub_chan_wq, rescind_work_queue,
        ignore_any_offer_msg, nr_chan_close_on_suspend, ready_for_suspend_event, all_offers_delivered_event,
    }
}
