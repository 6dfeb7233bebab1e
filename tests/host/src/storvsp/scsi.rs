// SPDX-License-Identifier: GPL-2.0

//! SCSI commands of a logical unit (SPC-4, SBC-3, MMC-6): the command's bytes in, data or sense out.

use super::lun::{Kind, Lun};
use super::reserve::Refusal;
use super::sense::Sense;

/// Most blocks of one WRITE SAME and of one UNMAP descriptor list, as the block limits page tells.
const MAX_UNMAP_BLOCKS: u32 = 0x40_0000;
const MAX_UNMAP_DESCRIPTORS: u32 = 256;

/// The bytes of a command. What is missing reads as 0.
struct Cdb<'a>(&'a [u8]);

impl Cdb<'_> {
    fn u8(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn be(&self, at: usize, len: usize) -> u64 {
        (at..at + len).fold(0, |value, i| (value << 8) | u64::from(self.u8(i)))
    }

    fn len(&self, at: usize, len: usize) -> usize {
        usize::try_from(self.be(at, len)).unwrap_or(usize::MAX)
    }

    /// Address and count of a read or write command, by the group that its operation code belongs to.
    fn extent(&self) -> (u64, u64) {
        match self.u8(0) >> 5 {
            0 => {
                let count = u64::from(self.u8(4));
                (
                    self.be(1, 3) & 0x1F_FFFF,
                    if count == 0 { 256 } else { count },
                )
            }
            1 | 2 => (self.be(2, 4), self.be(7, 2)),
            4 => (self.be(2, 8), self.be(10, 4)),
            _ => (self.be(2, 4), self.be(6, 4)),
        }
    }
}

/// Carries out a command. `data` is what the guest sends with it, `room` how much it can take back, `luns` are the
/// units of the same target. Returns what is sent back; more than `room` may be cut off.
pub fn execute(
    lun: &Lun,
    cdb: &[u8],
    data: &[u8],
    room: usize,
    luns: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let cdb = Cdb(cdb);
    let opcode = cdb.u8(0);
    // INQUIRY, REPORT LUNS and REQUEST SENSE do not tell or end a unit attention (SPC-4 chapter 5.14).
    if !matches!(opcode, 0x12 | 0xA0 | 0x03) {
        if let Some(sense) = lun.take_attention() {
            return Err(sense.into());
        }
    }
    if lun.reservations().forbid(lun.way(), opcode) {
        return Err(Refusal::Conflict);
    }
    match opcode {
        0x5E if lun.kind == Kind::Disk => {
            let told = lun.reservations().tell(cdb.u8(1) & 0x1F);
            Ok(cut(told?, cdb.len(7, 2)))
        }
        0x5F if lun.kind == Kind::Disk => {
            let list = data.get(..cdb.len(5, 4)).unwrap_or(data);
            let (action, scope_type) = (cdb.u8(1) & 0x1F, cdb.u8(2));
            let change = |way| lun.reservations().change(way, action, scope_type, list);
            for (way, sense) in change(lun.way())? {
                lun.attend_ways(sense, |w| w == way);
            }
            Ok(Vec::new())
        }
        _ => Ok(command(lun, &cdb, data, room, luns)?),
    }
}

