// SPDX-License-Identifier: GPL-2.0

//! The functions of `struct net_device_ops` that belong to XDP.

use super::Driver;
use crate::{
    context::Rtnl,
    device::{
        driver,
        NetDevice, //
    },
    frames::Frames,
    lower::Lower,
    program::Program, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_result,
    prelude::*, //
};
use rlis_sys_net::{
    net_device,
    netdev_bpf,
    xdp_frame, //
};

/// Flags of `ndo_xdp_xmit` that there are.
const XMIT_FLAGS: u32 = rlis_sys_net::XDP_XMIT_FLUSH;

/// What an interface can do with a program (`NETDEV_XDP_ACT_*`). Older kernels do not ask.
#[cfg(RLIS_HAVE_XDP_FEATURES)]
pub(crate) const FEATURES: u32 = rlis_sys_net::netdev_xdp_act_NETDEV_XDP_ACT_BASIC
    | rlis_sys_net::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT
    | rlis_sys_net::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT;

/// Shows the lower interface's frames to the program of the upper one, or to none. Without XDP it is left alone, which the driver is
/// told.
pub(crate) fn pass_on<T: Driver>(this: &T, lower: &Lower<'_>, program: Option<Program>) -> Result {
    if lower.takes_programs() {
        return lower.set_program(program);
    }
    if program.is_some() {
        this.lower_refused(lower, &EOPNOTSUPP);
    }
    Ok(())
}

/// Attaches the program of a request, for the card and what is below it, or takes it away. If it is refused, both are as before.
///
/// # Safety
///
/// The request must be one of the stack, whose reference to a program is ours if this succeeds.
unsafe fn attach<T: Driver>(
    this: &T,
    dev: &NetDevice,
    rtnl: &Rtnl<'_>,
    request: *mut netdev_bpf,
) -> Result {
    // SAFETY: As required of the caller.
    let refuse = |text: &'static CStr, error: Error| unsafe {
        rlis_sys_net::net_bpf_refuse(request, text.as_char_ptr());
        error
    };
    // SAFETY: As required of the caller.
    let raw = NonNull::new(unsafe { rlis_sys_net::net_bpf_program(request) });
    if raw.is_some() {
        this.allows_program(dev, rtnl)
            .map_err(|text| refuse(text, EOPNOTSUPP))?;
    }
    // SAFETY: As required of the caller. What is not kept until the end has to remain the stack's, so it is not dropped.
    let program = raw.map(|raw| core::mem::ManuallyDrop::new(unsafe { Program::from_raw(raw) }));
    if let Some(lower) = dev.lower(rtnl) {
        let copy = program.as_deref().cloned();
        let taken_away = copy.is_none();
        if let Err(error) = pass_on(this, &lower, copy) {
            if !taken_away {
                return Err(refuse(c"The interface below refuses the program", error));
            }
            this.lower_refused(&lower, &error);
        }
    }
    dev.set_program(rtnl, program.map(core::mem::ManuallyDrop::into_inner));
    Ok(())
}

/// The ndo_bpf function of the C API.
///
/// # Safety
///
/// Only for the network stack to call, with what the C API prescribes, of an interface that is registered with a `T`.
pub(super) unsafe extern "C" fn bpf<T: Driver>(
    dev: *mut net_device,
    request: *mut netdev_bpf,
) -> c_int {
    from_result(|| {
        // SAFETY: The stack passes a request.
        if !unsafe { rlis_sys_net::net_bpf_is_program(request) } {
            return Err(EINVAL);
        }
        // SAFETY: The interface is registered with this driver, or being taken away, and the RTNL is held; the stack never
        // passes a null pointer.
        unsafe {
            let device = NetDevice::borrowed(NonNull::new_unchecked(dev));
            attach(driver::<T>(dev), &device, &Rtnl::assume(), request)?;
        }
        Ok(0)
    })
}

/// The ndo_xdp_xmit function of the C API: returns how many frames were taken, from the first on.
///
/// # Safety
///
/// As of `bpf`.
pub(super) unsafe extern "C" fn xdp_xmit<T: Driver>(
    dev: *mut net_device,
    count: c_int,
    frames: *mut *mut xdp_frame,
    flags: u32,
) -> c_int {
    let Ok(len) = usize::try_from(count) else {
        return EINVAL.to_errno();
    };
    if flags & !XMIT_FLAGS != 0 {
        return EINVAL.to_errno();
    }
    // SAFETY: The stack passes an interface that is registered, never a null pointer.
    let device = unsafe { NetDevice::borrowed(NonNull::new_unchecked(dev)) };
    // SAFETY: The stack passes so many frames, with softirqs disabled.
    if let Some(taken) = unsafe { device.forward_frames(count, frames, flags) } {
        return taken;
    }
    // SAFETY: As above; none is null, and they are ours if we take them.
    let mut list = unsafe { Frames::new(core::slice::from_raw_parts(frames.cast(), len)) };
    // SAFETY: The interface is registered with this driver.
    let this = unsafe { driver::<T>(dev) };
    device.with_queue_of_cpu(|queue| {
        // Whoever takes the interface down has taken the lock after that was to be seen, and then waits for what was sent.
        if device.is_running() {
            this.transmit_frames(&device, queue, &mut list);
        }
    });
    // Not more than `count`.
    c_int::try_from(list.taken()).unwrap_or(count)
}
