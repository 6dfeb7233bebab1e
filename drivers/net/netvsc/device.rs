// SPDX-License-Identifier: GPL-2.0

//! A card from probe to remove, suspend and resume.

use crate::{
    interface::Interface,
    link::Chores,
    nic::Nic,
    port::Port,
    settings::{
        ETH_MTU,
        MAX_MTU,
        MIN_MTU,
        OFFER_MS, //
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
    Unregistered,
    Watch, //
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
    /// Of interfaces that may be the card's virtual function.
    watch: Option<Pin<KBox<Watch<Nic>>>>,
    nic: Arc<Nic>,
}

impl Drop for Card {
    fn drop(&mut self) {
        // The worker may wait for the RTNL, so it ends before that is taken.
        self.nic.worker().disable();
        self.nic.worker().owner.change(None);
        // A virtual function is a card of its own from here on.
        drop(self.watch.take());
        // The interface goes down, and nothing is asked of the card any more.
        drop(self.registration.take());
        self.nic.disconnect();
    }
}

/// What every card can do.
const FIXED: Features = Features {
    scatter_gather: true,
    high_dma: true,
    rx_checksum: false,
    rx_hash: false,
    ipv4_checksum: false,
    ipv6_checksum: false,
    tso: false,
    tso6: false,
    lro: false,
    vlan_tx: true,
    vlan_rx: true,
};

impl Card {
    fn new(dev: &Device<Bound>) -> Result<KBox<Self>> {
        let places = Nic::places();
        let params = InterfaceParams {
            queues: places,
            address: MacAddress([0; 6]),
            mtu: ETH_MTU,
            min_mtu: MIN_MTU,
            max_mtu: MAX_MTU,
            features: FIXED,
        };
        let mut interface = Unregistered::<Interface>::new(Some(dev.as_ref()), &params)?;
        let mut napis = KVec::with_capacity(places.into(), GFP_KERNEL)?;
        for number in 0..places {
            napis.push(Napi::new(interface.device().clone(), number)?, GFP_KERNEL)?;
        }
        let queue = Arc::new(OwnedQueue::ordered(c"netvsc")?, GFP_KERNEL)?;
        let worker = Arc::pin_init(Worker::new(queue, Chores::new()), GFP_KERNEL)?;
        let port = Port::new(interface.device().clone(), dev, worker, places)?;
        let nic = Nic::new(port, napis, Lease::new(dev)?)?;
        // From here on, dropping this undoes everything.
        let mut card = KBox::new(
            Self {
                registration: None,
                watch: None,
                nic: nic.clone(),
            },
            GFP_KERNEL,
        )?;
        let properties = nic.connect()?;
        let most = if properties.version >= ProtocolVersion::V2 {
            MAX_MTU
        } else {
            ETH_MTU
        };
        interface.set_address(properties.address);
        interface.set_max_mtu(most);
        interface.set_mtu(properties.mtu.clamp(MIN_MTU, ETH_MTU));
        interface.set_features(FIXED, properties.offloads.features());
        // Those that the host offers are used as soon as they are open.
        interface.set_queues(1)?;
        let driver = Arc::new(Interface(nic.clone()), GFP_KERNEL)?;
        card.registration = Some(interface.register(driver)?);
        Self::set_alias(&nic);
        nic.worker().owner.change(Some(nic.clone()));
        let watch = Watch::new(nic.interface().clone(), nic.clone());
        card.watch = Some(KBox::pin_init(watch, GFP_KERNEL)?);
        // Shows the state of the cable.
        nic.worker().queue();
        dev_info!(
            AsRef::<kernel::device::Device>::as_ref(dev),
            "version {} of the protocol\n",
            properties.version.name().unwrap_or("?")
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
                let _ = nic.interface().set_alias(&name);
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
        let nic = &card.nic;
        nic.worker().disable();
        Rtnl::with(|rtnl| {
            nic.interface().detach(rtnl);
            // The others have no channel until the host has offered them again.
            nic.interface().set_queues(rtnl, 1)
        })?;
        nic.disconnect();
        Ok(())
    }

    fn resume(_dev: &Device<Bound>, card: &Card) -> Result {
        let nic = &card.nic;
        let result = nic.connect().map(|_| ());
        Rtnl::with(|rtnl| nic.interface().attach(rtnl));
        nic.worker().enable();
        if result.is_err() {
            nic.want_connection();
        }
        // Shows the state of the cable, or tries again; and later on does without the channels that have not come.
        nic.worker().set_timer(OFFER_MS);
        nic.worker().queue();
        Ok(())
    }
}
