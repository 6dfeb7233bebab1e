// SPDX-License-Identifier: GPL-2.0

//! A ring that the host fills as it pleases: indices, descriptors, and changes while the guest reads.

use crate::input::Input;
use rlis_proto::ring::{wrap, HeaderField, IncomingRing, ReadError, RingHeader, RingMem};
use std::cell::{Cell, RefCell};

/// Bytes of the data area. Small, so that packets wrap often.
const SIZE: u32 = 512;

/// A ring in plain memory.
struct Ring {
    header: [Cell<u32>; 17],
    data: RefCell<Vec<u8>>,
}

impl RingHeader for Ring {
    fn load(&self, field: HeaderField) -> u32 {
        self.header[field.offset() / 4].get()
    }
    fn load_acquire(&self, field: HeaderField) -> u32 {
        self.load(field)
    }
    fn store(&self, field: HeaderField, value: u32) {
        self.header[field.offset() / 4].set(value);
    }
    fn store_release(&self, field: HeaderField, value: u32) {
        self.store(field, value);
    }
    fn full_barrier(&self) {}
}

impl RingMem for Ring {
    fn size(&self) -> u32 {
        SIZE
    }
    fn read_at(&self, offset: u32, dst: &mut [u8]) {
        // An access out of bounds panics.
        let (a, b) = dst.split_at_mut(wrap(offset, dst.len(), SIZE));
        let data = self.data.borrow();
        a.copy_from_slice(&data[offset as usize..][..a.len()]);
        b.copy_from_slice(&data[..b.len()]);
    }
    fn write_at(&self, offset: u32, src: &[u8]) {
        let (a, b) = src.split_at(wrap(offset, src.len(), SIZE));
        let mut data = self.data.borrow_mut();
        data[offset as usize..][..a.len()].copy_from_slice(a);
        data[..b.len()].copy_from_slice(b);
    }
}

/// The input: events with one byte each. The host sets an index, or writes bytes somewhere; the guest reads, skips or
/// ends a round.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let ring = Ring {
        header: std::array::from_fn(|_| Cell::new(0)),
        data: RefCell::new(vec![0; SIZE as usize]),
    };
    let mut reader = IncomingRing::new(&ring).expect("a new ring");
    let mut buffer = [0; SIZE as usize];
    while !input.is_empty() {
        match input.u8() % 8 {
            0 => ring.store(HeaderField::WriteIndex, input.u32()),
            // More often an index that may be right.
            1 => ring.store(HeaderField::WriteIndex, u32::from(input.u8()) * 8),
            2 => {
                let offset = u32::from(input.u8()) * 8 % SIZE;
                let bytes = input.slice();
                ring.write_at(offset, &bytes[..bytes.len().min(SIZE as usize)]);
            }
            3 => {
                let fields = [HeaderField::PendingSendSz, HeaderField::FeatureBits];
                let value = input.u32();
                ring.store(fields[value as usize % 2], value);
            }
            4 => {
                let _ = reader.skip();
            }
            5 => {
                let masked = input.u8() & 1 != 0;
                let _ = reader.finish(masked);
            }
            _ => {
                let room = usize::from(input.u8()) * 2;
                match reader.read(&mut buffer[..room]) {
                    Ok(Some(packet)) => {
                        assert!(packet.payload().len() + 16 <= room);
                        assert!(packet.payload().len() + packet.extension().len() + 16 <= room);
                        if let Ok(ranges) = packet.gpa_ranges() {
                            for range in ranges.flatten() {
                                let _ = range.segments().count();
                            }
                        }
                        if let Ok((_, ranges)) = packet.transfer_pages(4096) {
                            for range in ranges.flatten() {
                                assert!(range.byte_offset + range.byte_count <= 4096);
                            }
                        }
                    }
                    Err(ReadError::TooLong { need, got }) => assert!(need > got),
                    Ok(None) | Err(_) => {}
                }
            }
        }
        assert!(reader.read_index() < SIZE && reader.read_index() % 8 == 0);
        assert!(reader.committed_index() < SIZE);
    }
}
