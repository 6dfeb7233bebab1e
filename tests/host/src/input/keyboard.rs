// SPDX-License-Identifier: GPL-2.0

//! The synthetic keyboard: the guest asks for the protocol's version, the host sends what is pressed and let go of,
//! the guest tells which lights are on.

#[cfg(test)]
mod tests;
pub mod text;
pub mod wire;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::guid::class::HV_KBD_GUID;
use rlis_proto::Guid;
use zerocopy::{FromBytes, IntoBytes};

use crate::faults::Fault;
use crate::ic::instance;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::{Packet, DATA_INBAND};
use crate::vmbus::{Device, Offer};
use wire::{Keystroke, LedIndicators, ProtocolRequest, ProtocolResponse};

/// Name of the device in commands.
const NAME: &str = "keyboard";
/// The instance that every Hyper-V host has.
const INSTANCE: Guid = instance("d34b2567-b9b6-42b9-8778-0a4ec0b955bf");

/// A key, or a character in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Scan code of set 1 without its prefix, or a unit of UTF-16.
    make_code: u16,
    /// What says so: no prefix, [`wire::IS_E0`], [`wire::IS_E1`], or [`wire::IS_UNICODE`].
    prefix: u32,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is pressed, or still pressed.
    Make,
    /// It is let go of.
    Break,
}

/// A key with what is done to it, as it goes to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    make_code: u16,
    info: u32,
}

impl Key {
    /// The key with what is done to it.
    pub fn stroke(self, action: Action) -> Stroke {
        let action = match action {
            Action::Make => 0,
            Action::Break => wire::IS_BREAK,
        };
        Stroke {
            make_code: self.make_code,
            info: self.prefix | action,
        }
    }
}

/// Reads a scan code of set 1: `0x1e`, `30`, `0xe048`.
pub fn parse_key(text: &str) -> Result<Key, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let prefix = |number: u16| match number >> 8 {
        0x00 => Some(0),
        0xE0 => Some(wire::IS_E0),
        0xE1 => Some(wire::IS_E1),
        _ => None,
    };
    number
        .and_then(|number| Some((number & 0xFF, prefix(number)?)))
        .filter(|(code, _)| (1..=0x7F).contains(code))
        .map(|(make_code, prefix)| Key { make_code, prefix })
        .ok_or_else(|| {
            format!("'{text}' is no scan code of set 1, which are 0x1 to 0x7f, with 0xe0 or 0xe1 before them")
        })
}

#[derive(Default)]
struct State {
    channel: Option<Arc<Channel>>,
    /// The version agreed on.
    version: Option<u32>,
    /// Lights, once the guest has told.
    leds: Option<u16>,
    /// Keystrokes sent since the start of the host.
    strokes: u64,
}

/// A keyboard.
pub struct Keyboard {
    state: Mutex<State>,
    changed: Condvar,
}

/// The message that is the whole of a packet's payload.
fn message<T: FromBytes>(payload: &[u8]) -> Result<T> {
    T::read_from_bytes(payload).ok().with_context(|| {
        format!(
            "a message of {} bytes instead of {}",
            payload.len(),
            size_of::<T>()
        )
    })
}

impl Keyboard {
    /// A keyboard that nobody has opened.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        Offer::new(NAME, HV_KBD_GUID, INSTANCE, self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the guest's driver has agreed to the protocol.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let wait = |state: &mut State| state.version.is_none();
        let waited = self
            .changed
            .wait_timeout_while(self.state(), timeout, wait)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.1.timed_out(), "the guest has no driver for {NAME}");
        Ok(())
    }

    /// Sends keystrokes to a guest that listens.
    pub fn send(&self, strokes: impl Iterator<Item = Stroke>) -> Result<()> {
        let mut state = self.state();
        let channel = state.channel.clone().filter(|_| state.version.is_some());
        let channel = channel.with_context(|| format!("the guest has no driver for {NAME}"))?;
        for stroke in strokes {
            let message = Keystroke {
                type_: wire::EVENT,
                make_code: stroke.make_code,
                reserved0: 0,
                info: stroke.info,
            };
            channel.send(0, message.as_bytes());
            state.strokes += 1;
        }
        Ok(())
    }

    /// The keyboard as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let leds = match state.leds {
            None => "untold".into(),
            Some(0) => "none".into(),
            Some(on) => {
                let known = wire::LEDS.iter().filter(|(bit, _)| on & bit != 0);
                let rest = wire::LEDS.iter().fold(on, |rest, (bit, _)| rest & !bit);
                let rest = (rest != 0).then(|| format!("{rest:#x}"));
                let names = known.map(|(_, name)| name.to_string()).chain(rest);
                names.collect::<Vec<_>>().join("+")
            }
        };
        format!(
            "{NAME} protocol={} leds={leds} strokes={}",
            super::shown(state.version),
            state.strokes
        )
    }

    fn receive(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        ensure!(packet.type_ == DATA_INBAND, "packet type {}", packet.type_);
        let (type_, _) = u32::read_from_prefix(&packet.payload)
            .ok()
            .with_context(|| format!("a message of {} bytes", packet.payload.len()))?;
        let mut state = self.state();
        match type_ {
            wire::PROTOCOL_REQUEST => {
                let request: ProtocolRequest = message(&packet.payload)?;
                ensure!(
                    state.version.is_none(),
                    "a protocol request after version {} was agreed on",
                    super::shown(state.version)
                );
                let version = request.version_requested;
                let faults = &channel.context.faults;
                // A guest may ask for a version that there is not, and then for another.
                let accepted = version == wire::VERSION && !faults.hit(NAME, Fault::InitStatus);
                eprintln!(
                    "rlis-host: {NAME}: version {} {}",
                    super::shown(Some(version)),
                    if accepted { "accepted" } else { "refused" }
                );
                if faults.hit(NAME, Fault::NoReply) {
                    return Ok(());
                }
                let response = ProtocolResponse {
                    type_: wire::PROTOCOL_RESPONSE,
                    proto_status: if accepted { wire::PROTOCOL_ACCEPTED } else { 0 },
                };
                channel.send(0, response.as_bytes());
                state.version = accepted.then_some(version);
                self.changed.notify_all();
            }
            wire::LED_INDICATORS => {
                let message: LedIndicators = message(&packet.payload)?;
                ensure!(
                    state.version.is_some(),
                    "LED_INDICATORS before a version was agreed on"
                );
                let padding = { message.padding };
                ensure!(padding == 0, "LED_INDICATORS with padding {padding:#x}");
                state.leds = Some(message.led_flags);
            }
            other => bail!("a message of type {other}, which guests do not send"),
        }
        Ok(())
    }
}

impl Device for Keyboard {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channel = Some(channel.clone());
        state.version = None;
        state.leds = None;
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        let result = self.receive(channel, &packet);
        channel.acknowledge(&packet);
        result
    }

    fn closed(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        if channel.is_current(state.channel.as_ref()) {
            state.channel = None;
            state.version = None;
            state.leds = None;
        }
    }
}
