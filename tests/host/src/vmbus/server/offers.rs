// SPDX-License-Identifier: GPL-2.0

//! Offers: what the guest is told of, and what is withdrawn from it.

use super::*;

impl Server {
    /// Adds a device. The guest hears of it now if it has asked for offers, or when it does.
    pub fn offer(&self, offer: Offer) -> Result<u32> {
        let mut state = self.state();
        ensure!(
            !state
                .slots
                .values()
                .any(|s| s.offer.name == offer.name && !s.rescinded),
            "there is a device {} already",
            offer.name
        );
        let relid = state.add(offer, 0, None)?;
        self.announce(&mut state, relid);
        Ok(relid)
    }

    /// Offers `count` sub-channels of the open device `name`. Returns how many were offered.
    pub fn offer_sub_channels(&self, name: &str, count: u16) -> Result<u16> {
        let mut state = self.state();
        let (primary, offer) = state
            .slots
            .iter()
            .find(|(_, s)| s.offer.name == name && s.sub_index == 0 && !s.rescinded)
            .map(|(relid, s)| (*relid, s.offer.clone()))
            .with_context(|| format!("there is no device {name}"))?;
        let taken: Vec<u16> = state
            .slots
            .values()
            .filter(|s| s.offer.name == name)
            .map(|s| s.sub_index)
            .collect();
        for index in (1..=u16::MAX)
            .filter(|i| !taken.contains(i))
            .take(count.into())
        {
            let relid = state.add(offer.clone(), index, Some(primary))?;
            self.announce(&mut state, relid);
        }
        Ok(count)
    }

    /// Withdraws the device `name` with all its sub-channels; the guest closes and releases them. `NAME.N` is its
    /// sub-channel number N alone.
    pub fn rescind(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        if let Some((device, index)) = name.rsplit_once('.') {
            let sub = state
                .slots
                .iter()
                .find(|(_, s)| {
                    let own = s.offer.name == device && s.sub_index.to_string() == index;
                    own && s.sub_index != 0 && !s.rescinded
                })
                .map(|(relid, _)| *relid);
            if let Some(relid) = sub {
                self.rescind_relid(&mut state, relid);
                return Ok(());
            }
        }
        let relids: Vec<u32> = state
            .slots
            .iter()
            .filter(|(_, s)| s.offer.name == name && !s.rescinded)
            .map(|(r, _)| *r)
            .collect();
        ensure!(!relids.is_empty(), "there is no device {name}");
        // Sub-channels first, as Hyper-V does.
        for relid in relids.into_iter().rev() {
            self.rescind_relid(&mut state, relid);
        }
        Ok(())
    }

    /// Withdraws the sub-channels of the channel `primary`, which was closed: they belong to what the guest asked of the
    /// device while that was open, and it asks anew when it opens it again. A guest closes them first; what is still open
    /// ends with the primary.
    pub(super) fn withdraw_sub_channels(
        &self,
        state: &mut State,
        primary: u32,
        stopping: &mut Stopping,
    ) {
        let mut relids = Vec::new();
        for (relid, slot) in &mut state.slots {
            if slot.primary != Some(primary) {
                continue;
            }
            if let Some((channel, thread)) = slot.open.take() {
                slot.closed_by_host = true;
                channel.stop();
                stopping.push((channel, thread));
            }
            let faults = &self.shared.faults;
            if !slot.rescinded && !faults.hit(&slot.offer.name, Fault::BusNoRescind) {
                relids.push(*relid);
            }
        }
        for relid in relids.into_iter().rev() {
            self.rescind_relid(state, relid);
        }
    }

    /// Whether the guest has not released all channels of device `name` that were withdrawn.
    pub fn is_held(&self, name: &str) -> bool {
        let state = self.state();
        let mut slots = state.slots.values();
        slots.any(|s| s.offer.name == name && s.rescinded)
    }

    pub(super) fn rescind_relid(&self, state: &mut State, relid: u32) {
        let Some(slot) = state.slots.get_mut(&relid) else {
            return;
        };
        if slot.answer_due {
            slot.rescind_due = true;
        } else if slot.sent {
            slot.rescinded = true;
            let message = build!(RescindOffer, |m| {
                m.child_relid = relid;
            });
            self.send(state, &message);
        } else {
            state.slots.remove(&relid);
        }
    }

