// SPDX-License-Identifier: GPL-2.0

//! What the device is called, and how sizes, places and messages are written.

use clap::ValueEnum;
use rlis_proto::balloon::Version;

use crate::size::parse_size;

/// Name of the device in commands.
pub const NAME: &str = "memory";
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Reads `major.minor`.
pub fn parse_version(text: &str) -> Result<Version, String> {
    let written = |v: &Version| format!("{}.{}", v.major(), v.minor());
    let mut known = Version::NEWEST_FIRST.into_iter();
    known
        .find(|v| written(v) == text)
        .ok_or_else(|| format!("'{text}' is no version of dynamic memory; there are 0.3, 1.0, 2.0"))
}

/// Reads a size that is made of pages, and no more of them than a message can say.
pub fn parse_pages(text: &str) -> Result<u32, String> {
    let size = parse_size(text)?;
    u32::try_from(size / PAGE)
        .ok()
        .filter(|_| size % PAGE == 0)
        .ok_or_else(|| format!("'{text}' is not made of pages of {PAGE} bytes"))
}

/// Reads an offset that is made of pages.
pub fn parse_offset(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    parse_pages(text).map(u64::from)
}

/// Reads a message in hexadecimal digits.
pub fn parse_hex(text: &str) -> Result<Message, String> {
    let digit = |c: char| c.to_digit(16).and_then(|d| u8::try_from(d).ok());
    let digits: Option<Vec<u8>> = text.chars().map(digit).collect();
    digits
        .filter(|digits| digits.len() % 2 == 0)
        .map(|digits| {
            Message(
                digits
                    .chunks(2)
                    .map(|pair| (pair[0] << 4) | pair[1])
                    .collect(),
            )
        })
        .ok_or_else(|| format!("'{text}' is not made of bytes in hexadecimal digits"))
}

/// A message as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(pub Vec<u8>);

/// What a hot-add request says of the region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Named {
    /// All of it.
    #[default]
    Whole,
    /// That it was named before: zero.
    Again,
    /// Nothing: the message ends before it.
    None,
}