/// Carries out a command that nothing stands in the way of.
fn command(
    lun: &Lun,
    cdb: &Cdb<'_>,
    data: &[u8],
    room: usize,
    luns: &[u8],
) -> Result<Vec<u8>, Sense> {
    let opcode = cdb.u8(0);
    match opcode {
        // TEST UNIT READY
        0x00 => lun.blocks().map(|_| Vec::new()),
        0x1B => start_stop(lun, cdb).map(|()| Vec::new()),
        // PREVENT ALLOW MEDIUM REMOVAL
        0x1E => {
            lun.lock(cdb.u8(4) & 1 != 0);
            Ok(Vec::new())
        }
        0x03 => Ok(cut(request_sense(lun), usize::from(cdb.u8(4)))),
        0x12 => inquiry(lun, cdb),
        0x1A => mode_sense(lun, cdb, false),
        0x5A => mode_sense(lun, cdb, true),
        0x25 => read_capacity_10(lun),
        0x9E if cdb.u8(1) & 0x1F == 0x10 => Ok(cut(read_capacity_16(lun)?, cdb.len(10, 4))),
        0xA0 => Ok(cut(report_luns(luns), cdb.len(6, 4))),
        0x08 | 0x28 | 0x88 | 0xA8 => {
            let (lba, count) = cdb.extent();
            lun.verify(lba, count)?;
            // A count that the guest has no room for costs no memory here.
            let wanted = u64::try_from(room).map_or(u64::MAX, |r| r.div_ceil(lun.block.into()));
            lun.read(lba, count.min(wanted))
        }
        0x0A | 0x2A | 0x8A | 0xAA => {
            let (lba, count) = cdb.extent();
            lun.write(lba, count, data)?;
            // FUA: the data must not be in a cache when the command ends.
            if opcode != 0x0A && cdb.u8(1) & 8 != 0 {
                lun.flush()?;
            }
            Ok(Vec::new())
        }
        // VERIFY without byte check: whether the blocks are there.
        0x2F | 0x8F | 0xAF if cdb.u8(1) & 6 == 0 => {
            let (lba, count) = cdb.extent();
            lun.verify(lba, count).map(|()| Vec::new())
        }
        0x35 | 0x91 => lun.flush().map(|()| Vec::new()),
        0x42 if lun.kind == Kind::Disk => unmap(lun, data).map(|()| Vec::new()),
        0x41 | 0x93 if lun.kind == Kind::Disk => write_same(lun, cdb, data).map(|()| Vec::new()),
        _ if lun.kind == Kind::Dvd => mmc(lun, cdb),
        _ => Err(Sense::INVALID_OPCODE),
    }
}

fn cut(mut data: Vec<u8>, len: usize) -> Vec<u8> {
    data.truncate(len);
    data
}

/// START STOP UNIT: of a drive, the disc goes (LoEj without Start); there is none that could be loaded.
fn start_stop(lun: &Lun, cdb: &Cdb<'_>) -> Result<(), Sense> {
    match (lun.kind, cdb.u8(4) & 3) {
        (Kind::Dvd, 2) => lun.eject_by_guest(),
        (Kind::Dvd, 1 | 3) => lun.blocks().map(drop),
        _ => Ok(()),
    }
}

fn request_sense(lun: &Lun) -> Vec<u8> {
    lun.take_attention()
        .unwrap_or(Sense::new(0, 0, 0))
        .to_bytes()
        .to_vec()
}

/// What INQUIRY answers for a unit that is not there: peripheral qualifier 3, type unknown. A page of vital product data is
/// empty; Linux would take what follows in the standard data for a list of pages, and ask for each.
pub fn inquiry_of_missing_unit(cdb: &[u8]) -> Vec<u8> {
    if Cdb(cdb).u8(1) & 1 != 0 {
        return cut(vec![0x7F, Cdb(cdb).u8(2), 0, 0], Cdb(cdb).len(3, 2));
    }
    let mut data = vec![0; 36];
    data[0] = 0x7F;
    data[2] = 5;
    data[4] = 31;
    cut(data, Cdb(cdb).len(3, 2))
}

fn device_type(lun: &Lun) -> u8 {
    match lun.kind {
        Kind::Disk => 0,
        Kind::Dvd => 5,
    }
}

fn inquiry(lun: &Lun, cdb: &Cdb<'_>) -> Result<Vec<u8>, Sense> {
    let limit = cdb.len(3, 2);
    if cdb.u8(1) & 1 == 0 {
        if cdb.u8(2) != 0 {
            return Err(Sense::INVALID_FIELD);
        }
        let mut data = vec![device_type(lun), 0, 5, 0x12, 31, 0, 0, 2];
        if lun.kind == Kind::Dvd {
            // Removable medium.
            data[1] = 0x80;
        }
        data.extend(b"Msft    ");
        data.extend(match lun.kind {
            Kind::Disk => b"Virtual Disk    ",
            Kind::Dvd => b"Virtual DVD-ROM ",
        });
        data.extend(b"1.0 ");
        return Ok(cut(data, limit));
    }
    let page = cdb.u8(2);
    let serial = format!("{:032x}", u128::from_be_bytes(lun.id));
    let body = match (page, lun.kind) {
        (0x00, Kind::Disk) => vec![0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2],
        (0x00, Kind::Dvd) => vec![0x00, 0x80, 0x83],
        (0x80, _) => serial.into_bytes(),
        (0x83, _) => {
            // One designator: binary, NAA, of the unit, 16 bytes.
            let mut body = vec![0x01, 0x03, 0x00, 16];
            body.extend(lun.id);
            body
        }
        (0xB0, Kind::Disk) => {
            // Block limits: 60 bytes, of which the offsets here are less the 4-byte header.
            let mut body = vec![0; 60];
            body[16..20].copy_from_slice(&MAX_UNMAP_BLOCKS.to_be_bytes());
            body[20..24].copy_from_slice(&MAX_UNMAP_DESCRIPTORS.to_be_bytes());
            body[24..28].copy_from_slice(&1u32.to_be_bytes());
            body[32..40].copy_from_slice(&u64::from(MAX_UNMAP_BLOCKS).to_be_bytes());
            body
        }
        (0xB1, Kind::Disk) => {
            // Rotation rate 1: not rotating.
            let mut body = vec![0; 60];
            body[1] = 1;
            body
        }
        // Logical block provisioning: UNMAP, WRITE SAME(16) and (10) unmap, unmapped blocks read as zeroes; thin.
        (0xB2, Kind::Disk) => vec![0, 0xE4, 2, 0],
        _ => return Err(Sense::INVALID_FIELD),
    };
    let len = u16::try_from(body.len()).map_err(|_| Sense::INVALID_FIELD)?;
    let mut data = vec![device_type(lun), page];
    data.extend(len.to_be_bytes());
    data.extend(body);
    Ok(cut(data, limit))
}

