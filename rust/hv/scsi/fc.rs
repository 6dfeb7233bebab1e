// SPDX-License-Identifier: GPL-2.0

//! The Fibre Channel transport class.

use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::Arc,
    types::Opaque, //
};
use rlis_hv::RcuArc;
use rlis_sys::{
    fc_function_template,
    fc_rport,
    scsi_transport_template,
    Scsi_Host, //
};

/// `SCAN_WILD_CARD`: all of them.
const WILD_CARD: u32 = u32::MAX;
const WILD_CARD_LUN: u64 = u64::MAX;

/// The Fibre Channel transport as a driver uses it: hosts show their names in `/sys/class/fc_host`.
///
/// # Invariants
///
/// `raw` came from `fc_attach_transport` with `functions`.
pub struct Transport {
    raw: NonNull<scsi_transport_template>,
    _functions: Pin<KBox<Opaque<fc_function_template>>>,
}

// SAFETY: The template does not change once it is made.
unsafe impl Send for Transport {}

// SAFETY: As above.
unsafe impl Sync for Transport {}

impl Transport {
    /// Makes the transport's template.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let mut functions = <fc_function_template as Zeroable>::zeroed();
        functions.set_show_host_node_name(1);
        functions.set_show_host_port_name(1);
        let functions = KBox::pin(Opaque::new(functions), GFP_KERNEL)?;
        // SAFETY: The functions stay as long as the template.
        let raw = unsafe { rlis_sys::fc_attach_transport(functions.get()) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        // SAFETY: No host uses the template yet.
        unsafe { (*raw.as_ptr()).user_scan = Some(user_scan) };
        // INVARIANT: It has just been attached.
        Ok(Self {
            raw,
            _functions: functions,
        })
    }

    pub(crate) fn as_raw(&self) -> *mut scsi_transport_template {
        self.raw.as_ptr()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Hosts have a reference to this and are gone.
        unsafe { rlis_sys::fc_release_transport(self.as_raw()) };
    }
}

/// What the module has attached.
static CURRENT: RcuArc<Transport> = RcuArc::new();

/// The module's use of the transport: from when it is made to when it is dropped, which must be after all hosts.
pub struct Attached(());

impl Attached {
    /// Attaches the transport. A module does so once, when it is loaded.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is attached, and as [`Transport::new`].
    pub fn new() -> Result<Self> {
        if CURRENT.keep().is_some() {
            return Err(EBUSY);
        }
        let transport = Arc::new(Transport::new()?, GFP_KERNEL)?;
        drop(CURRENT.replace(Some(transport)));
        Ok(Self(()))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        drop(CURRENT.replace(None));
    }
}

/// Returns the transport that the module has attached.
pub fn current() -> Option<Arc<Transport>> {
    CURRENT.keep()
}

/// Scans what user space asks for. The transport's own function would want remote ports for that.
///
/// # Safety
///
/// Only for the mid-layer to call, with what the C API prescribes.
unsafe extern "C" fn user_scan(
    host: *mut Scsi_Host,
    channel: c_uint,
    id: c_uint,
    lun: u64,
) -> c_int {
    // SAFETY: The host is valid during the call, and its limits do not change.
    let (max_channel, max_id, max_lun) =
        unsafe { ((*host).max_channel, (*host).max_id, (*host).max_lun) };
    if channel != WILD_CARD && channel > max_channel
        || id != WILD_CARD && id >= max_id
        || lun != WILD_CARD_LUN && lun >= max_lun
    {
        return EINVAL.to_errno();
    }
    let channels = if channel == WILD_CARD {
        0..=max_channel
    } else {
        channel..=channel
    };
    for channel in channels {
        let ids = if id == WILD_CARD {
            0..max_id
        } else {
            id..id + 1
        };
        for id in ids {
            // SAFETY: The host is valid during the call.
            unsafe {
                rlis_sys::scsi_scan_target(
                    &raw mut (*host).shost_gendev,
                    channel,
                    id,
                    lun,
                    rlis_sys::scsi_scan_mode_SCSI_SCAN_MANUAL,
                );
            }
        }
    }
    0
}

/// The remote port of a host, without which no driver of the class is content.
///
/// # Invariants
///
/// `host` is a registered host with this transport, `port` belongs to it.
pub(crate) struct Port {
    host: *mut Scsi_Host,
    port: NonNull<fc_rport>,
}

// SAFETY: The functions of the transport class do their own locking.
unsafe impl Send for Port {}

// SAFETY: As above.
unsafe impl Sync for Port {}

impl Port {
    /// Adds a remote port.
    ///
    /// # Safety
    ///
    /// `host` must be registered with a [`Transport`] and stay so until the result is dropped.
    pub(crate) unsafe fn new(host: *mut Scsi_Host) -> Result<Self> {
        let mut ids = rlis_sys::fc_rport_identifiers {
            node_name: 0,
            port_name: 0,
            port_id: 0,
            roles: rlis_sys::FC_PORT_ROLE_FCP_DUMMY_INITIATOR,
        };
        // SAFETY: As required of the caller.
        let port = unsafe { rlis_sys::fc_remote_port_add(host, 0, &mut ids) };
        // INVARIANT: As required of the caller; the port has just been added.
        Ok(Self {
            host,
            port: NonNull::new(port).ok_or(ENOMEM)?,
        })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe {
            rlis_sys::fc_remote_port_delete(self.port.as_ptr());
            rlis_sys::fc_remove_host(self.host);
        }
    }
}
