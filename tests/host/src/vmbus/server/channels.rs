// SPDX-License-Identifier: GPL-2.0

//! Channels: opened, closed, moved between virtual processors.

use super::*;

impl Server {
    pub(super) fn open(&self, state: &mut State, m: OpenChannel) -> Result<()> {
        let (relid, openid) = ({ m.child_relid }, { m.openid });
        let result = |status: u32, openid: u32| {
            build!(OpenResult, |r| {
                r.child_relid = relid;
                r.openid = openid;
                r.status = status;
            })
        };
        let name = match state.slots.get(&relid) {
            Some(slot) if slot.sent => slot.offer.name.clone(),
            _ => {
                self.send(state, &result(STATUS_UNSUCCESSFUL, openid));
                bail!("OPENCHANNEL of relid {relid}, which was not offered");
            }
        };
        let faults = &self.shared.faults;
        if faults.hit(&name, Fault::BusNoOpenResult) {
            return Ok(());
        }
        if faults.hit(&name, Fault::BusRescindDuringOpen) {
            self.rescind_relid(state, relid);
            return Ok(());
        }
        if faults.hit(&name, Fault::BusRefuseOpen) {
            self.send(state, &result(STATUS_UNSUCCESSFUL, openid));
            return Ok(());
        }
        if faults.hit(&name, Fault::BusWrongOpenId) {
            self.send(state, &result(STATUS_UNSUCCESSFUL, openid.wrapping_add(1)));
        }
        match self.open_channel(state, &m) {
            Ok(channel) => {
                if faults.is_armed(&name, Fault::NoSignal) {
                    channel.announce();
                }
                match faults.take(&name, Fault::BusSlowOpenResult, 1000) {
                    Some(ms) => self.answer_late(state, channel, result(0, openid), ms),
                    None => {
                        self.send(state, &result(0, openid));
                        channel.start();
                    }
                }
                if faults.hit(&name, Fault::BusRescindAfterOpen) {
                    self.rescind_relid(state, relid);
                }
                Ok(())
            }
            Err(error) => {
                self.send(state, &result(STATUS_UNSUCCESSFUL, openid));
                // A guest that opens what was rescinded under its hands does nothing wrong.
                if state.slots.get(&relid).is_some_and(|s| s.rescinded) {
                    return Ok(());
                }
                Err(error.context(format!("OPENCHANNEL of {name} (relid {relid})")))
            }
        }
    }

    /// Says after `ms` milliseconds that the channel is open, unless the guest has given it up by then. Until that is
    /// said, nothing else is said about it.
    fn answer_late(&self, state: &mut State, channel: Arc<Channel>, result: OpenResult, ms: u64) {
        let relid = channel.relid;
        let Some(slot) = state.slots.get_mut(&relid) else {
            return;
        };
        slot.answer_due = true;
        let server = self.this.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(ms));
            let Some(server) = server.upgrade() else {
                return;
            };
            let mut state = server.state();
            let Some(slot) = state.slots.get_mut(&relid).filter(|s| s.answer_due) else {
                return;
            };
            slot.answer_due = false;
            let rescind = std::mem::take(&mut slot.rescind_due);
            server.send(&state, &result);
            channel.start();
            if rescind {
                server.rescind_relid(&mut state, relid);
            }
        });
    }

    pub(super) fn open_channel(&self, state: &mut State, m: &OpenChannel) -> Result<Arc<Channel>> {
        let (relid, handle, vp) = ({ m.child_relid }, { m.ringbuffer_gpadlhandle }, {
            m.target_vp
        });
        ensure!(
            vp < self.shared.synic.count(),
            "virtual processor {vp} is not there"
        );
        let pages = state
            .gpadl(relid, handle)?
            .pages
            .clone()
            .with_context(|| format!("GPADL {handle:#x} is not complete"))?;
        let slot = state.slots.get_mut(&relid).context("the offer is gone")?;
        ensure!(!slot.rescinded, "the offer was rescinded");
        ensure!(slot.open.is_none(), "it is open already");
        let downstream = usize::try_from(m.downstream_ringbuffer_pageoffset)?;
        let (channel, thread) = Channel::open(
            slot.offer.name.clone(),
            relid,
            slot.sub_index,
            vp,
            &pages,
            downstream,
            slot.offer.device.clone(),
            self.shared.clone(),
            self.this.clone(),
        )?;
        slot.open = Some((channel.clone(), thread));
        slot.open_gpadl = handle;
        Ok(channel)
    }

    pub(super) fn close(
        &self,
        state: &mut State,
        m: CloseChannel,
        stopping: &mut Stopping,
    ) -> Result<()> {
        let relid = { m.child_relid };
        let slot = state
            .slots
            .get_mut(&relid)
            .with_context(|| format!("CLOSECHANNEL of unknown relid {relid}"))?;
        if std::mem::take(&mut slot.closed_by_host) {
            return Ok(());
        }
        let (channel, thread) = slot.open.take().with_context(|| {
            format!(
                "CLOSECHANNEL of {} (relid {relid}), not open",
                slot.offer.name
            )
        })?;
        if slot.rescinded {
            channel.stop();
        } else {
            channel.leave();
        }
        stopping.push((channel, thread));
        if slot.offer.is_socket() && !slot.rescinded {
            // It cannot be opened a second time.
            self.rescind_relid(state, relid);
        }
        self.withdraw_sub_channels(state, relid, stopping);
        Ok(())
    }

    pub(super) fn modify(&self, state: &mut State, m: ModifyChannel) -> Result<()> {
        let (relid, vp) = ({ m.child_relid }, { m.target_vp });
        let connection = state.connection.context("no connection")?;
        ensure!(
            connection.version.has_modify_channel(),
            "MODIFYCHANNEL at version {:?}",
            connection.version
        );
        let refused = self.fault(Fault::BusRefuseModify);
        let result = (|| {
            let slot = state
                .slots
                .get(&relid)
                .with_context(|| format!("MODIFYCHANNEL of unknown relid {relid}"))?;
            let (channel, _) = slot
                .open
                .as_ref()
                .with_context(|| format!("MODIFYCHANNEL of relid {relid}, not open"))?;
            ensure!(
                vp < self.shared.synic.count(),
                "MODIFYCHANNEL to virtual processor {vp}, which is not there"
            );
            if !refused {
                channel.set_target(vp);
            }
            Ok(())
        })();
        let late = self
            .shared
            .faults
            .take(BUS, Fault::BusSlowModifyResponse, 1000);
        if connection.version.has_modify_channel_response()
            && !self.fault(Fault::BusNoModifyResponse)
        {
            let message = build!(ModifyChannelResponse, |r| {
                r.child_relid = relid;
                r.status = if result.is_err() || refused {
                    STATUS_UNSUCCESSFUL
                } else {
                    0
                };
            });
            match late {
                None => self.send(state, &message),
                Some(ms) => {
                    let server = self.this.clone();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(ms));
                        if let Some(server) = server.upgrade() {
                            server.send(&server.state(), &message);
                        }
                    });
                }
            }
        }
        result
    }
}
