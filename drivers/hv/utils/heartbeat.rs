// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: the host asks every two seconds whether the guest is alive.

use crate::simple::Simple;
use kernel::prelude::*;
use rlis_proto::{
    ic::{
        self,
        heartbeat,
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
pub(crate) struct Heartbeat;

impl Simple for Heartbeat {
    const SERVICE: &'static ic::Service = &heartbeat::SERVICE;
    type Followup = ();

    fn new(_dev: &Device<Bound>) -> impl PinInit<Self, Error> {
        // `Result<Self>` initialises, too.
        Ok(Self)
    }

    fn request(
        &self,
        body: &mut [u8],
        _negotiated: Option<Negotiated>,
    ) -> Result<(Status, Option<()>), ProtoError> {
        Ok((heartbeat::handle(body), None))
    }
}
