// SPDX-License-Identifier: GPL-2.0

//! A storage adapter: initialisation, requests on all its channels, and units that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::guid::class::{HV_SCSI_GUID, HV_SYNTHFC_GUID};
use rlis_proto::Guid;
use zerocopy::IntoBytes;

use super::lun::{Kind, Lun, Store};
use super::pool::{InFlight, Pool};
use super::scsi::{self, Sense};
use super::spec::{AdapterSpec, Place, UnitSpec};
use super::wire::{self, Direction, Srb, VstorPacket};
use crate::faults::Fault;
use crate::vmbus::channel::Channel;
use crate::vmbus::direct::DataBuffer;
use crate::vmbus::ring::{Packet, FLAG_COMPLETION_REQUESTED};
use crate::vmbus::{Device, Offer};

/// Threads that carry out requests of one adapter.
const THREADS: usize = 4;
/// NTSTATUS STATUS_REVISION_MISMATCH: the protocol version is not supported.
const STATUS_REVISION_MISMATCH: u32 = 0xC000_0059;
/// NTSTATUS STATUS_INVALID_DEVICE_REQUEST.
const STATUS_INVALID_DEVICE_REQUEST: u32 = 0xC000_0010;
/// How long a channel that is closed waits for requests in flight.
const DRAIN: Duration = Duration::from_secs(10);

/// What the adapter pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// SCSI controller.
    Scsi,
    /// Synthetic Fibre Channel adapter.
    Fc,
}

/// Initialisation, step by step; the guest must go through it in this order.
const CLOSED: u8 = 0;
const BEGUN: u8 = 1;
const VERSIONED: u8 = 2;
const DESCRIBED: u8 = 3;
const READY: u8 = 4;

type Units = BTreeMap<(u8, u8), Arc<Lun>>;

