// SPDX-License-Identifier: GPL-2.0

//! What a user can see and set of an interface, as values.

use crate::device::NetDevice;

/// What is known of a link.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkSettings {
    /// Megabits in a second; `None` if that is not known.
    pub speed: Option<u32>,
    /// Whether both ends send at the same time.
    pub duplex: Duplex,
}

/// Whether both ends of a link send at the same time, with the numbers of `DUPLEX_*`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
pub enum Duplex {
    /// One at a time.
    Half = 0,
    /// Both.
    #[default]
    Full = 1,
    /// That is not known.
    Unknown = 0xff,
}

impl From<u8> for Duplex {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Half,
            1 => Self::Full,
            _ => Self::Unknown,
        }
    }
}

/// What `ethtool -d` dumps of a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// Tells programs how to read it.
    pub version: u32,
    /// How many words of 32 bits it has; 0 if there is nothing to dump.
    pub words: u16,
}

/// How long the queues of buffers are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rings {
    /// Buffers for frames received.
    pub rx: u32,
    /// Buffers for frames to be sent.
    pub tx: u32,
    /// The most that [`Self::rx`] can be.
    pub max_rx: u32,
    /// The most that [`Self::tx`] can be.
    pub max_tx: u32,
}

/// The name of a statistic of a queue, or of a CPU: its number stands between these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueStatistics(pub &'static str, pub &'static str);

/// What a user wants of receive-side scaling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableChange<'a> {
    /// Which queue a flow goes to, by the remainder of its hash; below the number of queues in use.
    pub table: Option<&'a [u32]>,
    /// The key of the hash.
    pub key: Option<&'a [u8; crate::HASH_KEY_SIZE]>,
}

/// Which frames an interface wants to receive, beside those to its own address and to all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RxMode {
    /// All (`IFF_PROMISC`).
    pub promiscuous: bool,
    /// All that are addressed to groups (`IFF_ALLMULTI`).
    pub all_multicast: bool,
    /// Those that are addressed to some groups.
    pub multicast: bool,
}

impl NetDevice {
    /// Returns which frames the interface wants to receive. It may want others by then, but [`Driver::rx_mode`] is called
    /// after each change.
    pub fn rx_mode(&self) -> RxMode {
        let dev = self.as_raw();
        // SAFETY: By the type invariant; others may write the field, so it is read once.
        let flags = unsafe { (&raw const (*dev).flags).read_volatile() };
        RxMode {
            promiscuous: flags & rlis_sys_net::net_device_flags_IFF_PROMISC != 0,
            all_multicast: flags & rlis_sys_net::net_device_flags_IFF_ALLMULTI != 0,
            // SAFETY: As above; a single field is read.
            multicast: unsafe { rlis_sys_net::net_has_multicast(dev) },
        }
    }
}
