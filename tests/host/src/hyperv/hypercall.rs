// SPDX-License-Identifier: GPL-2.0

//! The two hypercalls of VMBus: HvCallPostMessage and HvCallSignalEvent (TLFS chapter 11.10).

use vm_memory::{Bytes, GuestAddress};

use super::synic::MAX_PAYLOAD;
use crate::memory::Memory;

/// HV_STATUS_SUCCESS.
pub const SUCCESS: u16 = 0x0;
/// HV_STATUS_INVALID_HYPERCALL_CODE.
pub const INVALID_HYPERCALL_CODE: u16 = 0x2;
/// HV_STATUS_INVALID_HYPERCALL_INPUT.
pub const INVALID_HYPERCALL_INPUT: u16 = 0x3;
/// HV_STATUS_INVALID_ALIGNMENT.
pub const INVALID_ALIGNMENT: u16 = 0x4;
/// HV_STATUS_INVALID_PARAMETER.
pub const INVALID_PARAMETER: u16 = 0x5;
/// HV_STATUS_INVALID_CONNECTION_ID.
pub const INVALID_CONNECTION_ID: u16 = 0x12;

/// HvCallPostMessage.
const POST_MESSAGE: u16 = 0x5C;
/// HvCallSignalEvent.
const SIGNAL_EVENT: u16 = 0x5D;
/// Bit 16 of the control word: the input is in registers.
pub const FAST: u64 = 1 << 16;
/// struct hv_input_post_message: connection id, reserved, message type, payload size, payload.
const POST_HEADER: usize = 16;

/// Who takes what guests send through hypercalls. Both return the hypercall's status.
pub trait Receiver: Send + Sync {
    /// A message of type `type_` for connection `connection`, sent by `vp`.
    fn message(&self, vp: u32, connection: u32, type_: u32, payload: &[u8]) -> u16;
    /// An event for connection `connection`, with its flag number.
    fn event(&self, vp: u32, connection: u32, flag: u16) -> u16;
}

/// Carries out hypercall `input` with first parameter `param` for virtual processor `vp`. Returns its status.
pub fn handle(memory: &Memory, receiver: &dyn Receiver, vp: u32, input: u64, param: u64) -> u16 {
    let fast = input & FAST != 0;
    match (input & 0xFFFF) as u16 {
        POST_MESSAGE if fast => INVALID_HYPERCALL_INPUT,
        POST_MESSAGE => post_message(memory, receiver, vp, param),
        SIGNAL_EVENT => {
            let value = if fast {
                param
            } else {
                if param % 8 != 0 {
                    return INVALID_ALIGNMENT;
                }
                match memory.read_obj(GuestAddress(param)) {
                    Ok(value) => value,
                    Err(_) => return INVALID_PARAMETER,
                }
            };
            // Connection id u32, flag number u16, reserved u16.
            receiver.event(
                vp,
                (value & 0xFFFF_FFFF) as u32,
                ((value >> 32) & 0xFFFF) as u16,
            )
        }
        _ => INVALID_HYPERCALL_CODE,
    }
}

fn post_message(memory: &Memory, receiver: &dyn Receiver, vp: u32, page: u64) -> u16 {
    if page % 8 != 0 {
        return INVALID_ALIGNMENT;
    }
    let mut input = [0u8; POST_HEADER + MAX_PAYLOAD];
    if memory.read_slice(&mut input, GuestAddress(page)).is_err() {
        return INVALID_PARAMETER;
    }
    let word = |at: usize| {
        input
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    let (connection, type_, size) = (word(0), word(8), word(12));
    let payload = usize::try_from(size)
        .ok()
        .and_then(|s| input.get(POST_HEADER..POST_HEADER.checked_add(s)?));
    match payload {
        Some(payload) => receiver.message(vp, connection, type_, payload),
        None => INVALID_PARAMETER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Log(Mutex<Vec<(u32, u32, Vec<u8>)>>);

    impl Receiver for Log {
        fn message(&self, _vp: u32, connection: u32, type_: u32, payload: &[u8]) -> u16 {
            self.0
                .lock()
                .unwrap()
                .push((connection, type_, payload.to_vec()));
            SUCCESS
        }
        fn event(&self, _vp: u32, connection: u32, flag: u16) -> u16 {
            self.0
                .lock()
                .unwrap()
                .push((connection, u32::from(flag), Vec::new()));
            SUCCESS
        }
    }

    fn memory() -> Memory {
        crate::memory::allocate(1 << 16).unwrap()
    }

    #[test]
    fn post_message_reads_the_input_page() {
        let (memory, log) = (memory(), Log::default());
        memory
            .write_slice(
                &[4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 7, 8, 9],
                GuestAddress(0x1000),
            )
            .unwrap();
        assert_eq!(
            handle(&memory, &log, 0, POST_MESSAGE.into(), 0x1000),
            SUCCESS
        );
        assert_eq!(log.0.into_inner().unwrap(), [(4, 1, vec![7, 8, 9])]);
    }

    #[test]
    fn bad_inputs_have_their_status() {
        let (memory, log) = (memory(), Log::default());
        memory.write_obj(241u32, GuestAddress(0x100C)).unwrap();
        for (input, param, status) in [
            (u64::from(POST_MESSAGE), 0x1000, INVALID_PARAMETER),
            (u64::from(POST_MESSAGE), 0x1004, INVALID_ALIGNMENT),
            (u64::from(POST_MESSAGE), 0xFFFF_0000, INVALID_PARAMETER),
            (
                u64::from(POST_MESSAGE) | FAST,
                0x1000,
                INVALID_HYPERCALL_INPUT,
            ),
            (0x1234, 0, INVALID_HYPERCALL_CODE),
        ] {
            assert_eq!(
                handle(&memory, &log, 0, input, param),
                status,
                "{input:#x} {param:#x}"
            );
        }
        assert!(log.0.into_inner().unwrap().is_empty());
    }

    #[test]
    fn signal_event_in_both_forms() {
        let (memory, log) = (memory(), Log::default());
        memory
            .write_obj(0x0000_0005_0000_2001u64, GuestAddress(0x2000))
            .unwrap();
        assert_eq!(
            handle(&memory, &log, 0, u64::from(SIGNAL_EVENT) | FAST, 0x2001),
            SUCCESS
        );
        assert_eq!(
            handle(&memory, &log, 0, u64::from(SIGNAL_EVENT), 0x2000),
            SUCCESS
        );
        assert_eq!(
            log.0.into_inner().unwrap(),
            [(0x2001, 0, vec![]), (0x2001, 5, vec![])]
        );
    }
}