fn mode_sense(lun: &Lun, cdb: &Cdb<'_>, long: bool) -> Result<Vec<u8>, Sense> {
    let (page, limit) = (
        cdb.u8(2) & 0x3F,
        if long {
            cdb.len(7, 2)
        } else {
            usize::from(cdb.u8(4))
        },
    );
    // Page control 3: saved values, which there are none of.
    if cdb.u8(2) >> 6 == 3 {
        return Err(Sense::new(0x5, 0x39, 0x00));
    }
    let mut pages = Vec::new();
    let wants = |number: u8| page == number || page == 0x3F;
    if wants(0x08) && lun.kind == Kind::Disk {
        // Caching: the write cache is on.
        let mut caching = [0; 20];
        caching[..3].copy_from_slice(&[0x08, 18, 0x04]);
        pages.extend(caching);
    }
    if wants(0x0A) {
        pages.extend([0x0A, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    if wants(0x2A) && lun.kind == Kind::Dvd {
        // Capabilities: reads CD-R, CD-RW, DVD-ROM; tray; 8x.
        let mut capabilities = [0; 20];
        capabilities[..8].copy_from_slice(&[0x2A, 18, 0x0B, 0, 0, 0, 0x29, 0]);
        capabilities[8..10].copy_from_slice(&1385u16.to_be_bytes());
        capabilities[14..16].copy_from_slice(&1385u16.to_be_bytes());
        pages.extend(capabilities);
    }
    if pages.is_empty() {
        return Err(Sense::INVALID_FIELD);
    }
    // Device-specific byte: write protect; DPO and FUA are known to disks.
    let specific = match lun.kind {
        Kind::Disk => 0x10 | if lun.readonly { 0x80 } else { 0 },
        Kind::Dvd => 0,
    };
    let mut data = if long {
        let len = u16::try_from(pages.len() + 6)
            .map_err(|_| Sense::INVALID_FIELD)?
            .to_be_bytes();
        vec![len[0], len[1], 0, specific, 0, 0, 0, 0]
    } else {
        let len = u8::try_from(pages.len() + 3).map_err(|_| Sense::INVALID_FIELD)?;
        vec![len, 0, specific, 0]
    };
    data.extend(pages);
    Ok(cut(data, limit))
}

fn read_capacity_10(lun: &Lun) -> Result<Vec<u8>, Sense> {
    let last = lun.blocks()? - 1;
    // All ones: ask with READ CAPACITY(16).
    let mut data = u32::try_from(last)
        .unwrap_or(u32::MAX)
        .to_be_bytes()
        .to_vec();
    data.extend(lun.block.to_be_bytes());
    Ok(data)
}

fn read_capacity_16(lun: &Lun) -> Result<Vec<u8>, Sense> {
    let mut data = (lun.blocks()? - 1).to_be_bytes().to_vec();
    data.extend(lun.block.to_be_bytes());
    data.resize(32, 0);
    if lun.kind == Kind::Disk {
        // LBPME and LBPRZ: thin, and unmapped blocks read as zeroes.
        data[14] = 0xC0;
    }
    Ok(data)
}

/// REPORT LUNS data: the units `luns` by peripheral addressing.
pub fn report_luns(luns: &[u8]) -> Vec<u8> {
    let mut data = u32::try_from(luns.len() * 8)
        .unwrap_or(0)
        .to_be_bytes()
        .to_vec();
    data.extend([0; 4]);
    for lun in luns {
        data.extend([0, *lun, 0, 0, 0, 0, 0, 0]);
    }
    data
}

fn unmap(lun: &Lun, data: &[u8]) -> Result<(), Sense> {
    // Header: lengths of data and of descriptors; then 16 bytes each: address, count, reserved.
    let list = Cdb(data);
    if data.is_empty() {
        return Ok(());
    }
    let len = list.len(2, 2);
    let descriptors = data
        .get(8..)
        .and_then(|d| d.get(..len))
        .ok_or(Sense::INVALID_PARAMETER)?;
    if len / 16 > MAX_UNMAP_DESCRIPTORS as usize {
        return Err(Sense::INVALID_PARAMETER);
    }
    for descriptor in descriptors.chunks_exact(16) {
        let descriptor = Cdb(descriptor);
        lun.clear(descriptor.be(0, 8), descriptor.be(8, 4))?;
    }
    Ok(())
}

fn write_same(lun: &Lun, cdb: &Cdb<'_>, data: &[u8]) -> Result<(), Sense> {
    let (lba, count) = cdb.extent();
    if count > u64::from(MAX_UNMAP_BLOCKS) {
        return Err(Sense::INVALID_FIELD);
    }
    // A count of 0 means "to the end", which may be longer than the limit.
    if count == 0 {
        return Err(Sense::INVALID_FIELD);
    }
    let block = data.get(..lun.block as usize).ok_or(Sense::INVALID_FIELD)?;
    if block.iter().all(|b| *b == 0) {
        return lun.clear(lba, count);
    }
    lun.verify(lba, count)?;
    // In pieces, so that a long command needs little memory.
    let pieces = 2048u64;
    let mut done = 0;
    while done < count {
        let now = pieces.min(count - done);
        lun.write(
            lba + done,
            now,
            &block.repeat(usize::try_from(now).map_err(|_| Sense::INVALID_FIELD)?),
        )?;
        done += now;
    }
    Ok(())
}

/// Commands that only a DVD drive has.
fn mmc(lun: &Lun, cdb: &Cdb<'_>) -> Result<Vec<u8>, Sense> {
    match cdb.u8(0) {
        // READ TOC, format 0: one data track and the lead-out.
        0x43 if cdb.u8(2) & 0xF == 0 && cdb.u8(9) >> 6 == 0 => {
            let blocks = u32::try_from(lun.blocks()?).unwrap_or(u32::MAX);
            let mut data = vec![0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0];
            data.extend(blocks.to_be_bytes());
            Ok(cut(data, cdb.len(7, 2)))
        }
        // READ TOC, format 1: the last session begins with track 1 at block 0.
        0x43 if cdb.u8(2) & 0xF == 1 || cdb.u8(9) >> 6 == 1 => {
            lun.blocks()?;
            let data = vec![0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0];
            Ok(cut(data, cdb.len(7, 2)))
        }
        // GET CONFIGURATION: current profile DVD-ROM, or none without a disc, and the profile list.
        0x46 => {
            let there = u8::from(lun.blocks().is_ok());
            let current = 0x10 * there;
            let data = vec![0, 0, 0, 12, 0, 0, 0, current, 0, 0, 3, 4, 0, 0x10, there, 0];
            Ok(cut(data, cdb.len(7, 2)))
        }
        // GET EVENT STATUS NOTIFICATION, polled: of the media class, what happened last, and whether there is a disc.
        0x4A if cdb.u8(1) & 1 == 1 => {
            let data = if cdb.u8(4) & 0x10 != 0 {
                let there = u8::from(lun.blocks().is_ok());
                vec![0, 6, 4, 0x10, lun.take_event(), 2 * there, 0, 0]
            } else {
                vec![0, 2, 0x80, 0x10]
            };
            Ok(cut(data, cdb.len(7, 2)))
        }
        // READ DISC INFORMATION: one finished session.
        0x51 => {
            lun.blocks()?;
            let mut data = vec![0; 34];
            data[1] = 32;
            data[2] = 0x0E;
            data[3..7].copy_from_slice(&[1, 1, 1, 1]);
            Ok(cut(data, cdb.len(7, 2)))
        }
        // MECHANISM STATUS: nothing to tell.
        0xBD => Ok(cut(vec![0; 8], cdb.len(8, 2))),
        _ => Err(Sense::INVALID_OPCODE),
    }
}

#[cfg(test)]
mod tests;
