// SPDX-License-Identifier: GPL-2.0

//! Numbers for the host and for debugfs.

use core::fmt::{
    self,
    Write, //
};
use kernel::sync::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    Arc, //
};
use rlis_mem::{
    HotPlug,
    Show,
    Text, //
};
use rlis_proto::balloon::{
    MemoryState,
    Pressure,
    Version, //
};

/// What the driver is doing, by the numbers of the C driver's `enum hv_dm_state`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Initializing = 0,
    /// It waits for the host.
    Initialized = 1,
    BalloonUp = 2,
    BalloonDown = 3,
    HotAdd = 4,
    /// There is no channel.
    InitError = 5,
}

impl Doing {
    const fn name(of: u32) -> &'static str {
        match of {
            0 => "Initializing",
            1 => "Initialized",
            2 => "Balloon Up",
            3 => "Balloon Down",
            4 => "Hot Add",
            5 => "Error",
            _ => "Unknown",
        }
    }
}

/// The numbers.
pub(crate) struct Counters {
    doing: Atomic<u32>,
    version: Atomic<u32>,
    /// Pages that are with the host.
    ballooned: Atomic<u64>,
    /// Most pages that there will be, as the host says.
    max: Atomic<u64>,
    plug: Option<Arc<HotPlug>>,
}

impl Counters {
    /// Makes them. `plug` knows what was added.
    pub(crate) fn new(plug: Option<Arc<HotPlug>>) -> Self {
        Self {
            doing: Atomic::new(Doing::Initializing as u32),
            version: Atomic::new(0),
            ballooned: Atomic::new(0),
            max: Atomic::new(0),
            plug,
        }
    }

    pub(crate) fn set_doing(&self, doing: Doing) {
        self.doing.store(doing as u32, Relaxed);
    }

    pub(crate) fn set_version(&self, version: Version) {
        self.version.store(version.0, Relaxed);
    }

    pub(crate) fn set_ballooned(&self, pages: u64) {
        self.ballooned.store(pages, Relaxed);
    }

    pub(crate) fn set_max(&self, pages: u64) {
        self.max.store(pages, Relaxed);
    }

    /// How this guest is off. Sleeps.
    pub(crate) fn memory(&self) -> MemoryState {
        let (added, onlined) = self.plug.as_ref().map_or((0, 0), |plug| plug.pages());
        MemoryState {
            total: rlis_mem::total_pages(),
            available: rlis_mem::available_pages(),
            committed: rlis_mem::committed_pages(),
            ballooned: self.ballooned.load(Relaxed),
            added,
            onlined,
        }
    }
}

impl Show for Counters {
    // As the C driver's, so that whoever reads it finds what it knows.
    fn show(&self, to: &mut Text<'_>) -> fmt::Result {
        let (version, doing) = (
            Version(self.version.load(Relaxed)),
            self.doing.load(Relaxed),
        );
        let memory = self.memory();
        let mut line = |name: &str, value: fmt::Arguments<'_>| writeln!(to, "{name:<22}: {value}");
        let (major, minor) = (version.major(), version.minor());
        line("host_version", format_args!("{major}.{minor}"))?;
        line("capabilities", format_args!("enabled hot_add"))?;
        line("state", format_args!("{doing} ({})", Doing::name(doing)))?;
        line("page_size", format_args!("4096"))?;
        line("pages_added", format_args!("{}", memory.added))?;
        line("pages_onlined", format_args!("{}", memory.onlined))?;
        line("pages_ballooned", format_args!("{}", memory.ballooned))?;
        let committed = Pressure::of(&memory).committed;
        line("total_pages_committed", format_args!("{committed}"))?;
        let max = self.max.load(Relaxed);
        line("max_dynamic_page_count", format_args!("{max}"))
    }
}
