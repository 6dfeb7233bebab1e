// SPDX-License-Identifier: GPL-2.0

//! The few terms of ACPI's machine language that our DSDT needs (ACPI 6.5 chapters 6.4 and 20). The crate for it,
//! `acpi_tables`, needs a newer compiler than the one that the test host is built with.

/// Longest package that a one- to three-byte length can tell.
const MAX_PACKAGE: usize = 1 << 20;

/// `PkgLength` and `body`: the length counts itself.
fn package(body: &[u8]) -> Vec<u8> {
    let len = body.len();
    assert!(len < MAX_PACKAGE - 3, "our tables are small");
    let low = |n: usize, shift: u32| ((n >> shift) & 0xFF) as u8;
    let mut out = match len + 1 {
        total @ ..=0x3F => vec![low(total, 0)],
        total @ ..=0xFFE => vec![0x40 | (low(total + 1, 0) & 0xF), low(total + 1, 4)],
        total => vec![
            0x80 | (low(total + 2, 0) & 0xF),
            low(total + 2, 4),
            low(total + 2, 12),
        ],
    };
    out.extend(body);
    out
}

fn concat(prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    parts.iter().for_each(|p| out.extend(*p));
    out
}

/// A byte constant.
pub fn byte(value: u8) -> Vec<u8> {
    vec![0x0A, value]
}

/// A string constant.
pub fn string(text: &str) -> Vec<u8> {
    concat(&[0x0D], &[text.as_bytes(), &[0]])
}

/// The number that stands for an EISA id: three letters and four hexadecimal digits.
pub fn eisa_id(letters: &[u8; 3], number: u16) -> Vec<u8> {
    let packed = letters
        .iter()
        .fold(0u16, |id, letter| (id << 5) | u16::from(letter & 0x1F));
    let value = (u32::from(packed) << 16) | u32::from(number);
    // The id is big-endian in a little-endian world.
    concat(&[0x0C], &[&value.to_be_bytes()])
}

/// `Name (NAME, value)`.
pub fn name(segment: &[u8; 4], value: &[u8]) -> Vec<u8> {
    concat(&[0x08], &[segment, value])
}

/// `Package () { elements }`.
pub fn package_of(elements: &[&[u8]]) -> Vec<u8> {
    let count = elements.len().min(255) as u8;
    concat(&[0x12], &[&package(&concat(&[count], elements))])
}

/// `Device (NAME) { terms }`.
pub fn device(segment: &[u8; 4], terms: &[&[u8]]) -> Vec<u8> {
    concat(&[0x5B, 0x82], &[&package(&concat(segment, terms))])
}

/// `Scope (\NAME) { terms }`.
pub fn scope(segment: &[u8; 4], terms: &[&[u8]]) -> Vec<u8> {
    let path = concat(b"\\", &[segment]);
    concat(&[0x10], &[&package(&concat(&path, terms))])
}

/// `ResourceTemplate () { descriptors }`: a buffer that ends with an end tag.
pub fn resource_template(descriptors: &[&[u8]]) -> Vec<u8> {
    // A checksum of 0 means that there is none.
    let bytes = concat(&concat(&[], descriptors), &[&[0x79, 0]]);
    let len = u16::try_from(bytes.len()).expect("our templates are small");
    let body = concat(&[0x0B], &[&len.to_le_bytes(), &bytes]);
    concat(&[0x11], &[&package(&body)])
}

/// General flags of an address space descriptor: minimum and maximum are fixed.
const FIXED: u8 = 0x0C;
/// Memory flags: read and write, not cacheable.
const READ_WRITE: u8 = 1;

/// A 32-bit memory range that the device produces or uses.
pub fn dword_memory(start: u32, len: u32) -> Vec<u8> {
    let mut out = vec![0x87, 23, 0, 0, FIXED, READ_WRITE];
    for value in [0, start, start + (len - 1), 0, len] {
        out.extend(value.to_le_bytes());
    }
    out
}

/// A 64-bit memory range that the device produces or uses.
pub fn qword_memory(start: u64, len: u64) -> Vec<u8> {
    let mut out = vec![0x8A, 43, 0, 0, FIXED, READ_WRITE];
    for value in [0, start, start + (len - 1), 0, len] {
        out.extend(value.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_lengths_as_in_the_specification() {
        assert_eq!(package(&[0; 3])[..1], [4]);
        assert_eq!(package(&[0; 62])[..1], [63]);
        // 63 bytes and a length of two: 65 = 0x041.
        assert_eq!(package(&[0; 63])[..2], [0x41, 0x04]);
        // 5000 bytes and a length of three: 5003 = 0x0138B.
        assert_eq!(package(&[0; 5000])[..3], [0x8B, 0x38, 0x01]);
    }

    #[test]
    fn eisa_ids_as_iasl_writes_them() {
        // iasl compiles EisaId("PNP0A03") to 0C 41 D0 0A 03.
        assert_eq!(eisa_id(b"PNP", 0x0A03), [0x0C, 0x41, 0xD0, 0x0A, 0x03]);
    }

    #[test]
    fn descriptors_have_their_length() {
        assert_eq!(dword_memory(0, 1).len(), 3 + 23);
        assert_eq!(qword_memory(0, 1).len(), 3 + 43);
    }
}
