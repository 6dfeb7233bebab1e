// SPDX-License-Identifier: GPL-2.0

//! Extended hypercalls, which are those of the host rather than of the hypervisor (TLFS chapter 10, codes from 0x8001 on): what
//! there are, and hints that free memory is of no use to the guest.

use rlis_proto::balloon::{
    CAPABILITY_COLD_DISCARD, HINT_HEADER, MAX_HINTED, MEMORY_HEAT_HINT, QUERY_CAPABILITIES,
};
use vm_memory::{Bytes, GuestAddress};

use super::hypercall::{
    FAST, INVALID_ALIGNMENT, INVALID_HYPERCALL_CODE, INVALID_HYPERCALL_INPUT, INVALID_PARAMETER,
    SUCCESS,
};
use crate::memory::Memory;

/// The first of them.
const FIRST: u16 = 0x8001;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Most ranges that are looked at in one go: the guest has to call again for the rest.
const AT_A_GO: usize = 8;
/// The size of a variable header and bits that are reserved, in the control word.
const ODD: u64 = 0xF000_F000_FFFE_0000;

/// Who takes hints that memory is of no use.
pub trait ColdDiscard: Send + Sync {
    /// Takes ranges. Returns how many it took, and the status.
    fn hint(&self, ranges: &[u64]) -> (usize, u16);
    /// Takes note that the guest has called in a way that it must not.
    fn wrong(&self, what: String);
}

/// Whether `input` is the control word of an extended hypercall.
pub fn is_extended(input: u64) -> bool {
    input as u16 >= FIRST
}

/// Carries out the call with the control word `input` and these addresses of input and output. Returns its result. Without
/// `discard` there are no such calls.
pub fn handle(
    memory: &Memory,
    discard: Option<&dyn ColdDiscard>,
    input: u64,
    addresses: [u64; 2],
) -> u64 {
    let Some(discard) = discard else {
        return INVALID_HYPERCALL_CODE.into();
    };
    match input as u16 {
        QUERY_CAPABILITIES => {
            let to = GuestAddress(addresses[1]);
            let status = if input >> 16 != 0 {
                INVALID_HYPERCALL_INPUT
            } else if to.0 % 8 != 0 {
                INVALID_ALIGNMENT
            } else if memory.write_obj(CAPABILITY_COLD_DISCARD, to).is_err() {
                INVALID_PARAMETER
            } else {
                SUCCESS
            };
            if status != SUCCESS {
                discard.wrong(format!(
                    "capabilities are asked for with {input:#x}, to {:#x}",
                    to.0
                ));
            }
            status.into()
        }
        MEMORY_HEAT_HINT => {
            let (done, status) = match ranges(memory, input, addresses[0]) {
                Ok((start, ranges)) => {
                    let (done, status) = discard.hint(&ranges);
                    (start + done, status)
                }
                Err(status) => {
                    discard.wrong(format!(
                        "a hint with {input:#x} at {:#x}, status {status:#x}",
                        addresses[0]
                    ));
                    (0, status)
                }
            };
            u64::from(status) | ((done as u64) << 32)
        }
        _ => INVALID_HYPERCALL_CODE.into(),
    }
}

