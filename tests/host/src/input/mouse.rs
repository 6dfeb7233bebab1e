// SPDX-License-Identifier: GPL-2.0

//! The synthetic mouse: the guest asks for the protocol's version, the host describes the device, the guest
//! acknowledges that, and the host sends reports.

#[cfg(test)]
mod tests;
pub mod wire;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::guid::class::HV_MOUSE_GUID;
use rlis_proto::vmbus::VMBUS_CHANNEL_NAMED_PIPE_MODE;
use rlis_proto::Guid;
use zerocopy::FromBytes;

use crate::faults::Fault;
use crate::ic::{instance, pipe_message_mode};
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::{Packet, DATA_INBAND};
use crate::vmbus::{Device, Offer};
use wire::{Attributes, DeviceInfo, Header, HidDescriptor, PipeHeader, ProtocolResponse, Report};

/// Name of the device in commands.
const NAME: &str = "mouse";
/// The instance that every Hyper-V host has.
const INSTANCE: Guid = instance("58f75a6d-d949-4320-99e1-a2a2576d581c");
/// Largest coordinate, and most notches of the wheel in a report.
pub const MAX: u16 = 0x7FFF;
/// Payloads of packets are padded to a multiple of this many bytes.
const PADDED_TO: usize = 8;
/// Buttons from the lowest bit of a report on. Linux has names for the last two that say what they are good for.
const BUTTONS: [&str; 5] = ["left", "right", "middle", "side", "extra"];

/// What the mouse says about itself. Linux' driver looks for this vendor and product.
const DEVICE_INFO: DeviceInfo = DeviceInfo {
    attributes: Attributes {
        size: 32,
        vendor: 0x045E,
        product: 0x0621,
        version: 1,
        reserved: [0; 11],
    },
    descriptor: HidDescriptor {
        length: 9,
        descriptor_type: 0x21,
        bcd_hid: 0x101,
        country: 0,
        num_descriptors: 1,
        report_type: 0x22,
        report_length: 67,
    },
    report_descriptor: wire::REPORT_DESCRIPTOR,
};

/// Where the pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// From 0 at the left to [`MAX`].
    pub x: u16,
    /// From 0 at the top to [`MAX`].
    pub y: u16,
}

/// Reads `left+right`, or `none`, as the bits of a report.
pub fn parse_buttons(text: &str) -> Result<u8, String> {
    if text == "none" {
        return Ok(0);
    }
    text.split('+').try_fold(0, |bits, name| {
        let mut known = (0..).zip(BUTTONS);
        let button = known.find(|(_, known)| *known == name);
        let (at, _) = button.ok_or_else(|| {
            format!(
                "a mouse has no button '{name}'; there are {}",
                BUTTONS.join(", ")
            )
        })?;
        Ok(bits | (1 << at))
    })
}

/// How far the guest has come with the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The channel is closed or just open.
    #[default]
    Asking,
    /// The version is agreed on, the device is described.
    Described,
    /// The guest has acknowledged the description.
    Ready,
}

#[derive(Default)]
struct State {
    channel: Option<Arc<Channel>>,
    step: Step,
    /// Where the last report was.
    at: Position,
    /// Reports sent since the start of the host.
    reports: u64,
}

/// A mouse.
pub struct Mouse {
    state: Mutex<State>,
    changed: Condvar,
}

/// Takes the headers off a message. Returns its type and its body.
fn unpack(payload: &[u8]) -> Result<(u32, &[u8])> {
    let too_short = || format!("a packet of {} bytes", payload.len());
    let (pipe, rest) = PipeHeader::ref_from_prefix(payload)
        .ok()
        .with_context(too_short)?;
    let (type_, size) = (pipe.flags, usize::try_from(pipe.msgsize)?);
    ensure!(
        type_ == wire::PIPE_MESSAGE_DATA,
        "a pipe message of type {type_}"
    );
    let message = rest.get(..size);
    let message = message.filter(|message| rest.len() - message.len() < PADDED_TO);
    let message = message
        .with_context(|| format!("a pipe message of {size} bytes where {} are", rest.len()))?;
    let (header, body) = Header::read_from_prefix(message)
        .ok()
        .with_context(too_short)?;
    let (type_, size) = (header.type_, header.size);
    ensure!(
        usize::try_from(size)? == body.len(),
        "a message of type {type_} with {} bytes instead of {size}",
        body.len()
    );
    Ok((type_, body))
}

