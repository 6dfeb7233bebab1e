// SPDX-License-Identifier: GPL-2.0

//! Key-value pairs: the host reads and changes the guest's pools and asks for addresses
//! (struct hv_kvp_msg and hv_kvp_ip_msg of include/uapi/linux/hyperv.h; text is UTF-16 on the wire).

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use clap::ValueEnum;
use rlis_proto::guid::class::HV_KVP_GUID;
use rlis_proto::ic::MessageType;

use super::{Component, Kind, Version};

/// The KVP component.
pub const KIND: Kind = Kind {
    name: "kvp",
    class: HV_KVP_GUID,
    instance: super::instance("242ff919-07db-4180-9c2e-b86cb68c8c55"),
    on_the_ring: false,
    type_: MessageType::ICMSGTYPE_KVPEXCHANGE,
    versions: &[Version::new(3, 0), Version::new(4, 0)],
};

/// HV_S_CONT: no more entries, or no such key.
const HV_S_CONT: u32 = 0x8007_0103;
/// Longer than the guest's own limit of 30 s, so that its time-out is seen as the reply that it is.
const REPLY: Duration = Duration::from_secs(60);
const KEY: usize = 512;
const VALUE: usize = 2048;
/// struct hv_kvp_exchg_msg_value: type, two sizes, key, value.
const EXCHANGE: usize = 12 + KEY + VALUE;
/// struct hv_kvp_msg; the largest member of its union is the address information.
const MESSAGE: usize = 4 + 7428;
/// struct hv_kvp_ip_msg.
const IP_MESSAGE: usize = 2 + IP_VALUE;
/// struct hv_kvp_ipaddr_value.
const IP_VALUE: usize = 256 + 2 + 2048 + 2048 + 1024 + 2048;

const OP_GET: u8 = 0;
const OP_SET: u8 = 1;
const OP_DELETE: u8 = 2;
const OP_ENUMERATE: u8 = 3;
const OP_GET_IP_INFO: u8 = 4;
const OP_SET_IP_INFO: u8 = 5;

const REG_SZ: u32 = 1;
const REG_U32: u32 = 4;
const REG_U64: u32 = 11;

/// The guest's pools, numbered as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pool {
    /// Written by the host, read by the guest.
    External = 0,
    /// Written by the guest.
    Guest = 1,
    /// What the guest's daemon knows about the system.
    Auto = 2,
    /// What the host tells about itself.
    AutoExternal = 3,
    /// Reserved for the guest's own use.
    AutoInternal = 4,
}

/// Type of a value that is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ValueType {
    /// REG_SZ, text.
    #[default]
    Text,
    /// REG_U32.
    U32,
    /// REG_U64.
    U64,
}

/// What GET_IP_INFO tells about an interface, and SET_IP_INFO sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpInfo {
    /// Addresses, separated by `;`.
    pub addresses: String,
    /// Netmasks in the same order.
    pub netmasks: String,
    /// Gateways.
    pub gateways: String,
    /// Name servers.
    pub dns: String,
    /// ADDR_FAMILY_*: bit 0 IPv4, bit 1 IPv6.
    pub family: u8,
    /// Whether the addresses come from DHCP.
    pub dhcp: bool,
}

/// Encodes `text` with a terminating zero; `limit` is the room in bytes.
fn utf16(text: &str, limit: usize, what: &str) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = text
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    ensure!(
        bytes.len() <= limit,
        "the {what} has {} bytes; at most {limit} fit",
        bytes.len()
    );
    Ok(bytes)
}

/// Decodes UTF-16 up to the first zero.
fn text(bytes: &[u8]) -> Result<String> {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]))
        .take_while(|u| *u != 0)
        .collect();
    String::from_utf16(&units).context("the guest sent text that is not UTF-16")
}

fn put(message: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    let end = at.checked_add(bytes.len()).context("out of range")?;
    message
        .get_mut(at..end)
        .context("out of range")?
        .copy_from_slice(bytes);
    Ok(())
}

