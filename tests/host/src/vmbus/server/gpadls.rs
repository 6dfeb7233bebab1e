// SPDX-License-Identifier: GPL-2.0

//! GPADLs: made, completed and torn down.

use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// How long a teardown waits for a device to give a buffer back. The message that revokes the buffer may still lie in
/// the ring, and the guest gets no answer to that.
const GIVE_BACK: Duration = Duration::from_millis(500);
/// How often a device is asked whether the requests of a closed channel still run.
const LINGER: Duration = Duration::from_millis(5);

impl State {
    /// The GPADL `handle`, which must be one of the channel `relid`.
    pub(super) fn gpadl(&self, relid: u32, handle: u32) -> Result<&Gpadl> {
        let gpadl = self
            .gpadls
            .get(&handle)
            .with_context(|| format!("GPADL {handle:#x} is unknown"))?;
        ensure!(
            gpadl.relid == relid,
            "GPADL {handle:#x} belongs to relid {}, not to relid {relid}",
            gpadl.relid
        );
        Ok(gpadl)
    }
}

impl Server {
    /// Lends the GPADL `handle` of the channel `relid` to the channel's device.
    pub fn lend_gpadl(&self, relid: u32, handle: u32) -> Result<Loan> {
        let state = self.state();
        let gpadl = state.gpadl(relid, handle)?;
        gpadl.lend().with_context(|| format!("GPADL {handle:#x}"))
    }

    pub(super) fn gpadl_header(
        &self,
        state: &mut State,
        m: GpadlHeader,
        bytes: &[u8],
    ) -> Result<()> {
        let (relid, handle) = ({ m.child_relid }, { m.gpadl });
        ensure!(
            state.slots.get(&relid).is_some_and(|s| s.sent),
            "GPADL_HEADER for relid {relid}, which was not offered"
        );
        ensure!(
            !state.gpadls.contains_key(&handle),
            "GPADL {handle:#x} exists already"
        );
        ensure!(
            state.gpadls.len() < MAX_GPADLS,
            "more than {MAX_GPADLS} GPADLs"
        );
        match Gpadl::new(&self.shared.memory, &m, bytes) {
            Ok(gpadl) => {
                state.gpadls.insert(handle, gpadl);
                self.gpadl_done(state, handle);
                Ok(())
            }
            Err(error) => {
                self.gpadl_created(state, relid, handle, STATUS_UNSUCCESSFUL);
                Err(error.context(format!("GPADL {handle:#x}")))
            }
        }
    }

    pub(super) fn gpadl_body(&self, state: &mut State, m: GpadlBody, bytes: &[u8]) -> Result<()> {
        let handle = { m.gpadl };
        let gpadl = state
            .gpadls
            .get_mut(&handle)
            .with_context(|| format!("GPADL_BODY for unknown GPADL {handle:#x}"))?;
        if let Err(error) = gpadl.push(&self.shared.memory, bytes) {
            let relid = gpadl.relid;
            state.gpadls.remove(&handle);
            self.gpadl_created(state, relid, handle, STATUS_UNSUCCESSFUL);
            return Err(error.context(format!("GPADL {handle:#x}")));
        }
        self.gpadl_done(state, handle);
        Ok(())
    }

    /// Answers a GPADL whose last message has come.
    pub(super) fn gpadl_done(&self, state: &mut State, handle: u32) {
        let Some(gpadl) = state.gpadls.get(&handle).filter(|g| g.pages.is_some()) else {
            return;
        };
        let relid = gpadl.relid;
        if self.fault(Fault::BusNoGpadlCreated) {
            return;
        }
        if self.fault(Fault::BusRefuseGpadl) {
            state.gpadls.remove(&handle);
            self.gpadl_created(state, relid, handle, STATUS_UNSUCCESSFUL);
        } else {
            self.gpadl_created(state, relid, handle, 0);
        }
    }

    pub(super) fn gpadl_created(&self, state: &State, relid: u32, handle: u32, status: u32) {
        let message = build!(GpadlCreated, |r| {
            r.child_relid = relid;
            r.gpadl = handle;
            r.creation_status = status;
        });
        self.send(state, &message);
    }

    /// Waits for a device to give the buffer of a GPADL back, without the lock: the device may need it to get there.
    pub(super) fn await_gpadl(&self, handle: u32) {
        let deadline = Instant::now() + GIVE_BACK;
        while self.state().gpadls.get(&handle).is_some_and(Gpadl::is_lent)
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn gpadl_teardown(&self, state: &mut State, m: GpadlTeardown) -> Result<()> {
        let (relid, handle) = ({ m.child_relid }, { m.gpadl });
        let gpadl = state.gpadl(relid, handle).context("GPADL_TEARDOWN")?;
        let in_use = state
            .slots
            .get(&relid)
            .is_some_and(|s| s.open.is_some() && s.open_gpadl == handle);
        if in_use {
            self.violation(format!(
                "GPADL {handle:#x} torn down while it holds the rings of an open channel"
            ));
        }
        if gpadl.is_lent() {
            self.violation(format!(
                "GPADL {handle:#x} torn down while the device uses it"
            ));
        }
        let slot = state.slots.get(&relid).filter(|s| s.open_gpadl == handle);
        let device = slot.map(|s| s.offer.device.clone());
        if let Some(device) = device.filter(|d| d.lingers(relid)) {
            // Not here: the virtual processor that sent the message goes on meanwhile.
            let server = self.this.upgrade().context("the bus is gone")?;
            thread::spawn(move || {
                while device.lingers(relid) {
                    thread::sleep(LINGER);
                }
                server.gpadl_torndown(&mut server.state(), handle);
            });
        } else {
            self.gpadl_torndown(state, handle);
        }
        Ok(())
    }

    fn gpadl_torndown(&self, state: &mut State, handle: u32) {
        state.gpadls.remove(&handle);
        if !self.fault(Fault::BusNoGpadlTorndown) {
            let message = build!(GpadlTorndown, |r| {
                r.gpadl = handle;
            });
            self.send(state, &message);
        }
    }

    /// Whether the host has withdrawn the channel `relid`, or the connection has ended: whatever the guest sent on it came
    /// to its end with that.
    pub fn is_withdrawn(&self, relid: u32) -> bool {
        let state = self.state();
        let slot = state.slots.get(&relid);
        state.connection.is_none() || slot.is_none_or(|s| s.rescinded)
    }
}
