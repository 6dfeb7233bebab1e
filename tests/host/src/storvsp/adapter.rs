// SPDX-License-Identifier: GPL-2.0

//! A storage adapter: initialisation, requests on all its channels, and units that come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::guid::class::{HV_IDE_GUID, HV_SCSI_GUID, HV_SYNTHFC_GUID};
use rlis_proto::storvsc::{Operation, VmScsiRequest, VstorPacket, REQUEST_COMPLETION_FLAG};
use rlis_proto::Guid;
use zerocopy::IntoBytes;

use super::lun::{Kind, Lun};
use super::pool::{InFlight, Pool};
use super::sense::Sense;
use super::spec::{AdapterSpec, Place, UnitSpec};
use super::store::Store;
use super::wire;
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

mod init;
mod request;

/// What the adapter pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// SCSI controller.
    Scsi,
    /// Synthetic Fibre Channel adapter.
    Fc,
    /// The accelerated form of an IDE disk; the number tells it from others and says which controller (two disks each)
    /// and which disk there it is. It has one unit.
    Ide(u8),
}

/// Initialisation, step by step; the guest must go through it in this order.
const CLOSED: u8 = 0;
const BEGUN: u8 = 1;
const VERSIONED: u8 = 2;
const DESCRIBED: u8 = 3;
const READY: u8 = 4;