fn get_u32(message: &[u8], at: usize) -> Result<u32> {
    let bytes = message.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes
        .map(u32::from_le_bytes)
        .context("the guest's reply is too short")
}

/// struct hv_kvp_exchg_msg_value at `at` of `message`.
fn put_exchange(message: &mut [u8], at: usize, key: &str, type_: u32, value: &[u8]) -> Result<()> {
    let key = utf16(key, KEY, "key")?;
    put(message, at, &type_.to_le_bytes())?;
    put(message, at + 4, &u32::try_from(key.len())?.to_le_bytes())?;
    put(message, at + 8, &u32::try_from(value.len())?.to_le_bytes())?;
    put(message, at + 12, &key)?;
    put(message, at + 12 + KEY, value)
}

/// Key and value from struct hv_kvp_exchg_msg_value at `at` of the guest's reply, with its sizes checked.
fn take_exchange(message: &[u8], at: usize) -> Result<(String, String)> {
    let exchange = message
        .get(at..at + EXCHANGE)
        .context("the guest's reply is too short")?;
    let (key_size, value_size) = (get_u32(exchange, 4)?, get_u32(exchange, 8)?);
    ensure!(
        key_size as usize <= KEY,
        "the guest's key has {key_size} bytes"
    );
    ensure!(
        value_size as usize <= VALUE,
        "the guest's value has {value_size} bytes"
    );
    let key = text(exchange.get(12..12 + KEY).unwrap_or_default())?;
    let value = text(exchange.get(12 + KEY..).unwrap_or_default())?;
    Ok((key, value))
}

fn message(operation: u8, pool: Pool) -> Vec<u8> {
    let mut message = vec![0; MESSAGE];
    message[0] = operation;
    message[1] = pool as u8;
    message
}

/// Sends a request. `Ok(None)` if the guest answers that there is no such entry.
fn request(component: &Component, message: &[u8]) -> Result<Option<Vec<u8>>> {
    let reply = component.request(message, REPLY)?;
    match reply.status {
        0 => Ok(Some(reply.body)),
        HV_S_CONT => Ok(None),
        status => bail!("the guest answered with status {status:#x}"),
    }
}

/// The value of `key`.
pub fn get(component: &Component, pool: Pool, key: &str) -> Result<String> {
    let mut message = message(OP_GET, pool);
    put_exchange(&mut message, 4, key, 0, &[])?;
    let reply = request(component, &message)?
        .with_context(|| format!("the guest has no key {key} in that pool"))?;
    take_exchange(&reply, 4).map(|(_, value)| value)
}

/// Sets `key` to `value`.
pub fn set(
    component: &Component,
    pool: Pool,
    key: &str,
    type_: ValueType,
    value: &str,
) -> Result<()> {
    let mut message = message(OP_SET, pool);
    let (type_, value) = match type_ {
        ValueType::Text => (REG_SZ, utf16(value, VALUE, "value")?),
        ValueType::U32 => (
            REG_U32,
            value
                .parse::<u32>()
                .context("the value is no 32-bit number")?
                .to_le_bytes()
                .to_vec(),
        ),
        ValueType::U64 => (
            REG_U64,
            value
                .parse::<u64>()
                .context("the value is no 64-bit number")?
                .to_le_bytes()
                .to_vec(),
        ),
    };
    put_exchange(&mut message, 4, key, type_, &value)?;
    request(component, &message)?.context("the guest refused the key")?;
    Ok(())
}

/// Deletes `key`.
pub fn delete(component: &Component, pool: Pool, key: &str) -> Result<()> {
    let mut message = message(OP_DELETE, pool);
    let bytes = utf16(key, KEY, "key")?;
    put(&mut message, 4, &u32::try_from(bytes.len())?.to_le_bytes())?;
    put(&mut message, 8, &bytes)?;
    request(component, &message)?
        .with_context(|| format!("the guest has no key {key} in that pool"))?;
    Ok(())
}

/// Entry `index` of a pool, `None` behind the last.
pub fn entry(component: &Component, pool: Pool, index: u32) -> Result<Option<(String, String)>> {
    let mut message = message(OP_ENUMERATE, pool);
    put(&mut message, 4, &index.to_le_bytes())?;
    request(component, &message)?
        .map(|reply| take_exchange(&reply, 8))
        .transpose()
}

