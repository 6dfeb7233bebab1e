// SPDX-License-Identifier: GPL-2.0

//! Commands, `struct scsi_cmnd`.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::prelude::*;
use rlis_sys::{
    scatterlist,
    scsi_cmnd,
    Scsi_Host, //
};

/// Length of the buffer for sense data in each command, `SCSI_SENSE_BUFFERSIZE`, in bytes.
const SENSE_LEN: usize = rlis_sys::SCSI_SENSE_BUFFERSIZE as usize;

/// log2 of the pages that hosts count in, `HV_HYP_PAGE_SHIFT`.
const PAGE_SHIFT: u32 = 12;

/// Where the data of a command go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// There are none, `DMA_NONE`.
    None,
    /// To the device, `DMA_TO_DEVICE`.
    Out,
    /// From the device, `DMA_FROM_DEVICE`.
    In,
    /// Something that no command of ours has, such as `DMA_BIDIRECTIONAL`.
    Other,
}

/// A command that something is asked about, while the device may work on it.
pub struct InFlight<'a> {
    raw: NonNull<scsi_cmnd>,
    _command: PhantomData<&'a scsi_cmnd>,
}

impl InFlight<'_> {
    /// # Safety
    ///
    /// `raw` must be a command that the mid-layer leaves alone as long as the result exists.
    pub(crate) unsafe fn new(raw: *mut scsi_cmnd) -> Self {
        Self {
            // SAFETY: As required of the caller, it is not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            _command: PhantomData,
        }
    }

    pub(crate) fn raw(&self) -> NonNull<scsi_cmnd> {
        self.raw
    }
}

/// What the host adapter says about a command, `enum scsi_host_status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostByte(pub u8);

