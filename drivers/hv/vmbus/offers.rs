// SPDX-License-Identifier: GPL-2.0

//! Which offers of the host become channels.

use rlis_bus::device_class;
use rlis_proto::vmbus::{
    message::OfferChannel,
    VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY,
    VMBUS_CHANNEL_CONFIDENTIAL_RING_BUFFER, //
};

/// Whether an offer may become a channel; if not, why.
///
/// A guest that does not trust its host uses only devices whose drivers were made for that. Offers of a
/// paravisor, whose channels live in encrypted memory, are refused: this bus never asked for any.
pub(crate) fn accept(offer: &OfferChannel, isolated: bool) -> Result<(), &'static str> {
    let flags = offer.offer.chn_flags;
    let confidential =
        VMBUS_CHANNEL_CONFIDENTIAL_RING_BUFFER | VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY;
    if flags & confidential != 0 {
        return Err("confidential channels are not supported");
    }
    if isolated
        && !offer.offer.is_hvsock()
        && !device_class::is_allowed_in_isolated(offer.offer.if_type)
    {
        return Err("the class is not allowed in an isolated guest");
    }
    Ok(())
}
