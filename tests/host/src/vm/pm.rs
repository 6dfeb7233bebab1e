// SPDX-License-Identifier: GPL-2.0

//! ACPI fixed hardware (ACPI 6.5 chapter 4.8): the PM1 registers, the PM timer and the reset register.

use std::time::Instant;

use super::Outcome;

/// PM1a event block: status (2 bytes) and enable (2 bytes).
pub const PM1_EVENT: u16 = 0x600;
/// PM1a control block (2 bytes).
pub const PM1_CONTROL: u16 = 0x604;
/// Power management timer (4 bytes, 3.579545 MHz, 32 bits).
pub const PM_TIMER: u16 = 0x608;
/// Reset register (1 byte).
pub const RESET: u16 = 0x60C;
/// What the guest writes to [`RESET`].
pub const RESET_VALUE: u8 = 1;
/// SLP_TYP value of the S4 state, as the DSDT's `_S4` names it.
pub const SLP_TYP_S4: u8 = 4;
/// SLP_TYP value of the S5 state, as the DSDT's `_S5` names it.
pub const SLP_TYP_S5: u8 = 5;

const LAST: u16 = RESET;
const TIMER_HZ: u128 = 3_579_545;
const SCI_EN: u16 = 1;
const SLP_EN: u16 = 1 << 13;

/// The registers' state.
#[derive(Debug)]
pub struct Pm {
    started: Instant,
    enable: u16,
    control: u16,
}

impl Pm {
    /// Registers as after power-on; the timer starts now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            enable: 0,
            control: SCI_EN,
        }
    }

    /// Whether `port` is one of the registers here.
    pub fn owns(port: u16) -> bool {
        (PM1_EVENT..=LAST).contains(&port)
    }

    /// Value of the register at `port`, 32 bits wide; the caller cuts it to the width of the access.
    pub fn read(&self, port: u16) -> u32 {
        match port {
            // Nothing ever raises an event, so the status register stays 0.
            PM1_EVENT => u32::from(self.enable) << 16,
            p if p == PM1_EVENT + 2 => u32::from(self.enable),
            PM1_CONTROL => u32::from(self.control),
            PM_TIMER => {
                let ticks = self.started.elapsed().as_nanos() * TIMER_HZ / 1_000_000_000;
                // The counter wraps at 32 bits.
                (ticks & u128::from(u32::MAX)) as u32
            }
            _ => 0,
        }
    }

    /// A write of up to 4 bytes. Returns how the run ends if the write asks for it.
    pub fn write(&mut self, port: u16, value: u32) -> Option<Outcome> {
        let low = (value & 0xFFFF) as u16;
        match port {
            p if p == PM1_EVENT + 2 => self.enable = low,
            PM1_CONTROL => {
                // SLP_EN is write-only and reads as 0.
                self.control = (low & !SLP_EN) | SCI_EN;
                if low & SLP_EN != 0 {
                    let sleep_type = (low >> 10) & 7;
                    // A guest that has written itself to its disk is off like another.
                    let off = [SLP_TYP_S4, SLP_TYP_S5].map(u16::from);
                    return Some(if off.contains(&sleep_type) {
                        Outcome::PowerOff
                    } else {
                        Outcome::Fault(format!(
                            "the guest asked for sleep type {sleep_type}, which is not offered"
                        ))
                    });
                }
            }
            RESET if low & 0xFF == u16::from(RESET_VALUE) => return Some(Outcome::Reset),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_powers_off() {
        let mut pm = Pm::new();
        assert_eq!(pm.write(PM1_CONTROL, 5 << 10), None);
        assert_eq!(
            pm.write(PM1_CONTROL, (5 << 10) | u32::from(SLP_EN)),
            Some(Outcome::PowerOff)
        );
    }

    #[test]
    fn other_sleep_types_are_faults() {
        let mut pm = Pm::new();
        assert!(matches!(
            pm.write(PM1_CONTROL, (1 << 10) | u32::from(SLP_EN)),
            Some(Outcome::Fault(_))
        ));
    }

    #[test]
    fn reset_needs_its_value() {
        let mut pm = Pm::new();
        assert_eq!(pm.write(RESET, 0), None);
        assert_eq!(
            pm.write(RESET, u32::from(RESET_VALUE)),
            Some(Outcome::Reset)
        );
    }

    #[test]
    fn acpi_mode_is_always_on() {
        let mut pm = Pm::new();
        pm.write(PM1_CONTROL, 0);
        assert_eq!(pm.read(PM1_CONTROL) & u32::from(SCI_EN), 1);
    }
}