/// Storage adapters by their names.
pub type Adapters = BTreeMap<String, Arc<Adapter>>;

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
    /// Units that there were; tells those apart that were in the same place.
    made: AtomicU8,
    pool: Pool,
    flying: Mutex<BTreeMap<u32, Arc<InFlight>>>,
    /// Requests that are carried out late, by channel. They may outlive the channel, but not its GPADL.
    held: Mutex<BTreeMap<u32, Arc<InFlight>>>,
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
            made: AtomicU8::new(0),
            pool,
            flying: Mutex::default(),
            held: Mutex::default(),
            primary: Mutex::default(),
        }))
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        let mut instance = *b"rlis-stor\0\0\0\0\0\0\0";
        instance[15] = self.index;
        if let Class::Ide(number) = self.class {
            // As Hyper-V has it, {00000001-0000-8899-0000-000000000000}: the first four bytes are the controller, the
            // next two the disk. Drivers read both from there.
            instance = [0; 16];
            instance[0] = number / 2;
            instance[4] = number % 2;
            instance[6..8].copy_from_slice(&[0x99, 0x88]);
        }
        Offer {
            name: self.spec.name.clone(),
            class: match self.class {
                Class::Scsi => HV_SCSI_GUID,
                Class::Fc => HV_SYNTHFC_GUID,
                Class::Ide(_) => HV_IDE_GUID,
            },
            instance: Guid::from_bytes(instance),
            flags: 0,
            user_data: [0; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES],
            monitored: self.spec.monitor,
            device: self.clone(),
        }
    }

    // ---- units

    /// Where the bytes of a unit are, and how many.
    fn store(spec: &UnitSpec, readonly: bool) -> Result<(Store, u64)> {
        match &spec.file {
            Some(path) => Store::file(path, readonly, spec.size),
            None => {
                let size = spec.size.context("a unit in memory needs a size")?;
                Ok((Store::memory(), size))
            }
        }
    }

    /// Makes a unit, with an identity of its own.
    fn make(&self, spec: &UnitSpec, kind: Kind) -> Result<Lun> {
        let Place { target, lun, .. } = spec.place;
        let readonly = spec.readonly || kind == Kind::Dvd;
        let (store, size) = Self::store(spec, readonly)?;
        let block = spec
            .block
            .unwrap_or(if kind == Kind::Dvd { 2048 } else { 512 });
        // NAA 6, a made-up company id, how many there were before, adapter, target, unit.
        let mut id = *b"\x60rlis\0\0\0\0\0\0\0\0\0\0\0";
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        id[12..16].copy_from_slice(&[number, self.index, target, lun]);
        Lun::new(kind, store, size, block, readonly, id)
    }

    /// Adds a unit, or a way to one of another adapter of `all`. A guest that runs is told to look again.
    pub fn add(&self, all: &Adapters, spec: &UnitSpec, kind: Kind) -> Result<()> {
        let Place { target, lun, .. } = spec.place;
        if let Class::Ide(number) = self.class {
            let own = number % 2;
            ensure!(
                (target, lun) == (own, 0),
                "{} is an IDE disk and has the unit {own}:0 only",
                self.spec.name
            );
        }
        let unit = match &spec.shared {
            Some(place) => {
                let adapter = all.get(&place.adapter);
                let adapter = adapter
                    .with_context(|| format!("there is no storage adapter {}", place.adapter))?;
                adapter.unit(place.target, place.lun)?.another_way()
            }
            None => self.make(spec, kind)?,
        };
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
        self.tell(Operation::VSTOR_OPERATION_ENUMERATE_BUS);
        Ok(())
    }

    /// Puts another disk in the place of a unit, and tells the guest to look again. Requests that already run finish on the
    /// former one.
    pub fn replace(&self, spec: &UnitSpec, attention: Option<Sense>) -> Result<()> {
        let Place { target, lun, .. } = spec.place;
        let unit = self.make(spec, Kind::Disk)?;
        if let Some(sense) = attention {
            unit.attend(sense);
        }
        match lock(&self.units).get_mut(&(target, lun)) {
            Some(place) => *place = Arc::new(unit),
            None => bail!("there is no unit {target}:{lun}"),
        }
        self.tell(Operation::VSTOR_OPERATION_ENUMERATE_BUS);
        Ok(())
    }

    /// Puts a disc into a drive, in the place of one that is there.
    pub fn insert(&self, spec: &UnitSpec) -> Result<()> {
        let Place { target, lun, .. } = spec.place;
        let (store, size) = Self::store(spec, true)?;
        self.unit(target, lun)?.insert(store, size)
    }

    /// Takes a unit away. Requests that already run finish.
    pub fn remove(&self, target: u8, lun: u8) -> Result<()> {
        let removed = lock(&self.units).remove(&(target, lun));
        removed.with_context(|| format!("there is no unit {target}:{lun}"))?;
        self.tell(Operation::VSTOR_OPERATION_REMOVE_DEVICE);
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
                    // A drive may be empty.
                    unit.blocks().unwrap_or(0),
                    unit.block,
                    unit.readonly
                )
            })
            .collect()
    }

    /// Sends an unsolicited packet to a guest that is ready for it.
    fn tell(&self, operation: Operation) {
        if self.step.load(Ordering::SeqCst) != READY {
            return;
        }
        if let Some(channel) = lock(&self.primary).as_ref() {
            // Nobody completes it.
            let packet = VstorPacket {
                flags: 0,
                ..VstorPacket::request(operation)
            };
            channel.send(0, packet.as_bytes());
        }
    }

    // ---- packets

    fn handle(self: &Arc<Self>, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        let (vstor, buffer) = wire::parse(packet)?;
        ensure!(
            packet.flags & FLAG_COMPLETION_REQUESTED != 0,
            "{:?} without a request for completion",
            vstor.op()
        );
        ensure!(
            { vstor.flags } & REQUEST_COMPLETION_FLAG != 0,
            "{:?} without REQUEST_COMPLETION_FLAG",
            vstor.op()
        );
        let primary = channel.sub_index == 0;
        let operation = vstor.op();
        match operation {
            Operation::VSTOR_OPERATION_EXECUTE_SRB => {
                self.execute_srb(channel, packet.transaction, vstor, buffer)
            }
            Operation::VSTOR_OPERATION_RESET_LUN
            | Operation::VSTOR_OPERATION_RESET_ADAPTER
            | Operation::VSTOR_OPERATION_RESET_BUS => {
                // On hosts resets do nothing at all, so it says nothing about what is in flight.
                self.answer(channel, packet.transaction, VstorPacket::complete(0));
                Ok(())
            }
            _ => {
                ensure!(primary, "{operation:?} on a sub-channel");
                self.initialise(channel, packet.transaction, &vstor)
            }
        }
    }

    fn flying(&self, relid: u32) -> Arc<InFlight> {
        lock(&self.flying).entry(relid).or_default().clone()
    }

    fn held(&self, relid: u32) -> Arc<InFlight> {
        lock(&self.held).entry(relid).or_default().clone()
    }

    fn answer(&self, channel: &Arc<Channel>, transaction: u64, mut answer: VstorPacket) {
        let faults = &channel.context.faults;
        if faults.hit(&self.spec.name, Fault::WrongOperation) {
            answer.operation = Operation::VSTOR_OPERATION_EXECUTE_SRB.0;
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

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        // The handle is gone only while the adapter is being dropped.
        match self.this.upgrade() {
            Some(this) => this.handle(channel, &packet),
            None => Ok(()),
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

    fn lingers(&self, relid: u32) -> bool {
        !self.held(relid).wait(Duration::ZERO)
    }
}
