// SPDX-License-Identifier: GPL-2.0

//! Shutdown, restart and hibernation on the host's request.

use crate::simple::Simple;
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        SpinLockIrq, //
    }, //
};
use rlis_hv::{
    power,
    work::{
        Task,
        Worker, //
    }, //
};
use rlis_proto::{
    ic::{
        self,
        shutdown::{
            self,
            ShutdownAction, //
        },
        Negotiated,
        Status, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    Bound,
    Device, //
};

/// The service.
#[pin_data]
pub(crate) struct Shutdown {
    #[pin]
    worker: Worker<Doer>,
    /// Whether hibernation is supported. Determined once, since asking ACPI may sleep.
    hibernation: bool,
}

/// Carries out a request in process context.
#[pin_data]
struct Doer {
    device: ARef<Device>,
    /// The next action; a later request replaces one that has not started.
    #[pin]
    next: SpinLockIrq<Option<ShutdownAction>>,
}

impl Task for Doer {
    fn run(this: &Worker<Self>) {
        let next = this.next.lock().take();
        match next {
            Some(ShutdownAction::PowerOff) => power::orderly_poweroff(),
            Some(ShutdownAction::Restart) => power::orderly_reboot(),
            Some(ShutdownAction::Hibernate) => {
                // A udev rule of the distribution reacts with `systemctl hibernate`.
                if let Err(error) = this.device.change_uevent(&[c"EVENT=hibernate"]) {
                    dev_err!(
                        (*this.device).as_ref(),
                        "cannot tell user space to hibernate: {:?}\n",
                        error
                    );
                }
            }
            None => {}
        }
    }
}

impl Simple for Shutdown {
    const SERVICE: &'static ic::Service = &shutdown::SERVICE;
    type Followup = ShutdownAction;

    fn new(dev: &Device<Bound>) -> impl PinInit<Self, Error> {
        let device = dev.into();
        try_pin_init!(Self {
            worker <- Worker::new(
                kernel::workqueue::system_long(),
                try_pin_init!(Doer {
                    device,
                    next <- new_spinlock_irq!(None),
                }? Error),
            ),
            hibernation: power::hibernation_supported(),
        })
    }

    fn request(
        &self,
        body: &mut [u8],
        _negotiated: Option<Negotiated>,
    ) -> Result<(Status, Option<ShutdownAction>), ProtoError> {
        shutdown::handle(body, self.hibernation)
    }

    // After the reply, which the host would otherwise never get.
    fn follow_up(&self, action: ShutdownAction) {
        match action {
            ShutdownAction::PowerOff => {
                pr_info!("Shutdown request received - graceful shutdown initiated\n");
            }
            ShutdownAction::Restart => {
                pr_info!("Restart request received - graceful restart initiated\n");
            }
            ShutdownAction::Hibernate => pr_info!("Hibernation request received\n"),
        }
        *self.worker.next.lock() = Some(action);
        self.worker.queue();
    }

    fn suspended(&self) {
        self.worker.disable();
    }

    fn resumed(&self) {
        self.worker.enable();
    }
}
