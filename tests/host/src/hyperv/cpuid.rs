// SPDX-License-Identifier: GPL-2.0

//! The hypervisor CPUID leaves of TLFS chapter 2, with the features that KVM emulates.

use clap::ValueEnum;

/// How the guest's synthetic timers are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Stimer {
    /// Not at all: the guest uses its local APIC timer.
    #[default]
    Off,
    /// Expiry is a SynIC message, which the VMBus driver has to pass on.
    Message,
    /// Expiry is an interrupt of its own (direct mode).
    Direct,
}

/// What of the hypervisor is offered to the guest, beyond what every guest gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// Synthetic timers.
    pub stimer: Stimer,
    /// A TSC that goes on evenly for ever, so that the guest may take its time from it rather than from the reference TSC
    /// page (HV_ACCESS_TSC_INVARIANT, as hosts offer from Windows Server 2019 on).
    pub invariant_tsc: bool,
    /// Extended hypercalls, by which hints of free memory are given.
    pub cold_discard: bool,
}

/// HV_X64_MSR_VP_RUNTIME may be read (bits of leaf 0x40000003 EAX, TLFS 2.4.5 partition privileges).
const ACCESS_VP_RUNTIME: u32 = 1 << 0;
/// HV_X64_MSR_TIME_REF_COUNT may be read.
const ACCESS_REF_COUNTER: u32 = 1 << 1;
/// The SynIC registers may be used.
const ACCESS_SYNIC: u32 = 1 << 2;
/// The synthetic timer registers may be used.
const ACCESS_STIMER: u32 = 1 << 3;
/// HV_X64_MSR_EOI, ICR and TPR may be used.
const ACCESS_APIC: u32 = 1 << 4;
/// GUEST_OS_ID and HYPERCALL may be written.
const ACCESS_HYPERCALL: u32 = 1 << 5;
/// HV_X64_MSR_VP_INDEX may be read.
const ACCESS_VP_INDEX: u32 = 1 << 6;
/// HV_X64_MSR_REFERENCE_TSC may be used.
const ACCESS_REFERENCE_TSC: u32 = 1 << 9;
/// TSC_FREQUENCY and APIC_FREQUENCY may be read.
const ACCESS_FREQUENCY: u32 = 1 << 11;
/// HV_X64_MSR_TSC_INVARIANT_CONTROL may be written.
const ACCESS_TSC_INVARIANT: u32 = 1 << 15;
/// HvPostMessage is allowed (EBX).
const POST_MESSAGES: u32 = 1 << 4;
/// HvSignalEvent is allowed (EBX).
const SIGNAL_EVENTS: u32 = 1 << 5;
/// HvExtCallQueryCapabilities and what it tells of are allowed (EBX).
const EXTENDED_HYPERCALLS: u32 = 1 << 20;
/// The frequency registers exist (EDX).
const FREQUENCY_MSRS: u32 = 1 << 8;
/// The crash registers exist (EDX).
const CRASH_MSRS: u32 = 1 << 10;
/// Synthetic timers can interrupt directly (EDX).
const DIRECT_STIMER: u32 = 1 << 19;
/// Recommendation (leaf 0x40000004 EAX): do not watch for late interrupts in lockup detectors.
const RELAXED_TIMING: u32 = 1 << 5;
/// Recommendation: do not use the automatic EOI of the SynIC.
const NO_AUTO_EOI: u32 = 1 << 9;

/// The leaves as `(function, [eax, ebx, ecx, edx])`.
pub fn leaves(features: Features) -> [(u32, [u32; 4]); 6] {
    let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
    let mut privileges = ACCESS_VP_RUNTIME
        | ACCESS_REF_COUNTER
        | ACCESS_SYNIC
        | ACCESS_APIC
        | ACCESS_HYPERCALL
        | ACCESS_VP_INDEX
        | ACCESS_REFERENCE_TSC
        | ACCESS_FREQUENCY;
    let mut calls = POST_MESSAGES | SIGNAL_EVENTS;
    if features.cold_discard {
        calls |= EXTENDED_HYPERCALLS;
    }
    let mut misc = FREQUENCY_MSRS | CRASH_MSRS;
    if features.invariant_tsc {
        privileges |= ACCESS_TSC_INVARIANT;
    }
    match features.stimer {
        Stimer::Off => {}
        Stimer::Message => privileges |= ACCESS_STIMER,
        Stimer::Direct => {
            privileges |= ACCESS_STIMER;
            misc |= DIRECT_STIMER;
        }
    }
    [
        (
            0x4000_0000,
            [0x4000_0005, word(b"Micr"), word(b"osof"), word(b"t Hv")],
        ),
        (0x4000_0001, [word(b"Hv#1"), 0, 0, 0]),
        // Build, version (major.minor 10.0), service pack, branch: what Windows Server 2022 says.
        (0x4000_0002, [20348, 10 << 16, 0, 0]),
        (0x4000_0003, [privileges, calls, 0, misc]),
        // EBX: never recommend a hypercall instead of spinning.
        (0x4000_0004, [RELAXED_TIMING | NO_AUTO_EOI, u32::MAX, 0, 0]),
        // Limits: virtual processors, logical processors.
        (0x4000_0005, [240, 240, 0, 0]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_what_linux_looks_for() {
        let all = leaves(Features::default());
        let text: Vec<u8> = all[0].1[1..].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(text, b"Microsoft Hv");
        // The first register of leaf 0 is the number of the last leaf.
        assert_eq!(all[0].1[0], all[all.len() - 1].0);
    }

    #[test]
    fn features_are_offered_as_asked() {
        let with = |stimer| {
            let features = Features {
                stimer,
                ..Features::default()
            };
            leaves(features)[3].1
        };
        assert_eq!(with(Stimer::Off)[0] & ACCESS_STIMER, 0);
        assert_ne!(with(Stimer::Message)[0] & ACCESS_STIMER, 0);
        assert_eq!(with(Stimer::Message)[3] & DIRECT_STIMER, 0);
        assert_ne!(with(Stimer::Direct)[3] & DIRECT_STIMER, 0);
        assert_eq!(with(Stimer::Off)[0] & ACCESS_TSC_INVARIANT, 0);
        let features = Features {
            invariant_tsc: true,
            ..Features::default()
        };
        assert_ne!(leaves(features)[3].1[0] & ACCESS_TSC_INVARIANT, 0);
        assert_eq!(leaves(features)[3].1[1] & EXTENDED_HYPERCALLS, 0);
        let features = Features {
            cold_discard: true,
            ..Features::default()
        };
        assert_ne!(leaves(features)[3].1[1] & EXTENDED_HYPERCALLS, 0);
    }
}
