// SPDX-License-Identifier: GPL-2.0

//! The fault table: misbehaviours of the host, each named, switched on for a device and a number of times.
//!
//! A fault is armed with `rlis-host ctl fault DEVICE NAME [COUNT] [VALUE]` and looked up at the one place in
//! the host that would misbehave. Names of the form `bus-*` concern the messages of VMBus itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;

/// Device name that matches every device.
pub const ANY: &str = "all";

/// The misbehaviours. `VALUE` in a description is the optional parameter of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// A packet whose length field says more than the ring holds.
    RingLengthTooLong,
    /// A packet whose length field is smaller than its descriptor.
    RingLengthTooShort,
    /// A packet whose data offset lies behind its end.
    RingOffsetBeyondEnd,
    /// A packet whose data offset lies inside its descriptor.
    RingOffsetTooSmall,
    /// A write index outside of the ring.
    RingWriteIndexOutside,
    /// After a packet was taken, a read index outside of the guest's ring, for VALUE milliseconds (default 500).
    RingReadIndexOutside,
    /// VALUE (default 40) small packets whose data offset lies inside their descriptor, all in the ring before the guest is
    /// signalled, and the proper one behind them.
    RingBadBurst,
    /// A packet of an unknown type before the proper one.
    UnknownPacketType,
    /// A payload cut down to VALUE bytes (default 8).
    ShortPacket,
    /// A completion without any payload.
    ZeroLengthCompletion,
    /// A completion sent twice.
    DuplicateCompletion,
    /// Before the proper completion, one for a request never sent (transaction VALUE, default 0x7fff0001).
    UnknownTransaction,
    /// A reply that never comes.
    NoReply,
    /// A reply that comes VALUE milliseconds late (default 1000).
    SlowReply,
    /// storvsp: a READ or WRITE is carried out VALUE milliseconds late (default 1000): only then are its data moved.
    HoldIo,
    /// storvsp: the completion of a command with the operation code VALUE (default 0, TEST UNIT READY) is cut to 8 bytes.
    SpoilOpcode,
    /// storvsp: the completion's operation is not COMPLETE_IO.
    WrongOperation,
    /// storvsp: sense data is announced although the SCSI status is good.
    SenseWithoutStatus,
    /// storvsp: the sense length says 255.
    SenseTooLong,
    /// storvsp: data_transfer_length says more than was asked for.
    TransferTooLong,
    /// storvsp: max_transfer_bytes of the properties is VALUE (default 0).
    MaxTransfer,
    /// storvsp: an unsolicited completion (transaction 0) before the proper one.
    UnsolicitedCompletion,
    /// storvsp: the request fails with SRB status VALUE (default 4, SRB_STATUS_ERROR), without sense data.
    SrbStatus,
    /// storvsp: the initialisation step fails with status VALUE (default 1). Keyboard, mouse and dynamic memory: the
    /// version is refused.
    InitStatus,
    /// storvsp: the request fails with CHECK CONDITION, sense key/ASC/ASCQ in VALUE as 0xKKAAQQ (default 0x031100).
    CheckCondition,
    /// Integration services: the message's icmsgsize is VALUE (default 0xffff).
    IcSize,
    /// Integration services: negotiation counts are VALUE (default 0xffff).
    IcVersionCount,
    /// Integration services: a message of an unknown type before the proper one.
    IcUnknownType,
    /// Integration services: the negotiation begins anew as soon as the guest has answered.
    IcNegotiateAgain,
    /// Integration services: what is said first is in the ring before the answer to OPENCHANNEL, and the guest is not
    /// signalled. Other devices: a packet is in the ring, and the guest is not signalled.
    NoSignal,
    /// Network: sends a frame whose RNDIS message has the type VALUE, before the proper one.
    NetMessageType,
    /// Network: sends a frame whose message says it has VALUE bytes, before the proper one.
    NetMessageLength,
    /// Network: sends a message whose frame begins at VALUE, before the proper one.
    NetDataOffset,
    /// Network: sends a frame of VALUE bytes (default 5), before the proper one.
    NetDataLength,
    /// Network: sends a frame whose per-packet information begins at VALUE (default 8), before the proper one.
    NetInfoOffset,
    /// Network: sends a frame with VALUE bytes of per-packet information, before the proper one.
    NetInfoLength,
    /// Network: sends a frame whose piece of information has VALUE bytes (default 0), before the proper one.
    NetInfoSize,
    /// Network: sends a frame whose piece of information has its value at VALUE, before the proper one.
    NetInfoValue,
    /// Network: sends a range that begins at VALUE, before the proper one.
    NetRangeOffset,
    /// Network: sends a range of VALUE bytes, before the proper one.
    NetRangeLength,
    /// Network: sends a packet that says it has VALUE ranges, before the proper one.
    NetRangeCount,
    /// Network: sends a packet that names the buffer VALUE, before the proper one.
    NetRangeSet,
    /// Network: sends a frame with transaction 0, before the proper one.
    NetTransactionZero,
    /// Network: sends the last piece of a coalesced frame alone, before the proper frame.
    NetPieceNoFirst,
    /// Network: sends a coalesced frame without its last piece, before the proper one.
    NetPieceNoLast,
    /// Network: sends a coalesced frame of VALUE pieces without a last one (default 563), before the proper one.
    NetPieceCount,
    /// Network: completes frames and requests of the guest with status VALUE (default 2).
    NetCompletionStatus,
    /// Network: does not answer an RNDIS request.
    NetNoAnswer,
    /// Network: answers an RNDIS request VALUE ms late.
    NetSlowAnswer,
    /// Network: answers an RNDIS request twice.
    NetAnswerTwice,
    /// Network: answers an RNDIS request that was never made, before the proper answer.
    NetAnswerId,
    /// Network: answers an RNDIS request with the type VALUE.
    NetAnswerType,
    /// Network: fails an RNDIS request with status VALUE.
    NetAnswerStatus,
    /// Network: answers an RNDIS request with a message of VALUE bytes (default 12).
    NetAnswerSize,
    /// Network: answers a question with a value that says it has VALUE bytes.
    NetAnswerLength,
    /// Network: answers a question with a value that begins at VALUE.
    NetAnswerOffset,
    /// Network: cuts the receive buffer into VALUE parts (default 2).
    NetReceiveParts,
    /// Network: cuts the receive buffer from VALUE on (default 4096).
    NetReceiveOffset,
    /// Network: cuts the receive buffer into sections of VALUE bytes (default 0).
    NetReceiveSection,
    /// Network: cuts the receive buffer into VALUE sections.
    NetReceiveCount,
    /// Network: cuts the send buffer into sections of VALUE bytes (default 0).
    NetSendSection,
    /// Network: takes VALUE frames in one packet (default 0).
    NetMaxFrames,
    /// Network: wants frames in one packet at multiples of two to the power of VALUE (default 40).
    NetAlignment,
    /// Network: takes large sends of VALUE bytes (default 0).
    NetLargeSend,
    /// Network: grants VALUE sub-channels (default 200).
    NetGrantMore,
    /// Network: grants sub-channels and offers none.
    NetGrantOnly,
    /// Network: sends a send table of VALUE entries (default 17).
    NetTableCount,
    /// Network: sends a send table that begins at VALUE.
    NetTableOffset,
    /// Network: sends a send table with an entry VALUE (default 63).
    NetTableEntry,
    /// Network: takes a packet filter for granted and keeps the one before.
    NetIgnoreFilter,
    /// Network: no answer to SWITCH_DATA_PATH, which is carried out.
    NetNoSwitch,
    /// Network: SWITCH_DATA_PATH is answered VALUE milliseconds late (default 1000).
    NetSlowSwitch,
    /// Network: the data path cannot be switched to the virtual function, as the host tells behind its answer.
    NetRefuseSwitch,
    /// Dynamic memory: the guest's capabilities are refused.
    MemoryRefuseCapabilities,
    /// Dynamic memory: asks for VALUE pages (default 0xffffffff).
    MemoryBalloonCount,
    /// Dynamic memory: asks for pages again before the guest has answered.
    MemoryTwice,
    /// Dynamic memory: asks to add the range VALUE (default 0: no pages).
    MemoryAddRange,
    /// Dynamic memory: names a region VALUE that the pages to add are not in (default: page 0).
    MemoryAddRegion,
    /// Dynamic memory: a message of the unknown type VALUE (default 99) before a request.
    MemoryMessageType,
    /// Dynamic memory: information of the unknown type VALUE (default 7), which says that it is longer than the message,
    /// before a request.
    MemoryInfo,
    /// Dynamic memory: information whose message says that it has VALUE bytes (default 0xffff), before a request.
    MemoryInfoSize,
    /// Dynamic memory: a hint that memory is free is refused with status VALUE (default 5, HV_STATUS_INVALID_PARAMETER).
    MemoryRefuseHint,
    /// Dynamic memory: a hint that memory is free succeeds, and nothing of it is done.
    MemoryStuckHint,
    /// No answer to INITIATE_CONTACT.
    BusNoVersionResponse,
    /// Every version is refused.
    BusRefuseVersion,
    /// The version is accepted, but connection_state says failure.
    BusConnectionState,
    /// No ALLOFFERS_DELIVERED.
    BusNoAllOffersDelivered,
    /// No answer to OPENCHANNEL.
    BusNoOpenResult,
    /// OPENCHANNEL fails.
    BusRefuseOpen,
    /// The answer to OPENCHANNEL carries another openid; the proper one follows.
    BusWrongOpenId,
    /// The offer is rescinded instead of an answer to OPENCHANNEL.
    BusRescindDuringOpen,
    /// The offer is withdrawn right behind the answer to OPENCHANNEL.
    BusRescindAfterOpen,
    /// OPENCHANNEL is answered VALUE milliseconds late (default 1000); a rescind of the channel waits for that.
    BusSlowOpenResult,
    /// A sub-channel is not withdrawn when the guest closes its primary channel; a socket's connection is not when both
    /// sides have shut down.
    BusNoRescind,
    /// No answer to GPADL_HEADER.
    BusNoGpadlCreated,
    /// The GPADL is refused.
    BusRefuseGpadl,
    /// No answer to GPADL_TEARDOWN.
    BusNoGpadlTorndown,
    /// No answer to MODIFYCHANNEL.
    BusNoModifyResponse,
    /// MODIFYCHANNEL is carried out, and answered VALUE milliseconds late (default 1000).
    BusSlowModifyResponse,
    /// MODIFYCHANNEL fails.
    BusRefuseModify,
    /// No answer to UNLOAD.
    BusNoUnloadResponse,
    /// Every message to the guest is cut down to VALUE bytes (default 8).
    BusShortMessage,
    /// A message of an unknown type before the proper one.
    BusUnknownMessage,
    /// The offer asks for confidential external memory without a confidential ring.
    BusBadOfferFlags,
    /// The offer's relid is VALUE (default 0xffff), which no channel can have.
    BusBadRelid,
    /// The offer is sent twice, the second time with a new relid.
    BusDuplicateOffer,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    count: u32,
    value: Option<u64>,
}