macro_rules! host_bytes {
    ($($(#[$meta:meta])* $name:ident = $value:ident,)*) => {
        impl HostByte {
            // All values are below 256.
            $($(#[$meta])* #[allow(clippy::cast_possible_truncation)]
            pub const $name: Self = Self(rlis_sys::$value as u8);)*
        }
    };
}

host_bytes! {
    /// Nothing to say; the status byte and the sense data tell all.
    OK = scsi_host_status_DID_OK,
    /// There is no such device.
    NO_CONNECT = scsi_host_status_DID_NO_CONNECT,
    /// The target is bad: not tried again.
    BAD_TARGET = scsi_host_status_DID_BAD_TARGET,
    /// An internal error; tried again a few times.
    ERROR = scsi_host_status_DID_ERROR,
    /// Ended by a reset; tried again.
    RESET = scsi_host_status_DID_RESET,
    /// For pass-through commands: left to whoever sent it.
    PASSTHROUGH = scsi_host_status_DID_PASSTHROUGH,
    /// To be queued again, without counting as a try.
    REQUEUE = scsi_host_status_DID_REQUEUE,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// SCSI status byte, 0 for good.
    pub status: u8,
    /// What the host adapter has to say.
    pub host: HostByte,
    /// Bytes that were transferred; what exceeds the length of the command is ignored.
    pub transferred: u32,
}

impl Outcome {
    /// Ended by the adapter, with nothing transferred.
    pub const fn failed(host: HostByte) -> Self {
        Self {
            status: 0,
            host,
            transferred: 0,
        }
    }
}

/// What became of a command that was given to [`HostOps::queue`](crate::HostOps::queue).
///
/// # Invariants
///
/// With a status other than 0, the command is the mid-layer's again.
#[must_use]
pub struct Queued(rlis_sys::scsi_qc_status);

impl Queued {
    /// The command is on its way, or already completed.
    pub const fn accepted() -> Self {
        Self(0)
    }

    pub(crate) fn into_raw(self) -> rlis_sys::scsi_qc_status {
        self.0
    }
}

/// A command that the driver is to carry out. See the [crate's documentation](crate) for where it goes.
///
/// # Invariants
///
/// `raw` was given to the driver by the mid-layer and not yet back, and there is no other `Command` for it.
/// With `mapped`, its data are mapped for DMA.
pub struct Command {
    raw: NonNull<scsi_cmnd>,
    mapped: bool,
}

// SAFETY: A command may be completed from any thread.
unsafe impl Send for Command {}

// SAFETY: What a shared reference gives access to does not change while the driver has the command.
unsafe impl Sync for Command {}

impl Command {
    /// Takes charge of a command.
    ///
    /// # Safety
    ///
    /// The mid-layer must just have given it to the driver, or [`Self::into_raw`] must have returned it; `mapped`
    /// must be what it was then, and false before.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<scsi_cmnd>, mapped: bool) -> Self {
        // INVARIANT: As required of the caller.
        Self { raw, mapped }
    }

    /// Gives up charge, without completing the command. Returns the pointer, and whether it is mapped.
    #[inline]
    pub(crate) fn into_raw(self) -> (NonNull<scsi_cmnd>, bool) {
        let this = core::mem::ManuallyDrop::new(self);
        (this.raw, this.mapped)
    }

    /// Returns the CDB, as long as the command says, at most 32 bytes.
    #[inline]
    pub fn cdb(&self) -> &[u8] {
        let (len, cdb) = self.cdb_field();
        cdb.get(..usize::from(len)).unwrap_or(cdb)
    }

    /// Returns the length of the CDB, and the first 16 bytes of where it lies, which may be more or less than it has.
    #[inline]
    pub fn cdb_and_more(&self) -> (u16, &[u8; 16]) {
        let (len, cdb) = self.cdb_field();
        let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = cdb;
        (len, first)
    }

    #[inline]
    fn cdb_field(&self) -> (u16, &[u8; 32]) {
        // SAFETY: By the type invariant the command is valid. The mid-layer does not touch the CDB as long as the driver
        // has the command.
        unsafe {
            let raw = self.raw.as_ptr();
            ((*raw).cmd_len, &(*raw).cmnd)
        }
    }

    /// Returns the first byte of the CDB.
    #[inline]
    pub fn opcode(&self) -> u8 {
        // SAFETY: As in `cdb_field`.
        let [opcode, ..] = unsafe { (*self.raw.as_ptr()).cmnd };
        opcode
    }

    /// Returns where the data go.
    #[inline]
    pub fn direction(&self) -> Direction {
        // SAFETY: As in `cdb_field`.
        match unsafe { (*self.raw.as_ptr()).sc_data_direction } {
            rlis_sys::dma_data_direction::DMA_NONE => Direction::None,
            rlis_sys::dma_data_direction::DMA_TO_DEVICE => Direction::Out,
            rlis_sys::dma_data_direction::DMA_FROM_DEVICE => Direction::In,
            _ => Direction::Other,
        }
    }

    /// Returns the length of the data in bytes.
    #[inline]
    pub fn len(&self) -> u32 {
        // SAFETY: As in `cdb_field`.
        unsafe { (*self.raw.as_ptr()).sdb.length }
    }

    /// Returns whether there are no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the address of the device: channel, target and LUN. Numbers that are too large for the byte that
    /// SCSI drivers send come back as `None`.
    #[inline]
    pub fn address(&self) -> Option<(u8, u8, u8)> {
        // SAFETY: As in `cdb_field`. A command keeps its device, whose address does not change.
        let (channel, target, lun) = unsafe {
            let device = (*self.raw.as_ptr()).device;
            ((*device).channel, (*device).id, (*device).lun)
        };
        if (u64::from(channel | target) | lun) > u64::from(u8::MAX) {
            return None;
        }
        let [channel, ..] = channel.to_le_bytes();
        let [target, ..] = target.to_le_bytes();
        let [lun, ..] = lun.to_le_bytes();
        Some((channel, target, lun))
    }

    /// Returns whether the device takes several commands at a time.
    #[inline]
    pub fn tagged_supported(&self) -> bool {
        // SAFETY: As in `cdb_field`. The flag is set before the first command for a device, and stays.
        unsafe { (*(*self.raw.as_ptr()).device).tagged_supported() != 0 }
    }

    /// Returns whether no other command follows at once: [`HostOps::commit`](crate::HostOps::commit) is not called for this one.
    #[inline]
    pub fn is_last(&self) -> bool {
        // SAFETY: As in `cdb_field`.
        let flags = unsafe { (*self.raw.as_ptr()).flags };
        flags & rlis_sys::SCMD_LAST as c_int != 0
    }

    /// The host adapter that the command is for.
    #[inline]
    pub(crate) fn host(&self) -> NonNull<Scsi_Host> {
        host_of(self.raw)
    }

    /// Returns the numbers of the hardware queue and of the tag within it.
    #[inline]
    pub fn queue_and_tag(&self) -> (u32, u32) {
        queue_and_tag(self.raw)
    }

    /// Maps the data for DMA, and returns where they lie; `None` if there are none.
    ///
    /// They are unmapped when the command is completed or given back.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if that is not possible now.
    #[inline]
    pub fn map(&mut self) -> Result<Option<Pages<'_>>> {
        // SAFETY: As in `cdb_field`.
        let sdb = unsafe { &raw const (*self.raw.as_ptr()).sdb };
        // SAFETY: As in `cdb_field`.
        let (nents, sg, len) = unsafe { ((*sdb).table.nents, (*sdb).table.sgl, (*sdb).length) };
        if self.mapped || nents == 0 {
            return Ok(None);
        }
        // SAFETY: By the type invariant the command is valid, and its data are not mapped.
        let count = unsafe { rlis_sys::scsi_dma_map(self.raw.as_ptr()) };
        let count = u32::try_from(count).map_err(|_| ENOMEM)?;
        if count == 0 {
            return Err(ENOMEM);
        }
        // INVARIANT: The data are mapped now.
        self.mapped = true;
        // INVARIANT: `count` elements of the list have been mapped.
        Ok(Some(Pages {
            sg,
            left: count,
            len,
            next: 0,
            end: 0,
            _command: PhantomData,
        }))
    }

    #[inline]
    fn unmap(&mut self) {
        if core::mem::take(&mut self.mapped) {
            // SAFETY: By the type invariant the data are mapped.
            unsafe { rlis_sys::scsi_dma_unmap(self.raw.as_ptr()) };
        }
    }

    /// Copies sense data into the command; what is longer than 96 bytes is cut off.
    pub fn set_sense(&mut self, sense: &[u8]) {
        let len = sense.len().min(SENSE_LEN);
        // SAFETY: The buffer of a command has `SENSE_LEN` bytes, which belong to the driver as the command does.
        unsafe {
            core::ptr::copy_nonoverlapping(sense.as_ptr(), (*self.raw.as_ptr()).sense_buffer, len);
        }
    }

    /// Completes the command: it is the mid-layer's again. Any context.
    #[inline]
    pub fn complete(mut self, outcome: Outcome) {
        self.unmap();
        let (raw, _) = self.into_raw();
        let raw = raw.as_ptr();
        // SAFETY: The command was ours until here, see the type invariant.
        unsafe {
            let len = (*raw).sdb.length;
            (*raw).resid_len = len.saturating_sub(outcome.transferred);
            (*raw).result = i32::from(outcome.status) | i32::from(outcome.host.0) << 16;
            rlis_sys::scsi_done(raw);
        }
    }

    /// Gives the command back, to be tried again when another one of the device has completed, or a little later
    /// (`SCSI_MLQUEUE_DEVICE_BUSY`).
    pub fn busy(mut self) -> Queued {
        self.unmap();
        let _ = self.into_raw();
        // INVARIANT: The command is the mid-layer's, as `HostOps::queue` returns this.
        Queued(rlis_sys::scsi_qc_status_SCSI_MLQUEUE_DEVICE_BUSY)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        // SAFETY: This value is not used after it was dropped.
        let this = unsafe { Self::from_raw(self.raw, core::mem::take(&mut self.mapped)) };
        this.complete(Outcome::failed(HostByte::ERROR));
    }
}

/// Returns the host adapter of a command.
#[inline]
pub(crate) fn host_of(cmd: NonNull<scsi_cmnd>) -> NonNull<Scsi_Host> {
    // SAFETY: A command has a device, and that a host, as long as they exist; neither is ever null.
    unsafe { NonNull::new_unchecked((*(*cmd.as_ptr()).device).host) }
}

/// Returns the numbers of the hardware queue and of the tag of a command.
#[inline]
pub(crate) fn queue_and_tag(cmd: NonNull<scsi_cmnd>) -> (u32, u32) {
    // SAFETY: A `struct scsi_cmnd` lies behind the `struct request` that it belongs to (`scsi_cmd_to_rq`). Once a
    // request has been issued, its tag and queue do not change.
    let (tag, queue) = unsafe {
        let request = cmd.as_ptr().cast::<rlis_sys::request>().sub(1);
        ((*request).tag, (*(*request).mq_hctx).queue_num)
    };
    // A tag is only negative when there is none, so before and after; then it is beyond all that there are.
    (queue, u32::from_ne_bytes(tag.to_ne_bytes()))
}

/// As [`queue_and_tag`], of a command that may have neither: the one that a reset by user space comes with.
pub(crate) fn place(cmd: NonNull<scsi_cmnd>) -> Option<(u32, u32)> {
    // SAFETY: A `struct scsi_cmnd` lies behind the `struct request` that it belongs to (`scsi_cmd_to_rq`).
    let queue = unsafe { (*cmd.as_ptr().cast::<rlis_sys::request>().sub(1)).mq_hctx };
    (!queue.is_null()).then(|| queue_and_tag(cmd))
}

/// The mapped data of a command, as page frame numbers in units of 4096 bytes, in the order of the data.
///
/// # Invariants
///
/// `sg` starts a list of at least `left` mapped elements, which stay while `'a` lasts.
pub struct Pages<'a> {
    sg: *mut scatterlist,
    left: u32,
    len: u32,
    /// What is left of the current element: frames from `next` up to `end`.
    next: u64,
    end: u64,
    _command: PhantomData<&'a Command>,
}