/// The ranges of a hint that are looked at in this go, and which is the first. The error is a status.
fn ranges(memory: &Memory, input: u64, page: u64) -> Result<(usize, Vec<u64>), u16> {
    let number = |shift: u32| ((input >> shift) & 0xFFF) as usize;
    let (count, start) = (number(32), number(48));
    if input & (FAST | ODD) != 0 || count == 0 || count > MAX_HINTED || start >= count {
        return Err(INVALID_HYPERCALL_INPUT);
    }
    let bytes = 8 * (1 + count as u64);
    if page % 8 != 0 || page % PAGE + bytes > PAGE {
        return Err(INVALID_ALIGNMENT);
    }
    let word = |index: usize| {
        let at = GuestAddress(page.saturating_add(8 * index as u64));
        memory.read_obj::<u64>(at).map_err(|_| INVALID_PARAMETER)
    };
    if word(0)? != HINT_HEADER {
        return Err(INVALID_PARAMETER);
    }
    let end = count.min(start + AT_A_GO);
    let ranges: Result<Vec<u64>, u16> = (start..end).map(|index| word(1 + index)).collect();
    Ok((start, ranges?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const AT: u64 = 0x3000;

    #[derive(Default)]
    struct Log {
        ranges: Mutex<Vec<u64>>,
        wrong: Mutex<usize>,
    }

    impl ColdDiscard for Log {
        fn hint(&self, ranges: &[u64]) -> (usize, u16) {
            self.ranges.lock().unwrap().extend(ranges);
            (ranges.len(), SUCCESS)
        }
        fn wrong(&self, _what: String) {
            *self.wrong.lock().unwrap() += 1;
        }
    }

    fn hint(count: u64, start: u64) -> u64 {
        u64::from(MEMORY_HEAT_HINT) | (count << 32) | (start << 48)
    }

    #[test]
    fn capabilities_are_told_if_there_are_any() {
        let memory = crate::memory::allocate(1 << 16).unwrap();
        let log = Log::default();
        let ask = |discard, to| handle(&memory, discard, QUERY_CAPABILITIES.into(), [0, to]);
        assert_eq!(ask(None, AT), u64::from(INVALID_HYPERCALL_CODE));
        assert_eq!(ask(Some(&log), AT), 0);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(AT)).unwrap(), 0x100);
        assert_eq!(ask(Some(&log), AT + 4), u64::from(INVALID_ALIGNMENT));
        assert_eq!(ask(Some(&log), 1 << 40), u64::from(INVALID_PARAMETER));
        assert_eq!(*log.wrong.lock().unwrap(), 2);
        let unknown = handle(&memory, Some(&log), 0x8004, [AT, AT]);
        assert_eq!(unknown, u64::from(INVALID_HYPERCALL_CODE));
    }

    #[test]
    fn a_hint_takes_as_many_goes_as_it_needs() {
        let memory = crate::memory::allocate(1 << 16).unwrap();
        let log = Log::default();
        memory.write_obj(2u64, GuestAddress(AT)).unwrap();
        for n in 0..20u64 {
            memory.write_obj(n, GuestAddress(AT + 8 + 8 * n)).unwrap();
        }
        let mut done = 0;
        for all in [8, 16, 20] {
            let result = handle(&memory, Some(&log), hint(20, done), [AT, 0]);
            assert_eq!(result, all << 32);
            done = all;
        }
        assert_eq!(*log.ranges.lock().unwrap(), (0..20).collect::<Vec<u64>>());
        assert_eq!(*log.wrong.lock().unwrap(), 0);
    }

    #[test]
    fn wrong_hints_have_their_status() {
        let memory = crate::memory::allocate(1 << 16).unwrap();
        let log = Log::default();
        memory.write_obj(2u64, GuestAddress(AT)).unwrap();
        // Of another kind.
        memory.write_obj(1u64, GuestAddress(AT + 64)).unwrap();
        for (input, address, status) in [
            (hint(0, 0), AT, INVALID_HYPERCALL_INPUT),
            (hint(512, 0), AT, INVALID_HYPERCALL_INPUT),
            (hint(3, 3), AT, INVALID_HYPERCALL_INPUT),
            (hint(3, 0) | FAST, AT, INVALID_HYPERCALL_INPUT),
            (hint(3, 0) | (1 << 17), AT, INVALID_HYPERCALL_INPUT),
            (hint(3, 0), AT + 4, INVALID_ALIGNMENT),
            (hint(511, 0), AT + 8, INVALID_ALIGNMENT),
            (hint(3, 0), 1 << 40, INVALID_PARAMETER),
            (hint(3, 0), AT + 64, INVALID_PARAMETER),
        ] {
            let result = handle(&memory, Some(&log), input, [address, 0]);
            assert_eq!(result, u64::from(status), "{input:#x} {address:#x}");
        }
        assert_eq!(*log.wrong.lock().unwrap(), 9);
        assert!(log.ranges.lock().unwrap().is_empty());
    }
}
