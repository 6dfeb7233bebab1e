// SPDX-License-Identifier: GPL-2.0

//! A virtual function of a physical card beside the synthetic one: accelerated networking.
//!
//! Its interface is put below the card's, in whatever order the host announces it and its driver finds it. Frames go through
//! it while the host has switched the data path there, see [`Pairing`](rlis_proto::nvsp::Pairing). The host is asked by the
//! worker; only where the function goes down is there a short wait for it, so that nothing is lost on the old path.

use crate::{
    nic::Nic,
    path::State,
    settings::{
        ANSWER_MS,
        REPAIR_MS,
        SWITCH_BACK_MS,
        TAKE_OVER_MS, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Full,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_hv::time::uptime_ms;
use rlis_net::{
    find_in_first_namespace,
    Lower,
    LowerEvent,
    Rtnl,
    Watcher, //
};
use rlis_proto::nvsp::{
    DataPath,
    SwitchRequest, //
};

/// How long to wait between looks whether the host has switched, in milliseconds.
const LOOK_MS: i64 = 1;

impl Nic {
    /// There is a connection to the host.
    pub(crate) fn function_connected(&self) {
        self.function.state.lock().pairing.connected();
    }

    /// There is none any more. From here on no frames go through the function.
    pub(crate) fn function_disconnected(&self) {
        let mut state = self.function.state.lock();
        state.pairing.disconnected();
        self.interface().set_forwarding(false);
    }

    /// Takes what the host has said, and asks it to switch the data path if that is not where it should be. Does not wait.
    pub(crate) fn settle_path(&self) {
        let mut state = self.function.state.lock();
        loop {
            let (any, switched) = self.port.news.tell(&mut state.pairing);
            if let Some(path) = switched {
                state.silent = false;
                self.say_switched(path);
            }
            // What a poll notes after this, it also takes back itself; so there has to be another look.
            self.interface().set_forwarding(state.pairing.forwards());
            if !any {
                break;
            }
        }
        let waits = state.pairing.waits_for_association();
        if waits && !state.waiting {
            dev_info!(
                self.port.log(),
                "Waiting for the VF association from host\n"
            );
        }
        state.waiting = waits;
        if let Some(request) = state.pairing.next_request() {
            self.ask(&mut state, request);
        }
    }

    fn ask(&self, state: &mut State, request: SwitchRequest) {
        let channels = self.active.keep().ok_or(ENETDOWN);
        let sent = channels.and_then(|channels| {
            let channel = channels.primary().ok_or(ENETDOWN)?;
            channels.session.control.switch(channel, request)
        });
        state.asked_at = uptime_ms();
        if let Err(error) = sent {
            state.pairing.not_sent(request.number);
            if error != EAGAIN {
                self.port
                    .complain("the data path cannot be switched", &error);
            }
            self.worker().set_timer(REPAIR_MS);
        } else {
            self.worker().set_timer(ANSWER_MS);
        }
    }

    fn say_switched(&self, path: DataPath) {
        let way = match path {
            DataPath::NVSP_DATAPATH_VF => "to",
            _ => "from",
        };
        let (own, function) = (self.interface().name(), self.interface().lower_name());
        let function = function.as_ref().map_or("?", |name| name.as_str());
        dev_info!(
            self.port.log(),
            "{}: Data path switched {way} VF: {function}\n",
            own.as_str()
        );
    }

    /// The time of the worker's timer has passed.
    pub(crate) fn path_time(&self) {
        let mut state = self.function.state.lock();
        let late = uptime_ms().saturating_sub(state.asked_at) >= ANSWER_MS.into();
        let number = state.pairing.asked().filter(|_| late);
        if number.is_some_and(|number| state.pairing.timed_out(number)) {
            if !state.silent {
                self.port
                    .report("the host does not switch the data path", &ETIMEDOUT);
            }
            state.silent = true;
            self.worker().set_timer(REPAIR_MS);
            return;
        }
        if state.pairing.asked().is_some() {
            self.worker().set_timer(ANSWER_MS);
        }
        drop(state);
        self.settle_path();
    }

    /// Waits until the host has switched the data path as it was asked, for a short time.
    fn wait_for_switch(&self) {
        let asked = self.function.state.lock().pairing.asked();
        let mut waited = 0;
        while asked.is_some() && waited < i64::from(SWITCH_BACK_MS) {
            fsleep(Delta::from_millis(LOOK_MS));
            waited += LOOK_MS;
            self.settle_path();
            if self.function.state.lock().pairing.asked() != asked {
                break;
            }
        }
    }

    /// The function's interface is up or not, or there is none any more.
    fn function_is(&self, running: Option<bool>) {
        self.function.state.lock().pairing.function(running);
        self.settle_path();
    }

    fn is_forwarding(&self) -> bool {
        self.function.state.lock().pairing.forwards()
    }

    /// Whether an interface is that of the card's function. The host gives both the same address; the serial number that it
    /// announces is not always that of the slot.
    fn is_function(&self, lower: &Lower<'_>) -> bool {
        let own = self.interface().permanent_address();
        lower
            .function()
            .is_some_and(|function| function.permanent == own || function.address == own)
    }

    /// Whether an interface is the one below the card's.
    fn has_joined(&self, rtnl: &Rtnl<'_>, lower: &Lower<'_>) -> bool {
        let joined = self.interface().lower(rtnl);
        joined.is_some_and(|joined| joined == *lower)
    }

    fn registered(&self, rtnl: &Rtnl<'_>, lower: &Lower<'_>) {
        let interface = self.interface();
        if interface.lower(rtnl).is_some() || !self.is_function(lower) {
            return;
        }
        if !lower.is_in_namespace_of(interface) {
            // It cannot be moved while it is being registered.
            self.function.is_apart.xchg(true, Full);
            self.worker().queue();
            return;
        }
        let (own, name) = (interface.name(), lower.name());
        let (own, name) = (own.as_str(), name.as_str());
        dev_info!(self.port.log(), "{own}: VF registering: {name}\n");
        lower.mark();
        if let Err(error) = interface.join(rtnl, lower) {
            self.port
                .report("the VF cannot be put below the card", &error);
            return;
        }
        dev_info!(self.port.log(), "{name}: joined to {own}\n");
        self.function_is(Some(lower.is_running()));
        // The last one to set the timer: when it has passed, all is looked at.
        self.function.is_new.xchg(true, Full);
        self.worker().set_timer(TAKE_OVER_MS);
    }

    fn unregistered(&self, rtnl: &Rtnl<'_>, lower: &Lower<'_>) {
        let (own, name) = (self.interface().name(), lower.name());
        dev_info!(
            self.port.log(),
            "{}: VF unregistering: {}\n",
            own.as_str(),
            name.as_str()
        );
        self.function_is(None);
        self.wait_for_switch();
        if self.interface().has_program() && lower.takes_programs() {
            // From here on its frames are no more the card's.
            if let Err(error) = lower.set_program(None) {
                self.refused(lower, &error);
            }
        }
        self.interface().leave(rtnl);
    }

    /// Sets a function that has joined as the card is set.
    pub(crate) fn take_over(&self) {
        if !self.function.is_new.xchg(false, Full) {
            return;
        }
        let interface = self.interface();
        Rtnl::with(|rtnl| {
            let Some(lower) = interface.lower(rtnl) else {
                return;
            };
            let mtu = lower.set_mtu(interface.mtu());
            let flags = lower.take_flags(interface);
            lower.take_features(interface);
            let program = interface
                .program(rtnl)
                .map_or(Ok(()), |program| lower.set_program(Some(program)));
            for error in [mtu, flags, program].into_iter().filter_map(Result::err) {
                self.refused(&lower, &error);
            }
        });
    }

    /// Moves the function to the card's namespace, if it is in another one.
    pub(crate) fn follow_namespace(&self) {
        if !self.function.is_apart.xchg(false, Full) {
            return;
        }
        let interface = self.interface();
        Rtnl::with(|rtnl| {
            let apart = |lower: &Lower<'_>| !lower.is_in_namespace_of(interface);
            let lower = match interface.lower(rtnl) {
                Some(lower) => Some(lower).filter(apart),
                None => find_in_first_namespace(rtnl, |lower| {
                    Some(lower).filter(|lower| self.is_function(lower) && apart(lower))
                }),
            };
            let Some(lower) = lower else {
                return;
            };
            match lower.move_to_namespace_of(interface) {
                Ok(()) => dev_info!(
                    self.port.log(),
                    "Moved VF to namespace with: {}\n",
                    interface.name().as_str()
                ),
                Err(error) => self
                    .port
                    .report("the VF cannot be moved to the card's namespace", &error),
            }
        });
    }

    /// The longest frame that the stack may give to be cut depends on where it goes.
    pub(crate) fn set_large_send(&self, rtnl: &Rtnl<'_>) {
        let interface = self.interface();
        let lower = interface.lower(rtnl).filter(|_| self.is_forwarding());
        let own = || Some(self.active.keep()?.offloads()?.large_send());
        if let Some(bytes) = lower.as_ref().map(Lower::large_send).or_else(own) {
            interface.set_large_send(bytes);
        }
    }

    /// The function has not done what the card was asked to do.
    pub(crate) fn refused(&self, lower: &Lower<'_>, error: &Error) {
        dev_warn!(
            self.port.log(),
            "VF {} does not do as the card does: {error:?}\n",
            lower.name().as_str()
        );
    }
}

impl Watcher for Nic {
    fn event(&self, rtnl: &Rtnl<'_>, event: LowerEvent, lower: &Lower<'_>) {
        match event {
            LowerEvent::Begins if self.is_function(lower) => lower.mark(),
            LowerEvent::Registered => self.registered(rtnl, lower),
            _ if !self.has_joined(rtnl, lower) => {}
            LowerEvent::GoesDown => {
                self.function_is(Some(false));
                self.wait_for_switch();
            }
            LowerEvent::Changed | LowerEvent::Down => self.function_is(Some(lower.is_running())),
            LowerEvent::Unregistered => self.unregistered(rtnl, lower),
            LowerEvent::Begins => {}
        }
    }

    fn moved(&self) {
        self.function.is_apart.xchg(true, Full);
        self.worker().queue();
    }
}
