// SPDX-License-Identifier: GPL-2.0

//! The guest's messages, one function each.

use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::{Bus, Ejection, State};
use crate::hyperv::remap::{Message, Target};
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::{Packet, DATA_INBAND, FLAG_COMPLETION_REQUESTED};
use crate::vpci::protocol::{
    self, check_size, read, Child, CreateInterrupt, CreateInterrupt2, CreateInterrupt3, D0Entry,
    DeleteInterrupt, Description2, EjectionComplete, InterruptCreated, Relations, Requirements,
    ResourcesAssigned, ResourcesTranslated, Translated, VersionRequest, VERSION_1_1, VERSION_1_2,
    VERSION_1_3, VERSION_1_4,
};

/// Most delivery modes: fixed and lowest priority.
const DELIVERY_MODES: u8 = 2;

/// What each message asks for: whether a completion belongs to it, and the versions that have it.
fn rules(type_: u32) -> Option<(bool, u32, u32)> {
    let (any, last) = (VERSION_1_1, VERSION_1_4);
    Some(match type_ {
        protocol::QUERY_PROTOCOL_VERSION
        | protocol::QUERY_RESOURCE_REQUIREMENTS
        | protocol::BUS_D0ENTRY
        | protocol::BUS_D0EXIT => (true, any, last),
        protocol::RESOURCES_ASSIGNED | protocol::CREATE_INTERRUPT_MESSAGE => {
            (true, any, VERSION_1_1)
        }
        protocol::RESOURCES_ASSIGNED2 => (true, VERSION_1_2, last),
        protocol::CREATE_INTERRUPT_MESSAGE2 => (true, VERSION_1_2, VERSION_1_3),
        protocol::CREATE_INTERRUPT_MESSAGE3 => (true, VERSION_1_4, last),
        protocol::QUERY_BUS_RELATIONS
        | protocol::DELETE_INTERRUPT_MESSAGE
        | protocol::EJECTION_COMPLETE
        | protocol::RESOURCES_RELEASED => (false, any, last),
        _ => return None,
    })
}

fn right_slot(state: &State, slot: u32) -> Result<()> {
    let there = state.function.description().slot;
    ensure!(slot == there, "slot {slot:#x}, which is empty");
    Ok(())
}

/// What a descriptor of an interrupt says.
struct Wish {
    slot: u32,
    target: Target,
    delivery_mode: u8,
    vector_count: u16,
}

fn processors(count: u16, array: [u16; protocol::MAX_PROCESSORS]) -> Result<Vec<u32>> {
    let named = array.get(..usize::from(count));
    let named = named.with_context(|| format!("{count} processors"))?;
    Ok(named.iter().map(|vp| u32::from(*vp)).collect())
}

impl Bus {
    /// Takes a message and answers it. An error is what the guest may not do.
    pub(super) fn message(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        packet: &Packet,
    ) -> Result<()> {
        let (type_, _) = u32::read_from_prefix(&packet.payload)
            .ok()
            .with_context(|| format!("a packet of {} bytes", packet.payload.len()))?;
        let wants_completion = packet.flags & FLAG_COMPLETION_REQUESTED != 0;
        let refuse = |status: u32| {
            if wants_completion {
                channel.complete(packet.transaction, status.as_bytes());
            }
        };
        ensure!(
            packet.type_ == DATA_INBAND,
            "message {type_:#x} in a packet of type {}",
            packet.type_
        );
        let Some((has_completion, first, last)) = rules(type_) else {
            refuse(protocol::NOT_SUPPORTED);
            bail!("message {type_:#x}, which the host does not take");
        };
        let fine = match state.version {
            None => type_ == protocol::QUERY_PROTOCOL_VERSION,
            Some(version) => {
                type_ != protocol::QUERY_PROTOCOL_VERSION && (first..=last).contains(&version)
            }
        };
        if !fine || wants_completion != has_completion {
            refuse(protocol::BAD_DATA);
            bail!(
                "message {type_:#x} at version {:x?}, completion requested: {wants_completion}",
                state.version
            );
        }
        match self.answer(state, channel, type_, &packet.payload) {
            Ok(answer) => {
                if wants_completion {
                    channel.complete(packet.transaction, &answer);
                }
                Ok(())
            }
            Err(error) => {
                refuse(protocol::BAD_DATA);
                Err(error.context(format!("message {type_:#x}")))
            }
        }
    }

