// SPDX-License-Identifier: GPL-2.0

//! The card's virtual function: the guest is told which it is, and chooses the path that frames for it take. What the
//! guest sends reaches the network on both, as on Hyper-V, where the choice moves just the filter of the address
//! (`move_filter` in openvmm's mana_driver).

use super::*;
use crate::faults::Fault;
use crate::netvsp::vf::Function;

/// What there is of a card's virtual function.
#[derive(Default)]
pub(super) struct Vf {
    function: Option<Arc<dyn Function>>,
    /// The serial number of the function that belongs to the card.
    serial: Option<u32>,
    /// How often the guest has switched, and how often that was refused.
    switches: u64,
    refused: u64,
    /// Frames of the guest by the function, and frames for it.
    sent: u64,
    received: u64,
    /// Frames for the guest that the function did not take.
    lost: u64,
    /// Frames of the guest on the path that it has not chosen.
    sent_beside: u64,
}

impl Vf {
    /// What outlives a guest that closes the card.
    pub(super) fn kept(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Whether there is a function at all.
    pub(super) fn is_attached(&self) -> bool {
        self.function.is_some()
    }

    /// The card sent a frame of the guest.
    pub(super) fn synthetic_sent(&mut self, path: DataPath) {
        self.sent_beside += u64::from(path == DataPath::NVSP_DATAPATH_VF);
    }

    /// What there is to say of it.
    pub(super) fn describe(&self) -> String {
        let serial = self.serial.map_or("none".into(), |s| s.to_string());
        format!(
            "function={} serial={serial} switches={} switches_refused={} vf_sent={} vf_received={} vf_lost={} \
             sent_beside={}",
            self.function.as_ref().map_or("none", |f| f.name()),
            self.switches,
            self.refused,
            self.sent,
            self.received,
            self.lost,
            self.sent_beside,
        )
    }
}

impl Nic {
    /// Gives the card a virtual function, which has no association yet.
    pub fn attach(&self, function: Arc<dyn Function>) {
        self.state().vf.function = Some(function);
    }

    /// Takes frames that the guest sends by the virtual function.
    pub fn sent_by_function(&self, frames: Vec<Vec<u8>>) {
        let mut state = self.state();
        let count = frames.len() as u64;
        state.vf.sent += count;
        if state.path != DataPath::NVSP_DATAPATH_VF {
            state.vf.sent_beside += count;
        }
        let up = state.up;
        drop(state);
        if up {
            self.to_network(frames);
        }
    }

    /// Gives frames to the virtual function if the guest has chosen it; else returns them.
    pub(super) fn to_function(&self, state: &mut State, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let chosen = state.path == DataPath::NVSP_DATAPATH_VF;
        let Some(function) = state.vf.function.clone().filter(|_| chosen) else {
            return frames;
        };
        let lost = function.receive(&frames);
        state.vf.lost += lost as u64;
        state.vf.received += frames.len().saturating_sub(lost) as u64;
        Vec::new()
    }

    /// Sends a message in band. OpenVMM wants these completed, Hyper-V does not.
    fn tell(&self, channel: &Channel, transaction: u64, message: &[u8]) {
        let flags = u16::from(self.spec.mode == Mode::OpenVmm);
        channel.send_in_band(transaction, flags, message);
    }

    /// Tells the guest which virtual function belongs to the card, or that none does.
    pub(super) fn tell_association(&self, state: &State) {
        let (Some(channel), Some(version)) = (state.channels.get(&0), state.version) else {
            return;
        };
        let kind = MessageType::NVSP_MSG4_TYPE_SEND_VF_ASSOCIATION;
        let association = VfAssociation {
            allocated: state.vf.serial.is_some().into(),
            serial: state.vf.serial.unwrap_or(0),
        };
        self.tell(channel, TELL_VF, &nvsp(kind, &association, version));
    }

    /// Tells a guest that has just opened the card, as soon as it can have messages.
    pub(super) fn tell_first_association(&self, state: &State) {
        let old = state.version < Some(ProtocolVersion::V4);
        if state.vf.serial.is_some() && !old {
            self.tell_association(state);
        }
    }

    /// A virtual function belongs to the card from now on, or none does. A guest that has opened the card is told.
    pub(super) fn associate(&self, state: &mut State, serial: Option<u32>) {
        state.vf.serial = serial;
        self.tell_association(state);
    }

    /// Moves the data path back to the synthetic card, and tells the guest.
    pub(super) fn switch_back(&self, state: &mut State) {
        state.path = DataPath::NVSP_DATAPATH_SYNTHETIC;
        if let Some(channel) = state.channels.get(&0) {
            self.tell(channel, TELL_PATH, &state.path.message());
        }
    }

    /// Carries out SWITCH_DATA_PATH. The completion does not say whether it was: a host that could not switch tells by a
    /// message of its own that the path is the synthetic one.
    pub(super) fn switch_data_path(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        let faults = &channel.context.faults;
        let name = &self.spec.name;
        let mut state = self.state();
        let transaction = packet.transaction;
        let path = DataPath::parse(&packet.payload).map_err(anyhow::Error::from);
        let path = path.and_then(|path| {
            ensure!(
                state.version >= Some(ProtocolVersion::V4),
                "SWITCH_DATA_PATH in an old version"
            );
            Ok(path)
        });
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                channel.complete(transaction, &[]);
                return Err(error);
            }
        };
        let to_vf = path == DataPath::NVSP_DATAPATH_VF;
        let there = state.vf.serial.is_some() && state.vf.is_attached();
        let refused = to_vf && (!there || faults.hit(name, Fault::NetRefuseSwitch));
        state.vf.switches += 1;
        state.vf.refused += u64::from(refused);
        if !refused {
            state.path = path;
        }
        if faults.hit(name, Fault::NetNoSwitch) {
            return Ok(());
        }
        if let Some(ms) = faults.take(name, Fault::NetSlowSwitch, 1000) {
            let channel = channel.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(ms));
                if !channel.is_stopped() {
                    channel.complete(transaction, &[]);
                }
            });
        } else {
            channel.complete(transaction, &[]);
        }
        if refused {
            self.switch_back(&mut state);
        }
        Ok(())
    }
}
