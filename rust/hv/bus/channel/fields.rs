// SPDX-License-Identifier: GPL-2.0

//! The fields of a channel, as what they may be used as. What C drivers write, and what only statistics read, is for all of
//! this crate; what says who owns what is for the files of the module that sees to it.

use super::{
    links::SubChannels,
    Channel, //
};
use core::{
    mem::offset_of,
    sync::atomic::{
        AtomicBool,
        AtomicU32, //
    }, //
};
use kernel::ffi::c_void;
use rlis_hv::{
    c_struct,
    hooks,
    list::List,
    lock::{
        Mutex,
        SpinLock, //
    },
    view::{
        Callback,
        Plain, //
    },
    Completion,
    Field,
    Hook,
    RefWork,
    Tasklet,
    Timer, //
};
use rlis_proto::vmbus::message::OfferChannel;
use rlis_sys as bindings;

/// The work that adds a channel.
pub(crate) type AddWork =
    RefWork<Channel, { offset_of!(bindings::rlis_channel, channel.add_channel_work) }>;
/// The work that removes a channel which the host has withdrawn.
pub(crate) type RescindWork =
    RefWork<Channel, { offset_of!(bindings::rlis_channel, rescind_work) }>;

/// A driver's function that is called with a channel.
pub(crate) type ChannelFunction = extern "C" fn(&Channel);
/// A driver's channel callback, which is called with what the driver has given for that.
pub(crate) type EventFunction = Callback<*mut c_void>;

hooks! {
    // SAFETY: A reference to a channel has the ABI of a pointer to one.
    unsafe {
        /// [`ChannelFunction`].
        pub(super) Tell = fn(&Channel), [*mut bindings::vmbus_channel];
        /// A driver's function that is told of a channel's move from one CPU to another.
        pub(super) TellMove = fn(&Channel, u32, u32), [*mut bindings::vmbus_channel, u32, u32];
        /// A driver's function that is asked about a request's id.
        pub(super) AskId = fn(&Channel, u64) -> u64, [*mut bindings::vmbus_channel, u64];
    }
}