/// What is switched on at the moment.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<BTreeMap<(String, Fault), Armed>>,
}

impl Faults {
    fn armed(&self) -> MutexGuard<'_, BTreeMap<(String, Fault), Armed>> {
        // Every change is a single map operation.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches `fault` on for `device` ([`ANY`] for all), for the next `count` occasions.
    pub fn arm(&self, device: &str, fault: Fault, count: u32, value: Option<u64>) {
        let key = (device.to_string(), fault);
        if count == 0 {
            self.armed().remove(&key);
        } else {
            self.armed().insert(key, Armed { count, value });
        }
    }

    /// Switches everything off.
    pub fn clear(&self) {
        self.armed().clear();
    }

    /// Uses up one occasion of `fault` for `device` if it is armed. Returns its value, or `default` if it was
    /// armed without one.
    pub fn take(&self, device: &str, fault: Fault, default: u64) -> Option<u64> {
        self.take_if(device, fault, default, |_| true)
    }

    /// As [`Faults::take`], but only if `strikes` says so of the value: another occasion uses nothing up.
    pub fn take_if(
        &self,
        device: &str,
        fault: Fault,
        default: u64,
        strikes: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let mut armed = self.armed();
        for name in [device, ANY] {
            let key = (name.to_string(), fault);
            if let Some(entry) = armed.get_mut(&key) {
                let value = entry.value.unwrap_or(default);
                if !strikes(value) {
                    continue;
                }
                entry.count -= 1;
                if entry.count == 0 {
                    armed.remove(&key);
                }
                return Some(value);
            }
        }
        None
    }

