// SPDX-License-Identifier: GPL-2.0

//! What a driver's answer to a device means.

/// `-ENXIO`.
const ENXIO: i32 = -6;
/// `-ENODEV`.
const ENODEV: i32 = -19;
/// `-EPROBE_DEFER`.
const EPROBE_DEFER: i32 = -517;

/// Whether what a driver's probe returned is a failure that somebody should hear of.
///
/// A driver that does not want a device, or finds that it has gone, says `-ENODEV` or `-ENXIO`, and one that wants to be asked
/// again later `-EPROBE_DEFER`. The driver core keeps quiet about these, too.
pub fn is_failure(errno: i32) -> bool {
    !matches!(errno, 0 | ENXIO | ENODEV | EPROBE_DEFER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_does_not_want_a_device_has_not_failed() {
        for errno in [0, -6, -19, -517] {
            assert!(!is_failure(errno));
        }
        for errno in [-11, -12, -22, -110] {
            assert!(is_failure(errno));
        }
    }
}