c_struct! {
    /// The fields of a channel, which may be looked at as long as its memory is there.
    // SAFETY: `Channel::new` makes channels of zeroes, with the locks, lists, tasklets and so on initialised.
    unsafe pub struct Fields(bindings::rlis_channel) {
        // Where it is.
        pub(super) fn sc_list -> List<SubChannels> = channel.sc_list;
        pub(super) fn primary_channel -> Field<*mut bindings::vmbus_channel> = channel.primary_channel;
        pub(crate) fn device_obj -> Field<*mut bindings::hv_device> = channel.device_obj;

        // What the host has offered.
        pub(super) fn offermsg -> Plain<OfferChannel, bindings::vmbus_channel_offer_channel> = channel.offermsg;
        pub(super) fn child_relid -> Field<u32> = channel.offermsg.child_relid;
        pub(super) fn monitor_grp -> Field<u8> = channel.monitor_grp;
        pub(super) fn monitor_bit -> Field<u8> = channel.monitor_bit;
        pub(super) fn device_id -> Field<u16> = channel.device_id;
        pub(crate) fn is_dedicated_interrupt -> Field<bool> = channel.is_dedicated_interrupt;
        #[cfg(RLIS_HAVE_CONFIDENTIAL_CHANNELS)]
        pub(super) fn co_ring_buffer -> Field<bool> = channel.co_ring_buffer;
        #[cfg(RLIS_HAVE_CONFIDENTIAL_CHANNELS)]
        pub(super) fn co_external_memory -> Field<bool> = channel.co_external_memory;
        pub(crate) fn sig_event -> Field<u64> = channel.sig_event;

        // Its life.
        pub(super) fn word -> AtomicU32 = life;
        pub(super) fn state -> AtomicU32 = channel.state;
        pub(super) fn rescind -> AtomicBool = channel.rescind;
        pub(super) fn probe_done -> AtomicBool = channel.probe_done;
        /// Happens when the rescind of a sub-channel was handled, or the channel removed.
        pub fn rescind_event -> Completion = channel.rescind_event;
        pub(crate) fn add_work -> AddWork = channel.add_channel_work;
        pub(crate) fn rescind_work -> RescindWork = rescind_work;
        pub(super) fn additions -> Mutex = additions;
        pub(super) fn files -> Mutex = files;

        // Its interrupts.
        pub(super) fn target_cpu_cell -> AtomicU32 = channel.target_cpu;
        pub(super) fn opens -> Field<u32> = opens;
        pub(super) fn target_unsure -> Field<bool> = target_unsure;
        pub(super) fn target_moving -> Field<bool> = target_moving;
        pub(super) fn target_unanswered -> Field<bool> = target_unanswered;
        pub(crate) fn callback_event -> Tasklet = channel.callback_event;
        /// Has the tasklet run.
        pub(crate) fn look_again_timer -> Timer = look_again;
        pub(crate) fn sched_lock -> SpinLock = channel.sched_lock;
        pub(crate) fn callback_mode -> Field<u32> = channel.callback_mode;
        pub(crate) fn onchannel_callback -> Field<Option<EventFunction>> = channel.onchannel_callback;
        pub(crate) fn channel_callback_context -> Field<*mut c_void> = channel.channel_callback_context;

        // What its driver wants.
        pub(super) fn change_target_cpu_callback -> Hook<TellMove> = channel.change_target_cpu_callback;
        pub(super) fn sc_creation_callback -> Hook<Tell> = channel.sc_creation_callback;
        pub(super) fn chn_rescind_callback -> Hook<Tell> = channel.chn_rescind_callback;
        pub(super) fn next_request_id_callback -> Hook<AskId> = channel.next_request_id_callback;
        pub(super) fn request_addr_callback -> Hook<AskId> = channel.request_addr_callback;
        pub(super) fn per_channel_state -> Field<*mut c_void> = channel.per_channel_state;
        pub(crate) fn low_latency -> Field<bool> = channel.low_latency;
        pub(crate) fn rqstor_size -> Field<u32> = channel.rqstor_size;
        pub(crate) fn max_pkt_size -> Field<u32> = channel.max_pkt_size;
        #[cfg(RLIS_HAVE_MMAP_PREPARE_RING_BUFFER)]
        pub(crate) fn map_ring -> Field<bindings::rlis_map_ring_t> = channel.mmap_prepare_ring_buffer;
        #[cfg(all(RLIS_HAVE_RING_SYSFS, not(RLIS_HAVE_MMAP_PREPARE_RING_BUFFER)))]
        pub(crate) fn map_ring -> Field<bindings::rlis_map_ring_t> = channel.mmap_ring_buffer;
        #[cfg(RLIS_HAVE_RING_SYSFS)]
        pub(crate) fn ring_sysfs_visible -> Field<bool> = channel.ring_sysfs_visible;
        #[cfg(not(RLIS_HAVE_RING_SYSFS))]
        pub(crate) fn map_ring -> Field<bindings::rlis_map_ring_t> = mmap_ring_buffer;
        #[cfg(not(RLIS_HAVE_RING_SYSFS))]
        pub(crate) fn ring_sysfs_visible -> Field<bool> = ring_sysfs_visible;

        // Its rings; what has types of other files: `crate::parts`.
        pub(crate) fn ringbuffer_page -> Field<*mut bindings::page> = channel.ringbuffer_page;
        pub(crate) fn ringbuffer_pagecount -> Field<u32> = channel.ringbuffer_pagecount;
        pub(crate) fn ringbuffer_send_offset -> Field<u32> = channel.ringbuffer_send_offset;
        /// Whether the rings lie in one piece, as the driver asked for.
        pub(crate) fn ring_in_one_piece -> Field<bool> = ring_in_one_piece;
        /// When the log was told that the host's index cannot be, in milliseconds; 0 for never.
        pub(crate) fn told_index -> Field<usize> = told_index;

        // Statistics.
        pub(crate) fn interrupts -> Field<u64> = channel.interrupts;
        pub(crate) fn sig_events -> Field<u64> = channel.sig_events;
        pub(crate) fn intr_in_full -> Field<u64> = channel.intr_in_full;
        pub(crate) fn intr_out_empty -> Field<u64> = channel.intr_out_empty;
        pub(crate) fn out_full_first -> Field<u64> = channel.out_full_first;
        pub(crate) fn out_full_total -> Field<u64> = channel.out_full_total;
    }
}

impl Fields {
    /// The C object, for `crate::parts`.
    pub(crate) fn whole(&self) -> *mut bindings::rlis_channel {
        self.raw()
    }

    /// The C object without the state that is ours.
    pub(crate) fn c(&self) -> *mut bindings::vmbus_channel {
        self.raw().cast()
    }
}
