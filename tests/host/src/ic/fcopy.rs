// SPDX-License-Identifier: GPL-2.0

//! File copy: the host writes a file into the guest (struct hv_start_fcopy and hv_do_fcopy).

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rlis_proto::guid::class::HV_FCOPY_GUID;
use rlis_proto::ic::MessageType;

use super::{Component, Kind, Version};

/// The file copy component.
pub const KIND: Kind = Kind {
    name: "fcopy",
    class: HV_FCOPY_GUID,
    instance: super::instance("eb765408-105f-49b6-b4aa-c123b64d17d4"),
    on_the_ring: true,
    type_: MessageType::ICMSGTYPE_FCOPY,
    versions: &[Version::new(1, 0), Version::new(1, 1)],
};

const START: u32 = 0;
const WRITE: u32 = 1;
const COMPLETE: u32 = 2;
const CANCEL: u32 = 3;
/// File name and path name: 260 UTF-16 units each (W_MAX_PATH).
const NAME: usize = 520;
/// Most bytes of the file in one message (DATA_FRAGMENT).
const FRAGMENT: usize = 6 * 1024;
const REPLY: Duration = Duration::from_secs(60);

/// Replace an existing file (OVER_WRITE).
pub const OVERWRITE: u32 = 1;
/// Make missing folders (CREATE_PATH).
pub const CREATE_PATH: u32 = 2;

/// struct hv_fcopy_hdr: the operation and two unused identifiers.
fn header(operation: u32) -> Vec<u8> {
    let mut bytes = operation.to_le_bytes().to_vec();
    bytes.resize(36, 0);
    bytes
}

/// struct hv_start_fcopy, 1088 bytes.
fn start(folder: &str, name: &str, flags: u32, size: u64) -> Result<Vec<u8>> {
    let mut body = header(START);
    for (text, what) in [(name, "file name"), (folder, "folder")] {
        let mut field: Vec<u8> = text
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        ensure!(
            field.len() <= NAME,
            "the {what} is longer than 259 characters"
        );
        field.resize(NAME, 0);
        body.extend(field);
    }
    body.extend(flags.to_le_bytes());
    body.extend(size.to_le_bytes());
    Ok(body)
}

/// struct hv_do_fcopy, 6196 bytes whatever the fragment's size is.
fn fragment(offset: u64, data: &[u8]) -> Result<Vec<u8>> {
    let mut body = header(WRITE);
    body.extend([0; 4]);
    body.extend(offset.to_le_bytes());
    body.extend(u32::try_from(data.len())?.to_le_bytes());
    body.extend(data);
    body.resize(36 + 16 + FRAGMENT, 0);
    Ok(body)
}

fn send(component: &Component, body: &[u8], what: &str) -> Result<()> {
    let reply = component.request(body, REPLY)?;
    ensure!(
        reply.status == 0,
        "the guest answered to {what} with status {:#x}",
        reply.status
    );
    Ok(())
}

/// The bytes that a command names: a file, `text:…` or `pattern:N`.
pub fn source(name: &str) -> Result<Vec<u8>> {
    if let Some(text) = name.strip_prefix("text:") {
        return Ok(text.as_bytes().to_vec());
    }
    if let Some(len) = name.strip_prefix("pattern:") {
        let len: usize = len.parse().context("the pattern's length is no number")?;
        // A prime, so that no fragment equals the one before.
        return Ok((0..=250u8).cycle().take(len).collect());
    }
    std::fs::read(name).with_context(|| format!("cannot read {name}"))
}

/// Copies `data` into the guest as `folder`/`name`. On failure the guest is told to remove what it has.
pub fn copy(
    component: &Component,
    folder: &str,
    name: &str,
    flags: u32,
    data: &[u8],
) -> Result<()> {
    send(
        component,
        &start(folder, name, flags, u64::try_from(data.len())?)?,
        "the start of the copy",
    )?;
    let result = (|| {
        for (index, part) in data.chunks(FRAGMENT).enumerate() {
            let offset = u64::try_from(index * FRAGMENT)?;
            send(component, &fragment(offset, part)?, "a fragment")?;
        }
        send(component, &header(COMPLETE), "the end of the copy")
    })();
    if result.is_err() {
        let _ = component.request(&header(CANCEL), REPLY);
    }
    result.context("the copy was cancelled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        assert_eq!(source("text:abc").unwrap(), b"abc");
        let pattern = source("pattern:600").unwrap();
        assert_eq!((pattern.len(), pattern[250], pattern[251]), (600, 250, 0));
        assert!(source("pattern:x").is_err());
        assert!(source("/nowhere/at/all").is_err());
    }

    #[test]
    fn messages_have_the_sizes_of_the_c_structs() {
        assert_eq!(start("/tmp", "x", OVERWRITE, 5).unwrap().len(), 1088);
        assert_eq!(fragment(0, b"hello").unwrap().len(), 6196);
        assert!(start("/tmp", &"x".repeat(260), 0, 0).is_err());
    }
}
