// SPDX-License-Identifier: GPL-2.0

//! Examples of what `rust/hv` offers to other drivers, one concept a file: `Documentation/rust-abstractions.md` shows them.
//!
//! `// --8<--` and `// -->8--` stand around the part that the page shows; `scripts/check-style samples_in_docs` compares them.
//!
//! The module is a test: it is built only by `scripts/samples`, and tests/loop/samples.sh runs what is in it.

use kernel::prelude::*;

pub mod char_device;
pub mod net_device;
pub mod ptp_clock;
pub mod rcu_pointer;
pub mod request;
pub mod scsi_host;
pub mod vmbus_driver;
pub mod worker;

module! {
    type: Samples,
    name: "rlis_samples",
    authors: ["rlis developers"],
    description: "Examples of the kernel layer of the Hyper-V Linux Integration Services in Rust",
    license: "GPL",
}

/// The loaded module: one of each. Dropped, all of them go.
#[pin_data]
pub struct Samples {
    #[pin]
    _driver: rlis_vmbus::Registration<vmbus_driver::EchoDriver>,
    #[pin]
    _mailbox: rlis_hv::chardev::Registration<char_device::Mailbox>,
    #[pin]
    _clock: rlis_ptp::Registration<ptp_clock::WallClock>,
    _interface: rlis_net::Registration<net_device::Sink>,
    _watchdog: Pin<KBox<rlis_hv::work::Worker<worker::Watchdog>>>,
}

impl kernel::InPlaceModule for Samples {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _watchdog: worker::start()?,
            _interface: net_device::add()?,
            _clock <- ptp_clock::add(),
            _mailbox <- char_device::add(),
            _driver <- rlis_vmbus::Registration::new(module),
        })
    }
}