    /// Whether one occasion of `fault` was used up, for faults without a value.
    pub fn hit(&self, device: &str, fault: Fault) -> bool {
        self.take(device, fault, 0).is_some()
    }

    /// Whether `fault` is armed for `device`. Uses up nothing.
    pub fn is_armed(&self, device: &str, fault: Fault) -> bool {
        let armed = self.armed();
        [device, ANY]
            .iter()
            .any(|name| armed.contains_key(&(name.to_string(), fault)))
    }

    /// What is armed, as lines of `device fault count`.
    pub fn list(&self) -> Vec<String> {
        self.armed()
            .iter()
            .map(|((device, fault), armed)| {
                let name = fault
                    .to_possible_value()
                    .map(|v| v.get_name().to_string())
                    .unwrap_or_default();
                format!("{device} {name} {}", armed.count)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn tree(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    /// The words of all scenarios of guests, without comments.
    fn scenario_words() -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for entry in fs::read_dir(tree("guest")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "sh" || e == "host") {
                let text = fs::read_to_string(path).unwrap();
                let code = text.lines().filter(|l| !l.trim_start().starts_with('#'));
                words.extend(code.flat_map(|l| {
                    l.split(|c: char| c.is_whitespace() || ";'\"()".contains(c))
                        .map(str::to_string)
                }));
            }
        }
        words
    }

    fn names() -> Vec<String> {
        let faults = Fault::value_variants().iter();
        faults
            .filter_map(|f| Some(f.to_possible_value()?.get_name().to_string()))
            .collect()
    }

    #[test]
    fn every_fault_is_fired_by_a_scenario() {
        let words = scenario_words();
        let missing: Vec<_> = names().into_iter().filter(|n| !words.contains(n)).collect();
        assert!(missing.is_empty(), "no scenario fires {missing:?}");
    }

    #[test]
    fn every_fault_stands_in_the_documentation() {
        let text = fs::read_to_string(tree("../Documentation/testing.md")).unwrap();
        let listed = |n: &String| text.lines().any(|l| l.starts_with(&format!("| `{n}` |")));
        let missing: Vec<_> = names().into_iter().filter(|n| !listed(n)).collect();
        assert!(missing.is_empty(), "the table of faults lacks {missing:?}");
    }

    #[test]
    fn a_fault_strikes_as_often_as_armed() {
        let faults = Faults::default();
        assert!(!faults.hit("scsi0", Fault::NoReply));
        faults.arm("scsi0", Fault::NoReply, 2, None);
        assert_eq!(faults.list(), ["scsi0 no-reply 2"]);
        assert!(faults.is_armed("scsi0", Fault::NoReply));
        assert!(!faults.is_armed("kvp", Fault::NoReply));
        assert!(
            !faults.hit("kvp", Fault::NoReply),
            "other devices are spared"
        );
        assert!(faults.hit("scsi0", Fault::NoReply));
        assert!(faults.hit("scsi0", Fault::NoReply));
        assert!(!faults.hit("scsi0", Fault::NoReply));
    }

    #[test]
    fn values_and_wildcards() {
        let faults = Faults::default();
        faults.arm(ANY, Fault::SlowReply, 1, Some(5));
        assert_eq!(faults.take("kvp", Fault::SlowReply, 1000), Some(5));
        faults.arm("kvp", Fault::SlowReply, 1, None);
        assert_eq!(faults.take("kvp", Fault::SlowReply, 1000), Some(1000));
        faults.arm("kvp", Fault::SlowReply, 1, None);
        faults.arm("kvp", Fault::SlowReply, 0, None);
        assert_eq!(
            faults.take("kvp", Fault::SlowReply, 1000),
            None,
            "a count of 0 disarms"
        );
    }

    #[test]
    fn an_occasion_that_is_not_meant_uses_nothing_up() {
        let faults = Faults::default();
        faults.arm("scsi0", Fault::SpoilOpcode, 1, Some(0x12));
        let strikes = |opcode: u64| {
            faults
                .take_if("scsi0", Fault::SpoilOpcode, 0, |value| value == opcode)
                .is_some()
        };
        assert!(!strikes(0x28) && !strikes(0));
        assert!(strikes(0x12));
        assert!(!strikes(0x12));
    }
}