/// A storage adapter.
pub struct Adapter {
    /// As it was asked for.
    pub spec: AdapterSpec,
    /// For requests, which run on other threads.
    this: Weak<Self>,
    class: Class,
    index: u8,
    step: AtomicU8,
    version: AtomicU16,
    units: Mutex<Units>,
    pool: Pool,
    flying: Mutex<BTreeMap<u32, Arc<InFlight>>>,
    primary: Mutex<Option<Arc<Channel>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard changes by single map operations.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Adapter {
    /// An adapter without units. `index` tells it from others of the machine.
    pub fn new(spec: AdapterSpec, class: Class, index: u8) -> Result<Arc<Self>> {
        let pool = Pool::new(&spec.name, THREADS)?;
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            spec,
            class,
            index,
            step: AtomicU8::new(CLOSED),
            version: AtomicU16::new(0),
            units: Mutex::default(),
            pool,
            flying: Mutex::default(),
            primary: Mutex::default(),
        }))
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        let mut instance = *b"rlis-stor\0\0\0\0\0\0\0";
        instance[15] = self.index;
        Offer {
            name: self.spec.name.clone(),
            class: match self.class {
                Class::Scsi => HV_SCSI_GUID,
                Class::Fc => HV_SYNTHFC_GUID,
            },
            instance: Guid::from_bytes(instance),
            flags: 0,
            user_data: [0; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES],
            device: self.clone(),
        }
    }

    // ---- units

    /// Adds a unit. A guest that runs is told to look again.
    pub fn add(&self, spec: &UnitSpec, kind: Kind) -> Result<()> {
        let Place { target, lun, .. } = spec.place;
        let readonly = spec.readonly || kind == Kind::Dvd;
        let (store, size) = match &spec.file {
            Some(path) => Store::file(path, readonly, spec.size)?,
            None => (
                Store::memory(),
                spec.size.context("a unit in memory needs a size")?,
            ),
        };
        let block = spec
            .block
            .unwrap_or(if kind == Kind::Dvd { 2048 } else { 512 });
        // NAA 6, a made-up company id, adapter, target, unit.
        let mut id = *b"\x60rlis\0\0\0\0\0\0\0\0\0\0\0";
        id[13..16].copy_from_slice(&[self.index, target, lun]);
        let unit = Lun::new(kind, store, size, block, readonly, id)?;
        let mut units = lock(&self.units);
        ensure!(
            !units.contains_key(&(target, lun)),
            "there is a unit {target}:{lun} already"
        );
        if self.step.load(Ordering::SeqCst) == READY {
            for (_, other) in units.iter().filter(|((t, _), _)| *t == target) {
                other.attend(Sense::REPORTED_LUNS_CHANGED);
            }
        }
        units.insert((target, lun), Arc::new(unit));
        drop(units);
        self.tell(wire::ENUMERATE_BUS);
        Ok(())
    }

    /// Takes a unit away. Requests that already run finish.
    pub fn remove(&self, target: u8, lun: u8) -> Result<()> {
        let removed = lock(&self.units).remove(&(target, lun));
        removed.with_context(|| format!("there is no unit {target}:{lun}"))?;
        self.tell(wire::REMOVE_DEVICE);
        Ok(())
    }

    /// The unit at a place.
    pub fn unit(&self, target: u8, lun: u8) -> Result<Arc<Lun>> {
        lock(&self.units)
            .get(&(target, lun))
            .cloned()
            .with_context(|| format!("there is no unit {target}:{lun}"))
    }

    /// All units as lines.
    pub fn list(&self) -> Vec<String> {
        lock(&self.units)
            .iter()
            .map(|((target, lun), unit)| {
                format!(
                    "{}:{target}:{lun} {:?} blocks={} block={} readonly={}",
                    self.spec.name,
                    unit.kind,
                    unit.blocks(),
                    unit.block,
                    unit.readonly
                )
            })
            .collect()
    }

    /// Sends an unsolicited packet to a guest that is ready for it.
    fn tell(&self, operation: u32) {
        if self.step.load(Ordering::SeqCst) != READY {
            return;
        }
        if let Some(channel) = lock(&self.primary).as_ref() {
            channel.send(0, VstorPacket::new(operation, 0).as_bytes());
        }
    }

    // ---- packets

    fn handle(self: &Arc<Self>, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        let (vstor, buffer) = wire::parse(packet)?;
        ensure!(
            packet.flags & FLAG_COMPLETION_REQUESTED != 0,
            "operation {} without a request for completion",
            { vstor.operation }
        );
        ensure!(
            { vstor.flags } & wire::REQUEST_COMPLETION != 0,
            "operation {} without REQUEST_COMPLETION_FLAG",
            { vstor.operation }
        );
        let primary = channel.sub_index == 0;
        let operation = vstor.operation;
        match operation {
            wire::EXECUTE_SRB => self.execute_srb(channel, packet.transaction, vstor, buffer),
            wire::RESET_LUN | wire::RESET_ADAPTER | wire::RESET_BUS => {
                // Nothing is ever stuck here, so a reset is only a wait for what is in flight.
                let flying = self.flying(channel.relid);
                ensure!(
                    flying.wait(DRAIN),
                    "requests did not end within {} s of a reset",
                    DRAIN.as_secs()
                );
                self.answer(
                    channel,
                    packet.transaction,
                    VstorPacket::new(wire::COMPLETE_IO, 0),
                );
                Ok(())
            }
            _ => {
                ensure!(primary, "operation {operation} on a sub-channel");
                self.initialise(channel, packet.transaction, &vstor)
            }
        }
    }

    /// One step of the initialisation.
    fn initialise(
        &self,
        channel: &Arc<Channel>,
        transaction: u64,
        vstor: &VstorPacket,
    ) -> Result<()> {
        let operation = { vstor.operation };
        let step = self.step.load(Ordering::SeqCst);
        let mut answer = VstorPacket::new(wire::COMPLETE_IO, 0);
        let mut sub_channels = 0;
        let expected = match operation {
            wire::BEGIN_INITIALIZATION => {
                self.step.store(BEGUN, Ordering::SeqCst);
                step == CLOSED
            }
            wire::QUERY_PROTOCOL_VERSION => {
                let version = vstor.word(0);
                if version <= self.spec.version && matches!(version, 0x600 | 0x602) {
                    self.version.store(version, Ordering::SeqCst);
                    self.step.store(VERSIONED, Ordering::SeqCst);
                } else {
                    answer.status = STATUS_REVISION_MISMATCH;
                }
                step == BEGUN
            }
            wire::QUERY_PROPERTIES => {
                let faults = &channel.context.faults;
                let max = faults.take(&self.spec.name, Fault::MaxTransfer, 0);
                let max = max
                    .and_then(|m| u32::try_from(m).ok())
                    .unwrap_or(self.spec.max_transfer);
                answer.put(4, &self.spec.channels.to_le_bytes());
                if self.spec.channels > 0 {
                    answer.put(8, &wire::SUPPORTS_MULTI_CHANNEL.to_le_bytes());
                }
                answer.put(12, &max.to_le_bytes());
                self.step.store(DESCRIBED, Ordering::SeqCst);
                step == VERSIONED
            }
            wire::FCHBA_DATA if self.class == Class::Fc => {
                // struct hv_fc_wwn_packet: primary active, then port and node name of both.
                answer.put(0, &[1]);
                for (at, kind) in [(4, 0x20), (12, 0x10), (20, 0x21), (28, 0x11)] {
                    answer.put(at, &[kind, 0, 0, 0x15, 0x5D, 0, 0, self.index]);
                }
                step >= DESCRIBED
            }
            wire::END_INITIALIZATION => {
                self.step.store(READY, Ordering::SeqCst);
                step == DESCRIBED
            }
            wire::CREATE_SUB_CHANNELS => {
                sub_channels = vstor.word(0);
                if sub_channels == 0 || sub_channels > self.spec.channels {
                    answer.status = STATUS_INVALID_DEVICE_REQUEST;
                }
                step == READY
            }
            other => {
                answer.status = STATUS_INVALID_DEVICE_REQUEST;
                self.answer(channel, transaction, answer);
                bail!("operation {other} is not one that a guest sends");
            }
        };
        if let Some(status) = channel
            .context
            .faults
            .take(&self.spec.name, Fault::InitStatus, 1)
        {
            answer.status = u32::try_from(status).unwrap_or(1);
        }
        self.answer(channel, transaction, answer);
        if sub_channels > 0 && answer.status == 0 {
            let server = channel.server.upgrade().context("the bus is gone")?;
            server.offer_sub_channels(&self.spec.name, sub_channels)?;
        }
        ensure!(
            expected,
            "operation {operation} at step {step} of the initialisation"
        );
        Ok(())
    }

    fn flying(&self, relid: u32) -> Arc<InFlight> {
        lock(&self.flying).entry(relid).or_default().clone()
    }

    fn execute_srb(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        transaction: u64,
        vstor: VstorPacket,
        buffer: DataBuffer,
    ) -> Result<()> {
        let srb = vstor.srb();
        let problem = self.problem_with(&srb, &buffer);
        if problem.is_some() {
            let failed = Srb {
                srb_status: wire::SRB_INVALID_REQUEST,
                data_transfer_length: 0,
                ..srb
            };
            self.answer(
                channel,
                transaction,
                VstorPacket::new(wire::COMPLETE_IO, 0).with_srb(&failed),
            );
        } else {
            let (this, channel, ticket) = (
                self.clone(),
                channel.clone(),
                self.flying(channel.relid).enter(),
            );
            self.pool.submit(move || {
                let result = this.run(&channel, srb, &buffer);
                match result {
                    Ok(srb) => this.answer(
                        &channel,
                        transaction,
                        VstorPacket::new(wire::COMPLETE_IO, 0).with_srb(&srb),
                    ),
                    Err(error) => {
                        channel
                            .context
                            .violations
                            .record(format!("{}: {error:#}", this.spec.name));
                        let failed = Srb {
                            srb_status: wire::SRB_INVALID_REQUEST,
                            data_transfer_length: 0,
                            ..srb
                        };
                        this.answer(
                            &channel,
                            transaction,
                            VstorPacket::new(wire::COMPLETE_IO, 0).with_srb(&failed),
                        );
                    }
                }
                drop(ticket);
            });
        }
        match problem {
            Some(problem) => bail!("{problem}"),
            None => Ok(()),
        }
    }

    /// What is wrong with a request, apart from the SCSI command in it.
    fn problem_with(&self, srb: &Srb, buffer: &DataBuffer) -> Option<String> {
        let length = { srb.data_transfer_length };
        let Some(direction) = srb.direction() else {
            return Some(format!("data_in {}", srb.data_in));
        };
        if self.step.load(Ordering::SeqCst) != READY {
            return Some("EXECUTE_SRB before the end of the initialisation".into());
        }
        if usize::from(srb.length) != size_of::<Srb>() {
            return Some(format!("an SRB whose length says {}", { srb.length }));
        }
        if srb.cdb_length == 0 || srb.cdb_length > 16 {
            return Some(format!("a command of {} bytes", srb.cdb_length));
        }
        if usize::from(srb.sense_info_length) != wire::SENSE {
            return Some(format!("sense_info_length {}", srb.sense_info_length));
        }
        if length as usize != buffer.len() {
            return Some(format!(
                "data_transfer_length {length} with a buffer of {} bytes",
                buffer.len()
            ));
        }
        if length > self.spec.max_transfer {
            return Some(format!(
                "a transfer of {length} bytes; {} are allowed",
                self.spec.max_transfer
            ));
        }
        if direction == Direction::None && length != 0 {
            return Some(format!("{length} bytes of data in no direction"));
        }
        None
    }

    /// Carries out a request. Returns the SRB of its completion; an error means that the guest's data buffer is bad.
    fn run(&self, channel: &Channel, srb: Srb, buffer: &DataBuffer) -> Result<Srb> {
        let memory = &channel.context.memory;
        let (target, lun) = (srb.target_id, srb.lun);
        let (unit, luns) = {
            let units = lock(&self.units);
            let luns: Vec<u8> = units
                .keys()
                .filter(|(t, _)| *t == target)
                .map(|(_, l)| *l)
                .collect();
            (units.get(&(target, lun)).cloned(), luns)
        };
        let mut done = Srb {
            srb_status: wire::SRB_SUCCESS,
            scsi_status: 0,
            data_transfer_length: 0,
            ..srb
        };
        let Some(unit) = unit.filter(|_| srb.path_id == 0) else {
            // Linux takes every answer to INQUIRY for a success, whatever the SRB status says, so the data must tell
            // that nothing is there; and a target without unit 0 is searched through REPORT LUNS of unit 0.
            let luns = if srb.path_id == 0 { luns } else { Vec::new() };
            let data = match srb.command().first() {
                Some(0x12) => Some(scsi::inquiry_of_missing_unit(srb.command())),
                Some(0xA0) if lun == 0 => Some(scsi::report_luns(&luns)),
                _ => None,
            };
            if let Some(data) = data {
                done.data_transfer_length = u32::try_from(buffer.write(memory, &data)?)?;
                return Ok(done);
            }
            done.srb_status = wire::SRB_INVALID_LUN;
            return Ok(done);
        };
        let data = match srb.direction() {
            Some(Direction::Out) => buffer.read(memory, buffer.len())?,
            _ => Vec::new(),
        };
        let faults = &channel.context.faults;
        let name = &self.spec.name;
        let outcome = match faults.take(name, Fault::CheckCondition, 0x03_1100) {
            Some(value) => {
                let [.., key, asc, ascq] = value.to_be_bytes();
                Err(Sense::new(key, asc, ascq))
            }
            None => scsi::execute(&unit, srb.command(), &data, buffer.len(), &luns),
        };
        match outcome {
            Ok(back) => {
                let moved = match srb.direction() {
                    Some(Direction::In) => buffer.write(memory, &back)?,
                    _ => data.len(),
                };
                done.data_transfer_length = u32::try_from(moved)?;
            }
            Err(sense) => {
                let bytes = sense.to_bytes();
                done.srb_status = wire::SRB_ERROR | wire::SRB_AUTOSENSE_VALID;
                done.scsi_status = 2;
                done.sense_info_length = bytes.len() as u8;
                done.cdb = [0; wire::SENSE];
                done.cdb.iter_mut().zip(bytes).for_each(|(d, s)| *d = s);
            }
        }
        if let Some(status) = faults.take(name, Fault::SrbStatus, wire::SRB_ERROR.into()) {
            done.srb_status = u8::try_from(status).unwrap_or(wire::SRB_ERROR);
            done.data_transfer_length = 0;
        }
        if faults.hit(name, Fault::SenseWithoutStatus) {
            done.srb_status = wire::SRB_ERROR | wire::SRB_AUTOSENSE_VALID;
            done.scsi_status = 0;
        }
        if faults.hit(name, Fault::SenseTooLong) {
            done.srb_status |= wire::SRB_AUTOSENSE_VALID;
            done.scsi_status = 2;
            done.sense_info_length = u8::MAX;
        }
        if faults.hit(name, Fault::TransferTooLong) {
            done.data_transfer_length = u32::MAX;
        }
        Ok(done)
    }

    fn answer(&self, channel: &Arc<Channel>, transaction: u64, mut answer: VstorPacket) {
        let faults = &channel.context.faults;
        if faults.hit(&self.spec.name, Fault::WrongOperation) {
            answer.operation = wire::EXECUTE_SRB;
        }
        if faults.hit(&self.spec.name, Fault::UnsolicitedCompletion) {
            channel.send(0, answer.as_bytes());
        }
        channel.complete(transaction, answer.as_bytes());
    }
}

impl Device for Adapter {
    fn opened(&self, channel: &Arc<Channel>) {
        if channel.sub_index == 0 {
            self.step.store(CLOSED, Ordering::SeqCst);
            *lock(&self.primary) = Some(channel.clone());
        }
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) {
        // The handle is gone only while the adapter is being dropped.
        let Some(this) = self.this.upgrade() else {
            return;
        };
        if let Err(error) = this.handle(channel, &packet) {
            channel
                .context
                .violations
                .record(format!("{}: {error:#}", self.spec.name));
        }
    }

    fn closed(&self, channel: &Arc<Channel>) {
        if !self.flying(channel.relid).wait(DRAIN) {
            eprintln!(
                "rlis-host: {}: requests still run {} s after the channel was closed",
                self.spec.name,
                DRAIN.as_secs()
            );
        }
        lock(&self.flying).remove(&channel.relid);
        if channel.sub_index == 0 {
            self.step.store(CLOSED, Ordering::SeqCst);
            *lock(&self.primary) = None;
        }
    }
}