    pub(super) fn announce(&self, state: &mut State, relid: u32) {
        if !state.connection.is_some_and(|c| c.offers_requested) {
            return;
        }
        let Some(slot) = state.slots.get_mut(&relid) else {
            return;
        };
        slot.sent = true;
        let (offer, sub_index, primary) = (slot.offer.clone(), slot.sub_index, slot.primary);
        let monitor = slot.monitor;
        if let Some(monitor) = monitor {
            if let Err(error) = self.arm_monitor(state, monitor, relid) {
                self.violation(format!("monitor page: {error:#}"));
            }
        }
        let mut flags = offer.flags | VMBUS_CHANNEL_ENUMERATE_DEVICE_INTERFACE;
        if self.shared.faults.hit(&offer.name, Fault::BusBadOfferFlags) {
            flags |= VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY;
        }
        let bad = self
            .shared
            .faults
            .take(&offer.name, Fault::BusBadRelid, 0xFFFF);
        let told = bad.and_then(|v| u32::try_from(v).ok()).unwrap_or(relid);
        let make = |told: u32| {
            build!(OfferChannel, |m| {
                m.offer = ChannelOffer::new_zeroed();
                m.offer.if_type = offer.class;
                m.offer.if_instance = offer.instance;
                m.offer.chn_flags = flags;
                m.offer.u = offer.user_data;
                m.offer.sub_channel_index = sub_index;
                m.child_relid = told;
                m.monitorid = monitor.unwrap_or(0);
                m.monitor_allocated = monitor.is_some().into();
                m.is_dedicated_interrupt = 1;
                m.connection_id = EVENT_CONNECTION + told;
            })
        };
        let duplicate = self
            .shared
            .faults
            .hit(&offer.name, Fault::BusDuplicateOffer);
        self.send(state, &make(told));
        if duplicate {
            if let Ok(second) = state.add(offer.clone(), sub_index, primary) {
                if let Some(slot) = state.slots.get_mut(&second) {
                    slot.sent = true;
                }
                self.send(state, &make(second));
            }
        }
    }

    /// The devices as lines of `name relid.sub state`.
    pub fn list(&self) -> Vec<String> {
        self.state()
            .slots
            .iter()
            .map(|(relid, slot)| {
                let status = match (&slot.open, slot.rescinded, slot.sent) {
                    (_, true, _) => "rescinded",
                    (Some(_), ..) => "open",
                    (None, _, true) => "offered",
                    (None, _, false) => "not-offered",
                };
                format!(
                    "{} relid={relid} sub={} instance={} {status}",
                    slot.offer.name, slot.sub_index, slot.offer.instance
                )
            })
            .collect()
    }

    /// The open channels of device `name` (all devices if `None`).
    pub fn channels(&self, name: Option<&str>) -> Vec<Arc<Channel>> {
        let wanted = |slot: &&Slot| name.is_none_or(|n| slot.offer.name == n);
        self.state()
            .slots
            .values()
            .filter(wanted)
            .filter_map(|s| s.open.as_ref().map(|(c, _)| c.clone()))
            .collect()
    }

    pub(super) fn relid_released(
        &self,
        state: &mut State,
        m: RelidReleased,
        stopping: &mut Stopping,
    ) -> Result<()> {
        let relid = { m.child_relid };
        if state.connection.is_none() {
            // Linux unloads first and lets go of its devices afterwards.
            return Ok(());
        }
        let slot = state
            .slots
            .get_mut(&relid)
            .with_context(|| format!("RELID_RELEASED of unknown relid {relid}"))?;
        ensure!(
            slot.sent,
            "RELID_RELEASED of relid {relid}, which was not offered"
        );
        let was_open = slot.open.take();
        let name = slot.offer.name.clone();
        if slot.rescinded || slot.sub_index != 0 || slot.offer.is_socket() {
            state.slots.remove(&relid);
        } else {
            // The driver let go of a device that is still there; it is offered again on the next connection.
            slot.sent = false;
        }
        state.gpadls.retain(|_, g| g.relid != relid);
        if let Some((channel, thread)) = was_open {
            channel.stop();
            stopping.push((channel, thread));
            bail!("RELID_RELEASED of {name} (relid {relid}), which is open");
        }
        Ok(())
    }
}

impl State {
    /// Adds an offer under a free relid; `primary` is that of the primary channel if it is for a sub-channel.
    pub(super) fn add(
        &mut self,
        offer: Offer,
        sub_index: u16,
        primary: Option<u32>,
    ) -> Result<u32> {
        let monitor = match offer.monitored {
            true => Some(self.free_monitor()?),
            false => None,
        };
        for _ in 0..MAX_CHANNEL_RELIDS {
            let relid = self.next_relid;
            self.next_relid = if relid + 1 < MAX_CHANNEL_RELIDS {
                relid + 1
            } else {
                1
            };
            if let Entry::Vacant(free) = self.slots.entry(relid) {
                free.insert(Slot {
                    offer,
                    sub_index,
                    primary,
                    monitor,
                    sent: false,
                    rescinded: false,
                    closed_by_host: false,
                    answer_due: false,
                    rescind_due: false,
                    open: None,
                    open_gpadl: 0,
                });
                return Ok(relid);
            }
        }
        bail!("all {MAX_CHANNEL_RELIDS} relids are in use")
    }
}