/// What a message consists of behind its headers.
fn body<T: FromBytes>(type_: u32, body: &[u8]) -> Result<T> {
    T::read_from_bytes(body).ok().with_context(|| {
        format!(
            "a message of type {type_} with {} bytes instead of {}",
            body.len(),
            size_of::<T>()
        )
    })
}

impl State {
    /// Sends a report to a guest that listens.
    fn report(&mut self, at: Position, buttons: u8, wheel: i16) -> Result<()> {
        let channel = self.channel.as_ref().filter(|_| self.step == Step::Ready);
        let channel = channel.with_context(|| format!("the guest has no driver for {NAME}"))?;
        let report = Report {
            buttons,
            x: at.x,
            y: at.y,
            wheel,
        };
        channel.send(0, &wire::message(wire::INPUT_REPORT, &report));
        self.at = at;
        self.reports += 1;
        Ok(())
    }
}

impl Mouse {
    /// A mouse that nobody has opened.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// The offer for the bus: a pipe in message mode.
    pub fn offer(self: &Arc<Self>) -> Offer {
        Offer {
            name: NAME.into(),
            class: HV_MOUSE_GUID,
            instance: INSTANCE,
            flags: VMBUS_CHANNEL_NAMED_PIPE_MODE,
            user_data: pipe_message_mode(),
            monitored: false,
            device: self.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the guest's driver has acknowledged the description of the device.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let wait = |state: &mut State| state.step != Step::Ready;
        let waited = self
            .changed
            .wait_timeout_while(self.state(), timeout, wait)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.1.timed_out(), "the guest has no driver for {NAME}");
        Ok(())
    }

    /// Sends one report.
    pub fn report(&self, at: Position, buttons: u8, wheel: i16) -> Result<()> {
        self.state().report(at, buttons, wheel)
    }

    /// Moves the pointer in a straight line to `to`, where the last of `reports` reports is.
    pub fn line(&self, to: Position, reports: u16) -> Result<()> {
        let mut state = self.state();
        let from = state.at;
        let between = |from: u16, to: u16, number: u16| {
            let (from, to) = (i64::from(from), i64::from(to));
            let way = (to - from) * i64::from(number);
            u16::try_from(from + way / i64::from(reports.max(1)))
        };
        for number in 1..=reports {
            let at = Position {
                x: between(from.x, to.x, number)?,
                y: between(from.y, to.y, number)?,
            };
            state.report(at, 0, 0)?;
        }
        Ok(())
    }

    /// The mouse as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let version = (state.step > Step::Asking).then_some(wire::VERSION);
        let info = match state.step {
            Step::Asking => "unsent",
            Step::Described => "sent",
            Step::Ready => "acknowledged",
        };
        format!(
            "{NAME} protocol={} info={info} reports={}",
            super::shown(version),
            state.reports
        )
    }

    fn receive(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        ensure!(packet.type_ == DATA_INBAND, "packet type {}", packet.type_);
        let (type_, rest) = unpack(&packet.payload)?;
        let mut state = self.state();
        let in_order = |step| {
            ensure!(
                state.step == step,
                "a message of type {type_} at step {:?}",
                state.step
            );
            Ok(())
        };
        match type_ {
            wire::PROTOCOL_REQUEST => {
                let version_requested: u32 = body(type_, rest)?;
                in_order(Step::Asking)?;
                let faults = &channel.context.faults;
                // A guest may ask for a version that there is not, and then for another.
                let approved =
                    version_requested == wire::VERSION && !faults.hit(NAME, Fault::InitStatus);
                eprintln!(
                    "rlis-host: {NAME}: version {} {}",
                    super::shown(Some(version_requested)),
                    if approved { "accepted" } else { "refused" }
                );
                if faults.hit(NAME, Fault::NoReply) {
                    return Ok(());
                }
                let response = ProtocolResponse {
                    version_requested,
                    approved: approved.into(),
                };
                channel.send(0, &wire::message(wire::PROTOCOL_RESPONSE, &response));
                if approved {
                    channel.send(0, &wire::message(wire::INITIAL_DEVICE_INFO, &DEVICE_INFO));
                    state.step = Step::Described;
                }
            }
            wire::INITIAL_DEVICE_INFO_ACK => {
                let _reserved: u8 = body(type_, rest)?;
                in_order(Step::Described)?;
                state.step = Step::Ready;
                self.changed.notify_all();
            }
            other => bail!("a message of type {other}, which guests do not send"),
        }
        Ok(())
    }
}

impl Device for Mouse {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channel = Some(channel.clone());
        state.step = Step::Asking;
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
            state.step = Step::Asking;
        }
    }
}
