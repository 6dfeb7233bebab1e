// SPDX-License-Identifier: GPL-2.0

//! GPADLs: telling the host of memory that it may access, and having it forget that again.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        Channel,
        INVALID_RELID, //
    },
    connection,
    gpadl::{
        Gpadl,
        Kind,
        Lent, //
    },
    ratelimit,
    request::{
        self,
        Key, //
    },
    CHANNEL_TIMEOUT_MS, //
};
use rlis_proto::vmbus::{
    gpadl::{
        GpadlSplitter,
        MessageBuffer, //
    },
    message::{
        ChannelMessageHeader,
        GpadlTeardown, //
    },
    HV_HYP_PAGE_SIZE,
    MAX_SIZE_CHANNEL_MESSAGE, //
};

use crate::connection::is_over;

/// Makes a GPADL. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a size that is no multiple of 4 KiB or too large for one GPADL; `EDQUOT` if the host refuses;
/// `ENODEV` if the channel is or gets rescinded, or did not come back after a resume; `ETIMEDOUT` if the host does not
/// answer; what posting returns.
pub(crate) fn establish(channel: &Channel, kind: Kind, gpadl: Gpadl<'_>) -> Result {
    let size = u32::try_from(gpadl.bytes()).map_err(|_| EINVAL)?;
    if size == 0 || size as usize % HV_HYP_PAGE_SIZE != 0 {
        return Err(EINVAL);
    }
    if channel.relid() == INVALID_RELID {
        return Err(ENODEV);
    }
    let handle = connection::next_gpadl_handle();
    let mut messages =
        GpadlSplitter::new(channel.relid(), handle, 0, size, gpadl.pfns()).map_err(|_| EINVAL)?;
    let lent = gpadl.lend(channel, kind).inspect_err(|e| {
        pr_warn!(
            "making a GPADL accessible to the host failed: {}\n",
            e.to_errno()
        );
    })?;

    let key = Key::GpadlCreated {
        relid: channel.relid(),
        gpadl: handle,
    };
    let mut posted = false;
    let result = request::status(key, channel, || {
        let mut message: MessageBuffer = [0; MAX_SIZE_CHANNEL_MESSAGE];
        while let Some(len) = messages.next_message(&mut message).map_err(|_| EINVAL)? {
            connection::post_bytes(message.get(..len).unwrap_or_default())?;
            posted = true;
        }
        Ok(())
    })
    .and_then(|status| {
        if status == 0 {
            Ok(())
        } else {
            ratelimit::rarely(|| pr_err!("the host refused a GPADL: status {:#x}\n", status));
            Err(EDQUOT)
        }
    });
    match result {
        Ok(()) => {
            lent.hand_over(handle);
            Ok(())
        }
        // The host may have the GPADL: ask it to forget it.
        Err(e) if posted && e != EDQUOT && !channel.is_rescinded() => {
            let _ = end(channel, lent, handle, CHANNEL_TIMEOUT_MS);
            Err(e)
        }
        Err(e) => {
            // An error means that the memory is lost, which the driver can see.
            let _ = lent.take_back();
            Err(e)
        }
    }
}

/// Ends a GPADL. Sleeps.
///
/// The channel's rescind ends all its GPADLs, so that there is nothing to wait for then.
///
/// # Errors
///
/// `ETIMEDOUT` if the host does not confirm within `timeout_ms` milliseconds, or what posting returns; `ENOMEM` if the memory
/// could not be encrypted again. The memory is lost then.
pub(crate) fn teardown(channel: &Channel, gpadl: Gpadl<'_>, timeout_ms: u32) -> Result {
    let handle = gpadl.handle();
    end(channel, gpadl.lent(), handle, timeout_ms)
}

/// See [`teardown`]. Memory that does not come back is leaked with `lent`.
fn end(channel: &Channel, lent: Lent<'_>, handle: u32, timeout_ms: u32) -> Result {
    let message = GpadlTeardown {
        header: ChannelMessageHeader::of::<GpadlTeardown>(),
        child_relid: channel.relid(),
        gpadl: handle,
    };
    let key = Key::GpadlTorndown { gpadl: handle };
    match request::status_within(key, channel, timeout_ms, || connection::post(&message)) {
        Ok(_) => {}
        Err(_) if channel.is_rescinded() => {}
        // After an unload that the host has confirmed there is no host side any more.
        Err(e) if e == ENODEV && is_over() => {}
        Err(e) => {
            ratelimit::rarely(|| {
                pr_err!(
                    "the host did not end GPADL {:#x}: {}\n",
                    handle,
                    e.to_errno()
                );
            });
            return Err(e);
        }
    }
    lent.take_back()
}
