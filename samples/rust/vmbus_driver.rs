// SPDX-License-Identifier: GPL-2.0

//! A driver on VMBus, for a device that wants to hear again what it says.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::RateLimit;
use rlis_vmbus::{
    Bound,
    CallbackMode,
    Channel,
    ChannelHandler,
    Device,
    Driver,
    Guid,
    MaxPacket,
    OpenChannel,
    OpenParams,
    PacketType,
    Reader,
    RequestIds,
    RingSize,
    TableRef, //
};

rlis_vmbus::vmbus_device_table! {
    /// A class that no device has; `new_id` in sysfs names others.
    static DEVICES: [(); 1] = [(Guid::from_bytes(*b"rlis sample echo"), ())];
}

const PARAMS: OpenParams<'static> = OpenParams {
    send_ring: RingSize::for_payload(4096),
    recv_ring: RingSize::for_payload(4096),
    mode: CallbackMode::Direct,
    max_packet: MaxPacket::with_payload(1024),
    request_ids: RequestIds::AsGiven,
    user_data: &[],
};

// --8<--
/// What is done about a packet.
pub struct Echo;

impl ChannelHandler for Echo {
    // In the channel's tasklet. A packet is a private copy, which the host does not change any more.
    fn on_event(&self, channel: &Arc<Channel>, mut reader: Reader<'_>) {
        static LIMIT: RateLimit = RateLimit::new();

        while let Some(packet) = reader.next_packet() {
            let (payload, id) = (packet.payload(), packet.transaction_id());
            if let Err(error) = channel.send(PacketType::DATA_INBAND, payload, id, false) {
                LIMIT.run(|_| pr_warn!("cannot answer: {:?}\n", error));
            }
        }
    }
}

/// The driver.
pub struct EchoDriver;

impl Driver for EchoDriver {
    type IdInfo = ();
    // Dropped when the device is given up, which closes the channel.
    type Data = KBox<OpenChannel<Echo>>;

    const NAME: &'static CStr = c"rlis_sample";

    fn device_table() -> TableRef<()> {
        DEVICES.get()
    }

    fn probe(dev: &Device<Bound>, _info: Option<&'static ()>) -> Result<Self::Data> {
        let channel = OpenChannel::open(dev, &PARAMS, Arc::new(Echo, GFP_KERNEL)?)?;
        Ok(KBox::new(channel, GFP_KERNEL)?)
    }
}
// -->8--
