// SPDX-License-Identifier: GPL-2.0

//! Time synchronisation: sets the clock when the host asks for it, and offers the host's time as a PTP clock.

use crate::{
    simple::{
        Simple,
        SimpleService, //
    },
    Utils,
    TIMESYNC_IMPLICIT, //
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};
use rlis_hv::{
    time,
    work::{
        Task,
        Worker, //
    },
    RateLimit, //
};
use rlis_proto::{
    ic::{
        self,
        timesync::{
            self,
            Sample, //
        },
        IcVersion,
        Negotiated,
        Status, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    Bound,
    Device, //
};

/// The service with its clock.
pub(crate) struct Service {
    // Unregistered first, so that nobody reads a clock which is not updated any more.
    _ptp: Option<Pin<KBox<rlis_ptp::Registration<HostClock>>>>,
    service: SimpleService<Timesync>,
}

impl Service {
    /// Starts the service.
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        let service = SimpleService::<Timesync>::new(dev)?;
        let clock = service.service().worker.clock.clone();
        let ptp = KBox::pin_init(rlis_ptp::Registration::new(clock), GFP_KERNEL);
        match &ptp {
            Ok(ptp) if ptp.is_registered() => {}
            // The system clock is set all the same.
            Ok(_) => pr_info!("no PTP clock: the kernel has none\n"),
            Err(error) => pr_err!("cannot register PTP clock: {:?}\n", error),
        }
        Ok(Self {
            _ptp: ptp.ok(),
            service,
        })
    }

    /// See [`SimpleService::suspend`].
    pub(crate) fn suspend(&self) {
        self.service.suspend();
    }

    /// See [`SimpleService::resume`].
    pub(crate) fn resume(&self, dev: &Device<Bound>) -> Result {
        self.service.resume(dev)
    }
}

/// The host's time, extrapolated from its last message.
#[pin_data]
pub(crate) struct HostClock {
    #[pin]
    sample: SpinLockIrq<Option<Sample>>,
}

impl HostClock {
    /// Returns the host's time at a reference time, in nanoseconds since 1970.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the host has not sent its time in the ten minutes before, or never.
    fn host_ns_at(&self, reference: u64) -> Result<u64> {
        let sample = self.sample.lock();
        let ns = (*sample)
            .ok_or(ESTALE)?
            .host_ns_at(reference)
            .map_err(|_| ESTALE)?;
        u64::try_from(ns).map_err(|_| ERANGE)
    }

    /// Returns the host's time now, see [`Self::host_ns_at`].
    fn host_ns(&self) -> Result<u64> {
        self.host_ns_at(time::reference_counter())
    }
}

impl rlis_ptp::Clock for HostClock {
    type Module = Utils;
    const NAME: &'static CStr = c"hyperv";

    fn now(&self) -> Result<u64> {
        static LIMIT: RateLimit = RateLimit::new();

        self.host_ns().inspect_err(|_| {
            LIMIT.run(|_| pr_warn!("TIMESYNC IC: no time stamp of the last ten minutes\n"));
        })
    }

    fn at(&self, reference: u64) -> Result<u64> {
        self.host_ns_at(reference)
    }
}

/// The service's protocol.
#[pin_data]
pub(crate) struct Timesync {
    #[pin]
    worker: Worker<Setter>,
}

/// Sets the clock, in process context.
struct Setter {
    clock: Arc<HostClock>,
}

impl Task for Setter {
    fn run(this: &Worker<Self>) {
        if let Err(error) = this.clock.host_ns().and_then(time::set_real_ns) {
            pr_err!("TIMESYNC IC: cannot set the clock: {:?}\n", error);
        }
    }
}

impl Simple for Timesync {
    const SERVICE: &'static ic::Service = &timesync::SERVICE;
    type Followup = ();

    fn new(_dev: &Device<Bound>) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let clock = Arc::pin_init(
                pin_init!(HostClock {
                    sample <- new_spinlock_irq!(None),
                }),
                GFP_KERNEL,
            )?;
            Ok(try_pin_init!(Self {
                worker <- Worker::new(kernel::workqueue::system_long(), Ok::<_, Error>(Setter { clock })),
            }))
        })
    }

    fn request(
        &self,
        body: &mut [u8],
        negotiated: Option<Negotiated>,
    ) -> Result<(Status, Option<()>), ProtoError> {
        // Without a negotiation, the oldest message format.
        let version = negotiated.map_or(IcVersion::new(1, 0), |versions| versions.message);
        let message = timesync::parse(body, version, time::reference_counter())?;
        *self.worker.clock.sample.lock() = Some(message.sample);
        let behind = || {
            TIMESYNC_IMPLICIT.get()
                && i64::try_from(time::real_ns())
                    .is_ok_and(|now| message.sample.is_clock_behind(now))
        };
        Ok((Status::HV_S_OK, (message.sync || behind()).then_some(())))
    }

    fn follow_up(&self, (): ()) {
        self.worker.queue();
    }

    fn suspended(&self) {
        self.worker.disable();
        // The reference counter restarts with the virtual machine.
        *self.worker.clock.sample.lock() = None;
    }

    fn resumed(&self) {
        self.worker.enable();
    }
}
