// SPDX-License-Identifier: GPL-2.0

//! A set of pages, as spans of them, in memory of a fixed size.

use super::range::Span;
use crate::error::ProtoError;

/// A set of pages that needs room for `N` spans, however many pages these have. What follows one another is one span.
#[derive(Clone, Debug)]
pub struct SpanSet<const N: usize> {
    /// The first `len` are not empty, in order, and none touches the next.
    spans: [Span; N],
    len: usize,
}

impl<const N: usize> Default for SpanSet<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> SpanSet<N> {
    /// No pages.
    pub const fn new() -> Self {
        Self {
            spans: [Span::new(0, 0); N],
            len: 0,
        }
    }

    /// The spans, in order.
    pub fn spans(&self) -> &[Span] {
        self.spans.get(..self.len).unwrap_or_default()
    }

    /// How many pages.
    pub fn pages(&self) -> u64 {
        let lens = self.spans().iter().map(|span| span.len());
        lens.fold(0, u64::saturating_add)
    }

    /// Whether `page` is in the set.
    pub fn contains(&self, page: u64) -> bool {
        self.spans().iter().any(|span| span.contains(page))
    }

    /// How many pages of `span` are in the set.
    pub fn pages_in(&self, span: Span) -> u64 {
        let lens = self.spans().iter().map(|s| s.common(span).len());
        lens.fold(0, u64::saturating_add)
    }

    /// Whether one page of `span` is in the set.
    pub fn touches(&self, span: Span) -> bool {
        self.pages_in(span) != 0
    }

    /// The longest beginning of `span` that is in the set as a whole, or outside of it as a whole, and which of both.
    /// Where `span` is empty, so is that.
    pub fn run(&self, span: Span) -> (Span, bool) {
        let behind = |s: &&Span| s.end > span.start;
        match self.spans().iter().find(behind) {
            Some(s) if s.contains(span.start) => (span.common(*s), true),
            Some(s) => (Span::new(span.start, span.end.min(s.start)), false),
            None => (span, false),
        }
    }

    /// Puts all pages of `span` into the set. Those that are there already may be among them.
    ///
    /// # Errors
    ///
    /// `NoRoom` if that makes more than `N` spans. Nothing is changed then.
    pub fn insert(&mut self, span: Span) -> Result<(), ProtoError> {
        if span.is_empty() {
            return Ok(());
        }
        // What touches the new span becomes one with it.
        let (mut joined, mut rest, mut taken) = (span, Self::new(), false);
        for s in self.spans() {
            if s.end < joined.start {
                rest.push(*s)?;
            } else if s.start > joined.end {
                if !taken {
                    rest.push(joined)?;
                    taken = true;
                }
                rest.push(*s)?;
            } else {
                joined.start = joined.start.min(s.start);
                joined.end = joined.end.max(s.end);
            }
        }
        if !taken {
            rest.push(joined)?;
        }
        *self = rest;
        Ok(())
    }

    /// Takes all pages of `span` out of the set, as far as they are in it.
    ///
    /// # Errors
    ///
    /// `NoRoom` if that makes more than `N` spans. Nothing is changed then. It cannot be so for what was put in last.
    pub fn remove(&mut self, span: Span) -> Result<(), ProtoError> {
        if span.is_empty() {
            return Ok(());
        }
        let mut rest = Self::new();
        for s in self.spans() {
            for part in [
                Span::new(s.start, s.end.min(span.start)),
                Span::new(s.start.max(span.end), s.end),
            ] {
                if !part.is_empty() {
                    rest.push(part)?;
                }
            }
        }
        *self = rest;
        Ok(())
    }

    /// Appends a span that lies behind the others.
    fn push(&mut self, span: Span) -> Result<(), ProtoError> {
        let slot = self.spans.get_mut(self.len).ok_or(ProtoError::NoRoom {
            what: "spans of memory",
            need: N.saturating_add(1),
            got: N,
        })?;
        *slot = span;
        self.len = self.len.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[test]
    fn spans_that_touch_are_one() {
        let mut set = SpanSet::<3>::new();
        for (start, end) in [(10, 20), (30, 40), (20, 30)] {
            set.insert(Span::new(start, end)).unwrap();
        }
        assert_eq!(set.spans(), [Span::new(10, 40)]);
        set.remove(Span::new(20, 30)).unwrap();
        assert_eq!(set.spans(), [Span::new(10, 20), Span::new(30, 40)]);
        assert_eq!(set.run(Span::new(5, 50)), (Span::new(5, 10), false));
        assert_eq!(set.run(Span::new(12, 50)), (Span::new(12, 20), true));
        assert_eq!(set.run(Span::new(40, 50)), (Span::new(40, 50), false));
    }

    #[test]
    fn a_full_set_stays_as_it_is() {
        let mut set = SpanSet::<2>::new();
        set.insert(Span::new(10, 20)).unwrap();
        set.insert(Span::new(30, 40)).unwrap();
        assert!(set.insert(Span::new(50, 60)).is_err());
        assert!(set.insert(Span::new(0, 5)).is_err());
        assert!(set.remove(Span::new(12, 13)).is_err());
        assert_eq!(set.spans(), [Span::new(10, 20), Span::new(30, 40)]);
        // There is room for what joins.
        set.insert(Span::new(15, 35)).unwrap();
        assert_eq!(set.spans(), [Span::new(10, 40)]);
        assert!(SpanSet::<0>::new().insert(Span::new(0, 1)).is_err());
        assert!(SpanSet::<0>::new().insert(Span::new(1, 0)).is_ok());
    }

    proptest! {
        #[test]
        fn as_a_set_of_numbers(
            steps in proptest::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 0..40), from in 0u64..70, len in 0u64..20,
        ) {
            let (mut set, mut model) = (SpanSet::<6>::new(), BTreeSet::new());
            for (insert, start, len) in steps {
                let span = Span::new(start, start + len);
                let before = set.spans().to_vec();
                let done = if insert { set.insert(span) } else { set.remove(span) };
                if done.is_err() {
                    prop_assert_eq!(set.spans(), before);
                    continue;
                }
                if insert {
                    model.extend(start..start + len);
                } else {
                    model.retain(|page| !span.contains(*page));
                }
            }
            let pages: Vec<u64> = set.spans().iter().flat_map(|s| s.start..s.end).collect();
            prop_assert_eq!(&pages, &model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.pages(), pages.len() as u64);
            prop_assert!(set.spans().windows(2).all(|w| w[0].end < w[1].start));
            let span = Span::new(from, from + len);
            prop_assert_eq!(set.pages_in(span), model.range(from..from + len).count() as u64);
            let (run, inside) = set.run(span);
            prop_assert!(run.start == from && run.end <= span.end && run.is_empty() == span.is_empty());
            prop_assert!((run.start..run.end).all(|page| model.contains(&page) == inside));
            prop_assert!(run.end == span.end || model.contains(&run.end) != inside);
        }
    }
}