/// All entries of a pool.
pub fn enumerate(component: &Component, pool: Pool) -> Result<Vec<(String, String)>> {
    let mut entries = Vec::new();
    while let Some(next) = entry(component, pool, u32::try_from(entries.len())?)? {
        entries.push(next);
        ensure!(entries.len() < 100_000, "the guest's pool has no end");
    }
    Ok(entries)
}

/// Offsets of the text fields in struct hv_kvp_ipaddr_value, with their sizes: adapter, addresses, netmasks,
/// gateways, name servers.
const IP_FIELDS: [(usize, usize); 5] = [
    (0, 256),
    (258, 2048),
    (2306, 2048),
    (4354, 1024),
    (5378, 2048),
];

fn ip_message(operation: u8, adapter: &str, info: &IpInfo) -> Result<Vec<u8>> {
    let mut message = vec![0; IP_MESSAGE];
    message[0] = operation;
    let texts = [
        adapter,
        &info.addresses,
        &info.netmasks,
        &info.gateways,
        &info.dns,
    ];
    for ((at, len), value) in IP_FIELDS.into_iter().zip(texts) {
        put(&mut message, 2 + at, &utf16(value, len, "address field")?)?;
    }
    message[2 + 256] = info.family;
    message[2 + 257] = info.dhcp.into();
    Ok(message)
}

/// Addresses of the network interface whose VMBus instance or MAC address is `adapter`.
pub fn get_ip_info(component: &Component, adapter: &str) -> Result<IpInfo> {
    let message = ip_message(
        OP_GET_IP_INFO,
        adapter,
        &IpInfo {
            family: 3,
            ..IpInfo::default()
        },
    )?;
    let reply = request(component, &message)?
        .with_context(|| format!("the guest has no interface {adapter}"))?;
    let field = |(at, len): (usize, usize)| {
        text(
            reply
                .get(2 + at..2 + at + len)
                .context("the guest's reply is too short")?,
        )
    };
    Ok(IpInfo {
        addresses: field(IP_FIELDS[1])?,
        netmasks: field(IP_FIELDS[2])?,
        gateways: field(IP_FIELDS[3])?,
        dns: field(IP_FIELDS[4])?,
        family: *reply
            .get(2 + 256)
            .context("the guest's reply is too short")?,
        dhcp: reply.get(2 + 257) == Some(&1),
    })
}

/// Sets the addresses of a network interface.
pub fn set_ip_info(component: &Component, adapter: &str, info: &IpInfo) -> Result<()> {
    let message = ip_message(OP_SET_IP_INFO, adapter, info)?;
    request(component, &message)?
        .with_context(|| format!("the guest has no interface {adapter}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_those_of_the_c_structs() {
        assert_eq!(EXCHANGE, 2572);
        assert_eq!(IP_MESSAGE, 7428);
        assert_eq!(IP_FIELDS[4].0 + IP_FIELDS[4].1, IP_VALUE);
    }

    proptest! {
        #[test]
        fn keys_and_values_survive(key in "[^\0]{0,100}", value in "[^\0]{0,400}") {
            let mut bytes = vec![0; MESSAGE];
            put_exchange(&mut bytes, 4, &key, REG_SZ, &utf16(&value, VALUE, "value").unwrap()).unwrap();
            prop_assert_eq!(take_exchange(&bytes, 4).unwrap(), (key, value));
        }

        #[test]
        fn any_reply_is_safe(bytes in proptest::collection::vec(any::<u8>(), 0..3000), at in 0usize..3000) {
            let _ = take_exchange(&bytes, at);
        }
    }

    #[test]
    fn too_long_keys_are_refused() {
        assert!(put_exchange(&mut vec![0; MESSAGE], 4, &"k".repeat(256), REG_SZ, &[]).is_err());
        put_exchange(&mut vec![0; MESSAGE], 4, &"k".repeat(255), REG_SZ, &[]).unwrap();
    }
}
