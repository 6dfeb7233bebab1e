// SPDX-License-Identifier: GPL-2.0

//! What must hold for every text that goes to a daemon or to the host.

/// Length of the UTF-8 text in `field`, which must end with a NUL inside of the field.
///
/// # Panics
///
/// If there is no NUL, or the text is no UTF-8.
pub fn utf8(field: &[u8]) -> usize {
    let len = field.iter().position(|&b| b == 0);
    let len = len.expect("text for the daemon without a NUL");
    std::str::from_utf8(&field[..len]).expect("text for the daemon that is no UTF-8");
    len
}

/// Length, in bytes, of the UTF-16LE text in `field`, which must end with a NUL inside of the field.
///
/// # Panics
///
/// If there is no NUL, or the text is no UTF-16.
pub fn utf16(field: &[u8]) -> usize {
    let units: Vec<u16> = field
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    let len = units.iter().position(|&unit| unit == 0);
    let len = len.expect("text for the host without a NUL");
    String::from_utf16(&units[..len]).expect("text for the host that is no UTF-16");
    2 * len
}