impl Pages<'_> {
    /// Returns the length of the data in bytes.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns whether there are no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the page that the data lie in and where in it they begin, if it is one.
    #[inline]
    pub fn single(&self) -> Option<(u64, u32)> {
        if self.left != 1 {
            return None;
        }
        let offset = self.offset();
        // SAFETY: By the type invariant there is an element.
        let address = unsafe { (*self.sg).dma_address };
        let end = u64::from(offset) + u64::from(self.len);
        (end <= 1 << PAGE_SHIFT).then_some((address >> PAGE_SHIFT, offset))
    }

    /// Returns the offset of the data in the first page, in bytes. To be called before the first [`Self::next`].
    #[inline]
    pub fn offset(&self) -> u32 {
        if self.left == 0 {
            return 0;
        }
        // SAFETY: By the type invariant there is an element.
        let address = unsafe { (*self.sg).dma_address };
        let [low, high, ..] = address.to_le_bytes();
        u32::from(u16::from_le_bytes([low, high])) & ((1 << PAGE_SHIFT) - 1)
    }
}

impl Iterator for Pages<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.next == self.end {
            self.left = self.left.checked_sub(1)?;
            // SAFETY: By the type invariant the element is valid and mapped.
            let (address, len) = unsafe { ((*self.sg).dma_address, dma_len(self.sg)) };
            self.next = address >> PAGE_SHIFT;
            self.end = address
                .saturating_add(u64::from(len))
                .div_ceil(1 << PAGE_SHIFT);
            if self.left > 0 {
                // SAFETY: There is another element, by the type invariant.
                self.sg = unsafe { rlis_sys::scsi_sg_next(self.sg) };
            }
            if self.next >= self.end {
                self.next = self.end;
                return None;
            }
        }
        let page = self.next;
        self.next += 1;
        Some(page)
    }
}

/// Returns the mapped length of an element, `sg_dma_len`.
///
/// # Safety
///
/// `sg` must be valid and mapped.
#[inline]
unsafe fn dma_len(sg: *mut scatterlist) -> u32 {
    #[cfg(CONFIG_NEED_SG_DMA_LENGTH)]
    // SAFETY: As required of the caller.
    let len = unsafe { (*sg).dma_length };
    #[cfg(not(CONFIG_NEED_SG_DMA_LENGTH))]
    // SAFETY: As required of the caller.
    let len = unsafe { (*sg).length };
    len
}
