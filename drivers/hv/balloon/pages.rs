// SPDX-License-Identifier: GPL-2.0

//! Pages for the host, and from it.

use kernel::prelude::*;
use rlis_hv::RateLimit;
use rlis_mem::{
    Balloon,
    BlockSize, //
};
use rlis_proto::balloon::{
    BalloonAnswer,
    PageRange,
    Push,
    Ranges,
    MESSAGE_SIZE, //
};

/// Pages that are with the host, and what answers are written in.
pub(crate) struct Pages {
    balloon: Balloon,
    /// [`MESSAGE_SIZE`] bytes.
    buffer: KVec<u8>,
    /// Ranges of the message that is being made.
    told: KVec<PageRange>,
}

impl Pages {
    /// Makes one without pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            balloon: Balloon::new(),
            buffer: KVec::from_elem(0, MESSAGE_SIZE, GFP_KERNEL)?,
            told: KVec::new(),
        })
    }

    /// Returns how many pages are with the host.
    pub(crate) fn count(&self) -> u64 {
        self.balloon.pages()
    }

    /// Gives the host up to `wanted` pages, in as many messages as they need. `send` sends one, as the last or not.
    ///
    /// Blocks of 2 MiB go first, since they take the least room in a message; single pages when there are no more blocks.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// Those of `send`. The host does not know of the pages in that message, so they come back; those in the messages
    /// before are with the host.
    pub(crate) fn give(
        &mut self,
        wanted: u32,
        mut send: impl FnMut(BalloonAnswer<'_>, bool) -> Result,
    ) -> Result {
        let mut left = wanted;
        let mut size = BlockSize::Large;
        // Taken, but found no room in the last message.
        let mut over: Option<PageRange> = None;
        loop {
            self.told.clear();
            let mut answer = BalloonAnswer::new(&mut self.buffer).map_err(|_| EINVAL)?;
            let mut more = false;
            loop {
                let range = match over.take() {
                    Some(range) => range,
                    None if left == 0 => break,
                    None => {
                        if left < size.pages() {
                            size = BlockSize::Page;
                        }
                        match self.balloon.take(size) {
                            Ok(range) => {
                                left = left.saturating_sub(range.count());
                                range
                            }
                            Err(_) if size == BlockSize::Large => {
                                size = BlockSize::Page;
                                continue;
                            }
                            // There is no more.
                            Err(_) => {
                                left = 0;
                                break;
                            }
                        }
                    }
                };
                // Noted first, so that what the host is told of can always be taken back.
                let noted = self.told.push(range, GFP_KERNEL);
                if noted.is_err() || answer.push(range) == Push::Full {
                    if noted.is_ok() {
                        self.told.pop();
                        over = Some(range);
                        more = true;
                    } else {
                        self.balloon.give_back(range.span());
                        left = 0;
                    }
                    break;
                }
            }
            self.balloon.settle();
            if let Err(error) = send(answer, more) {
                for range in &self.told {
                    self.balloon.give_back(range.span());
                }
                if let Some(range) = over {
                    self.balloon.give_back(range.span());
                }
                return Err(error);
            }
            if !more {
                return Ok(());
            }
            rlis_mem::pause();
        }
    }

    /// Takes pages back from the host.
    pub(crate) fn take_back(&mut self, ranges: Ranges<'_>) {
        static LIMIT: RateLimit = RateLimit::new();

        for range in ranges {
            match range {
                Ok(range) => {
                    let count = u64::from(range.count());
                    let back = self.balloon.give_back(range.span());
                    if back != count {
                        LIMIT.run(|_| {
                            pr_warn!(
                                "The host gives back {} pages from {:#x} on, of which it has {}\n",
                                count,
                                range.start(),
                                back
                            );
                        });
                    }
                }
                Err(error) => {
                    LIMIT.run(|_| {
                        pr_warn!("Bad unballoon request: {}\n", format_args!("{}", error))
                    });
                }
            }
        }
    }

    /// Takes all pages back: the host has no claim to them any more.
    pub(crate) fn take_back_all(&mut self) -> u64 {
        self.balloon.give_back_all()
    }
}