    /// The completion of a message.
    fn answer(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        type_: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        let success = protocol::SUCCESS.as_bytes().to_vec();
        match type_ {
            protocol::QUERY_PROTOCOL_VERSION => {
                let request: VersionRequest = read(payload)?;
                let known = protocol::VERSIONS.iter().any(|v| v.0 == request.version);
                if !known || request.version > self.spec.version {
                    let answer = [protocol::REVISION_MISMATCH, self.spec.version];
                    return Ok(answer.as_bytes().to_vec());
                }
                state.version = Some(request.version);
                Ok([protocol::SUCCESS, request.version].as_bytes().to_vec())
            }
            protocol::QUERY_BUS_RELATIONS => {
                check_size(payload, 4)?;
                send_relations(state, channel);
                Ok(success)
            }
            protocol::QUERY_RESOURCE_REQUIREMENTS => {
                let request: Child = read(payload)?;
                right_slot(state, request.slot)?;
                let answer = Requirements {
                    status: protocol::SUCCESS,
                    bars: state.function.bars(),
                };
                Ok(answer.as_bytes().to_vec())
            }
            protocol::BUS_D0ENTRY => {
                let request: D0Entry = read(payload)?;
                self.enter_d0(state, request.mmio_base)?;
                send_relations(state, channel);
                Ok(success)
            }
            protocol::BUS_D0EXIT => {
                check_size(payload, 4)?;
                ensure!(state.window.is_some(), "the bus is not in D0");
                self.exit_d0(state);
                Ok(success)
            }
            protocol::RESOURCES_ASSIGNED => {
                let request: ResourcesAssigned = read(payload)?;
                assigned(state, &request)
            }
            protocol::RESOURCES_ASSIGNED2 => {
                check_size(payload, protocol::RESOURCES_ASSIGNED2_SIZE)?;
                let (request, _) = ResourcesAssigned::read_from_prefix(payload)
                    .ok()
                    .context("too short")?;
                assigned(state, &request)
            }
            protocol::RESOURCES_RELEASED => {
                let request: Child = read(payload)?;
                right_slot(state, request.slot)?;
                self.release(state);
                Ok(success)
            }
            protocol::CREATE_INTERRUPT_MESSAGE => {
                let m: CreateInterrupt = read(payload)?;
                let vps = (0..64).filter(|vp| m.cpu_mask & (1 << vp) != 0);
                // Linux names all 64; those that are there count.
                let there = channel.context.synic.count();
                self.create(
                    state,
                    Wish {
                        slot: m.slot,
                        target: Target {
                            vector: m.vector.into(),
                            vps: vps.filter(|vp| *vp < there).collect(),
                        },
                        delivery_mode: m.delivery_mode,
                        vector_count: m.vector_count,
                    },
                )
            }
            protocol::CREATE_INTERRUPT_MESSAGE2 => {
                let m: CreateInterrupt2 = read(payload)?;
                self.create(
                    state,
                    Wish {
                        slot: m.slot,
                        target: Target {
                            vector: m.vector.into(),
                            vps: processors(m.processor_count, m.processors)?,
                        },
                        delivery_mode: m.delivery_mode,
                        vector_count: m.vector_count,
                    },
                )
            }
            protocol::CREATE_INTERRUPT_MESSAGE3 => {
                let m: CreateInterrupt3 = read(payload)?;
                self.create(
                    state,
                    Wish {
                        slot: m.slot,
                        target: Target {
                            vector: m.vector,
                            vps: processors(m.processor_count, m.processors)?,
                        },
                        delivery_mode: m.delivery_mode,
                        vector_count: m.vector_count,
                    },
                )
            }
            protocol::DELETE_INTERRUPT_MESSAGE => {
                let request: DeleteInterrupt = read(payload)?;
                right_slot(state, request.slot)?;
                let message = Message {
                    address: request.message.address,
                    data: request.message.data,
                };
                self.remapper.delete(self.device, message)?;
                Ok(success)
            }
            protocol::EJECTION_COMPLETE => {
                let request: EjectionComplete = read(payload)?;
                right_slot(state, request.slot)?;
                ensure!(
                    state.ejection == Ejection::Asked,
                    "the host has asked for no ejection"
                );
                ensure!(
                    request.status == protocol::SUCCESS,
                    "the ejection ended with status {:#x}",
                    request.status
                );
                state.ejection = Ejection::Done;
                Ok(success)
            }
            other => bail!("no answer to {other:#x}"),
        }
    }

    /// Makes a message for an interrupt.
    fn create(&self, state: &State, wish: Wish) -> Result<Vec<u8>> {
        right_slot(state, wish.slot)?;
        ensure!(state.window.is_some(), "an interrupt outside of D0");
        ensure!(
            wish.delivery_mode < DELIVERY_MODES,
            "delivery mode {}",
            wish.delivery_mode
        );
        // The function has a single message.
        ensure!(wish.vector_count == 1, "{} vectors", wish.vector_count);
        let message = self.remapper.create(self.device, &wish.target)?;
        let answer = InterruptCreated {
            status: protocol::SUCCESS,
            reserved: 0,
            message: Translated {
                reserved: 0,
                vector_count: 1,
                data: message.data,
                address: message.address,
            },
        };
        Ok(answer.as_bytes().to_vec())
    }
}

fn assigned(state: &mut State, request: &ResourcesAssigned) -> Result<Vec<u8>> {
    right_slot(state, request.slot)?;
    ensure!(
        request.msi_descriptors == 0 && request.memory_ranges.iter().flatten().all(|b| *b == 0),
        "resources are assigned by the message; this host takes them from configuration space"
    );
    ensure!(state.window.is_some(), "resources outside of D0");
    state.assigned = true;
    let mut answer = ResourcesTranslated::new_zeroed();
    answer.slot = request.slot;
    Ok(answer.as_bytes().to_vec())
}

/// Tells the guest the functions of the bus.
fn send_relations(state: &State, channel: &Channel) {
    let there = state.ejection != Ejection::Done;
    let count = u32::from(there);
    let with = |relations: Relations, function: &[u8]| {
        let mut message = relations.as_bytes().to_vec();
        if there {
            message.extend(function);
        }
        message
    };
    let message = if state.version.is_some_and(|v| v >= VERSION_1_3) {
        let function = Description2 {
            first: state.function.description(),
            flags: 0,
            numa_node: 0,
            reserved: 0,
        };
        let type_ = protocol::BUS_RELATIONS2;
        with(Relations { type_, count }, bytes(&function))
    } else {
        let type_ = protocol::BUS_RELATIONS;
        with(
            Relations { type_, count },
            bytes(&state.function.description()),
        )
    };
    channel.send(0, &message);
}

fn bytes<T: IntoBytes + Immutable>(value: &T) -> &[u8] {
    value.as_bytes()
}
