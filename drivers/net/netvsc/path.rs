// SPDX-License-Identifier: GPL-2.0

//! What a card knows of its virtual function and of the way that its frames go.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::Atomic,
        Mutex, //
    }, //
};
use rlis_proto::nvsp::Pairing;

/// What is known of the function.
pub(crate) struct State {
    pub(crate) pairing: Pairing,
    /// When the host was asked last.
    pub(crate) asked_at: u64,
    /// It was said that the host has not announced the function.
    pub(crate) waiting: bool,
    /// It was said that the host does not answer.
    pub(crate) silent: bool,
}

/// A virtual function, which may be there or not.
#[pin_data]
pub(crate) struct Function {
    /// The RTNL is not taken with this held, and nothing is waited for.
    #[pin]
    pub(crate) state: Mutex<State>,
    /// An interface has joined, and is to be set as the card's is.
    pub(crate) is_new: Atomic<bool>,
    /// The card was moved to another namespace, or a function has come in another one.
    pub(crate) is_apart: Atomic<bool>,
}

impl Function {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(State {
                pairing: Pairing::default(),
                asked_at: 0,
                waiting: false,
                silent: false,
            }),
            is_new: Atomic::new(false),
            is_apart: Atomic::new(false),
        })
    }
}
