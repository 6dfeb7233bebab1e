// SPDX-License-Identifier: GPL-2.0

//! A card from probe to remove, suspend and resume.

use crate::{
    connection::Properties,
    link::LinkTask,
    nic::{
        Interface,
        Nic, //
    },
    settings::{
        ETH_MTU,
        MAX_MTU,
        MIN_MTU, //
    },
    DEVICES, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::work::{
    OwnedQueue,
    Worker, //
};
use rlis_net::{
    Features,
    InterfaceParams,
    MacAddress,
    Napi,
    Registration,
    Rtnl,
    Unregistered, //
};
use rlis_proto::{
    nvsp::ProtocolVersion,
    rndis::{
        friendly_name,
        Oid, //
    }, //
};
use rlis_vmbus::{
    Bound,
    Device,
    Driver,
    Lease,
    ProbeType,
    TableRef, //
};

/// Bytes of the longest alias of an interface.
const MAX_ALIAS: usize = 255;

/// What the host calls a card that nobody has given a name.
const NO_NAME: &[u8] = b"Network Adapter";

/// What belongs to a card that the driver has taken charge of.
pub(crate) struct Card {
    registration: Option<Registration<Interface>>,
    nic: Arc<Nic>,
}

impl Drop for Card {
    fn drop(&mut self) {
        // The worker may wait for the RTNL, so it ends before that is taken.
        self.nic.worker.disable();
        self.nic.worker.look_after(None);
        // The interface goes down, and nothing is asked of the card any more.
        drop(self.registration.take());
        self.nic.disconnect();
    }
}

impl Card {
    fn new(dev: &Device<Bound>) -> Result<KBox<Self>> {
        let params = InterfaceParams {
            queues: 1,
            address: MacAddress([0; 6]),
            mtu: ETH_MTU,
            min_mtu: MIN_MTU,
            max_mtu: MAX_MTU,
            features: Features {
                scatter_gather: true,
                high_dma: true,
            },
        };
        let mut interface = Unregistered::<Interface>::new(Some(dev.as_ref()), &params)?;
        let napi = Napi::new(interface.device().clone(), 0)?;
        let queue = Arc::new(OwnedQueue::ordered(c"netvsc")?, GFP_KERNEL)?;
        let worker = Arc::pin_init(Worker::new(queue, LinkTask::new()), GFP_KERNEL)?;
        let device = interface.device().clone();
        let nic = Nic::new(device, napi, Lease::new(dev)?, worker, ETH_MTU)?;
        // From here on, dropping this undoes everything.
        let mut card = KBox::new(
            Self {
                registration: None,
                nic: nic.clone(),
            },
            GFP_KERNEL,
        )?;
        let properties = nic.connect()?;
        let Properties {
            version,
            address,
            mtu,
        } = properties;
        let most = if version >= ProtocolVersion::V2 {
            MAX_MTU
        } else {
            ETH_MTU
        };
        interface.set_address(address);
        interface.set_max_mtu(most);
        interface.set_mtu(mtu.clamp(MIN_MTU, ETH_MTU));
        let driver = Arc::new(Interface(nic.clone()), GFP_KERNEL)?;
        card.registration = Some(interface.register(driver)?);
        Self::set_alias(&nic);
        nic.worker.look_after(Some(nic.clone()));
        // Shows the state of the cable.
        nic.worker.queue();
        dev_info!(
            AsRef::<kernel::device::Device>::as_ref(dev),
            "version {} of the protocol\n",
            version.name().unwrap_or("?")
        );
        Ok(card)
    }

    /// Shows the name that the host has for the card. It works without.
    fn set_alias(nic: &Nic) {
        let name = nic.query(Oid::RNDIS_OID_GEN_FRIENDLY_NAME, |value| {
            let mut name = KVec::new();
            for character in friendly_name(value) {
                let mut utf8 = [0; 4];
                let bytes = character.encode_utf8(&mut utf8).as_bytes();
                if name.len() + bytes.len() > MAX_ALIAS {
                    break;
                }
                name.extend_from_slice(bytes, GFP_KERNEL)?;
            }
            Ok(name)
        });
        match name {
            Ok(name) if !name.is_empty() && *name != *NO_NAME => {
                // Only memory can be short.
                let _ = nic.device().set_alias(&name);
            }
            _ => {}
        }
    }
}

/// The driver.
pub(crate) struct NetvscDriver;

impl Driver for NetvscDriver {
    type IdInfo = ();
    type Data = KBox<Card>;

    const NAME: &'static CStr = c"hv_netvsc";
    // The order decides the names of the interfaces.
    const PROBE_TYPE: ProbeType = ProbeType::ForceSynchronous;

    fn device_table() -> TableRef<()> {
        DEVICES.get()
    }

    fn probe(dev: &Device<Bound>, _info: Option<&'static ()>) -> Result<Self::Data> {
        Card::new(dev)
    }

    fn suspend(_dev: &Device<Bound>, card: &Card) -> Result {
        card.nic.worker.disable();
        let nic = &card.nic;
        Rtnl::with(|rtnl| nic.device().detach(rtnl));
        nic.disconnect();
        Ok(())
    }

    fn resume(_dev: &Device<Bound>, card: &Card) -> Result {
        let nic = &card.nic;
        let result = nic.connect().map(|_| ());
        Rtnl::with(|rtnl| nic.device().attach(rtnl));
        nic.worker.enable();
        if result.is_err() {
            nic.want_connection();
        }
        // Shows the state of the cable, or tries again.
        nic.worker.queue();
        Ok(())
    }
}
