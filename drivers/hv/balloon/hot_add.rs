// SPDX-License-Identifier: GPL-2.0

//! Memory that is added.

use crate::settings::HOT_ADD;
use kernel::{
    prelude::*,
    sync::Arc,
    time::Msecs, //
};
use rlis_hv::RateLimit;
use rlis_mem::HotPlug;
use rlis_proto::{
    balloon::{
        Caps,
        HotAddRequest,
        Shortfall,
        Span, //
    },
    ProtoError, //
};

/// How long an added block may take to come online before the host is answered, in milliseconds.
const ONLINE_MS: Msecs = 5_000;

/// What the host is told of where memory can be added if none can.
const DEFAULT_BLOCK: u64 = 128 << 20;

/// Adds memory.
pub(crate) struct HotAdd {
    plug: Option<Arc<HotPlug>>,
    /// It was said that what is added does not come online.
    said: bool,
}

/// Limits what the host can provoke.
static LIMIT: RateLimit = RateLimit::new();

impl HotAdd {
    /// Makes one; without `plug` no memory can be added.
    pub(crate) fn new(plug: Option<Arc<HotPlug>>) -> Self {
        Self { plug, said: false }
    }

    /// What the host is told of this guest. Hosts want to see both, even where requests will be refused.
    pub(crate) fn caps(&self) -> Caps {
        let pages = self.plug.as_ref().map(|plug| plug.block_pages());
        let block = pages.map_or(DEFAULT_BLOCK, |pages| pages.saturating_mul(4096));
        let alignment = Caps::alignment(block);
        Caps {
            balloon: true,
            // Without an alignment that the host can be told, it would add memory where none can be.
            hot_add: alignment.is_some(),
            hot_add_alignment: alignment.unwrap_or(0),
        }
    }

    /// Adds what the host has, as far as that goes. Returns how many pages there are now, and why not all. Sleeps.
    pub(crate) fn request(
        &mut self,
        request: Result<HotAddRequest, ProtoError>,
    ) -> (u64, Option<Shortfall>) {
        let (pages, shortfall) = match (&self.plug, HOT_ADD.get(), request) {
            (Some(plug), true, Ok(request)) => match plug.check(&request) {
                Ok(pages) => {
                    let plug = plug.clone();
                    self.add(&plug, pages)
                }
                Err(error) => refused(error),
            },
            (Some(_), true, Err(error)) => refused(error),
            _ => (0, Some(Shortfall::Permanent)),
        };
        if pages == 0 {
            LIMIT.run(|_| pr_err!("Memory hot add failed\n"));
        }
        (pages, shortfall)
    }

    /// Adds pages, block by block, and lets each come online before the next one: with each the kernel has to find memory for the
    /// management of it.
    fn add(&mut self, plug: &HotPlug, pages: Span) -> (u64, Option<Shortfall>) {
        let mut rest = pages;
        let mut waited = false;
        let added = |rest: Span| pages.len().saturating_sub(rest.len());
        loop {
            match plug.add(rest) {
                Ok(None) => return (added(rest), None),
                Ok(Some(step)) => {
                    rest.start = step.pages.end;
                    waited = false;
                    let Some(block) = step.block else { continue };
                    let online = plug.wait(block, false, ONLINE_MS);
                    self.told(online);
                    if !online && !rest.is_empty() {
                        return (added(rest), Some(Shortfall::Transient));
                    }
                }
                // Somebody brings the block online or takes it offline just now.
                Err(EAGAIN) if !waited => {
                    waited = true;
                    plug.wait(rest, true, ONLINE_MS);
                }
                Err(error) => {
                    LIMIT.run(|_| {
                        pr_err!("hot_add memory failed error is {}\n", error.to_errno());
                    });
                    // Where there is something else, there will never be memory.
                    let why = if error == EEXIST {
                        Shortfall::Permanent
                    } else {
                        Shortfall::Transient
                    };
                    return (added(rest), Some(why));
                }
            }
        }
    }

    /// Says once that memory does not come online, until some does.
    fn told(&mut self, online: bool) {
        if !online && !self.said {
            pr_warn!("Added memory does not come online: see memory/auto_online_blocks in sysfs\n");
        }
        self.said = !online;
    }
}

/// A request that makes no sense. A proper one may follow.
fn refused(error: ProtoError) -> (u64, Option<Shortfall>) {
    LIMIT.run(|_| pr_warn!("Bad hot-add request: {}\n", format_args!("{}", error)));
    (0, Some(Shortfall::Transient))
}
