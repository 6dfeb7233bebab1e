// SPDX-License-Identifier: GPL-2.0

//! Which logical unit it is: the designators of VPD page 83h (SPC-4 7.8.6), and whether two pages are of one unit.

/// Bytes of such a page that are looked at. The designators of virtual disks take some 60.
pub const IDENTITY_BYTES: usize = 512;

/// What two pages say when they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They name one and the same unit.
    Same,
    /// They name two.
    Other,
    /// They have no kind of name in common, so nothing can be said.
    Unknown,
}

/// Kinds of designators that name one unit in the whole world, best first: NAA, EUI-64, SCSI name string.
const WORLDWIDE: [u8; 3] = [3, 2, 8];

/// T10 vendor identification, which is as good as the vendor: it counts where there is nothing better.
const VENDOR: u8 = 1;

/// A name of a logical unit.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Designator<'a> {
    kind: u8,
    code_set: u8,
    name: &'a [u8],
}

/// The designators of the logical unit itself; those of its port and its target are left out. Stops where the page, by its
/// own length or by what is there of it, ends.
fn designators(page: &[u8]) -> impl Iterator<Item = Designator<'_>> {
    let len = match page {
        [_, 0x83, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let mut rest = page.get(4..).unwrap_or(&[]);
    rest = rest.get(..len).unwrap_or(rest);
    core::iter::from_fn(move || loop {
        let [code_set, kind, _, len, after @ ..] = rest else {
            return None;
        };
        let (name, next) = after.split_at_checked(usize::from(*len))?;
        rest = next;
        // Association 0: the logical unit.
        if kind & 0x30 == 0 && !name.is_empty() {
            return Some(Designator {
                kind: kind & 0x0f,
                code_set: code_set & 0x0f,
                name,
            });
        }
    })
}

/// Compares the names of one kind; `None` if they are not there on both sides. Of several, one in common is enough.
fn compare_kind(before: &[u8], now: &[u8], kind: u8) -> Option<Comparison> {
    let of_kind = |page| designators(page).filter(move |d| d.kind == kind);
    if of_kind(before).next().is_none() || of_kind(now).next().is_none() {
        return None;
    }
    let common = of_kind(before).any(|one| of_kind(now).any(|other| one == other));
    Some(if common {
        Comparison::Same
    } else {
        Comparison::Other
    })
}

/// Compares two VPD pages 83h.
///
/// The best kind of name that both have decides. To take one unit for another costs a disk, so whatever is not clear is
/// [`Comparison::Unknown`].
pub fn compare_identity(before: &[u8], now: &[u8]) -> Comparison {
    let compare = |kind| compare_kind(before, now, kind);
    if let Some(comparison) = WORLDWIDE.into_iter().find_map(compare) {
        return comparison;
    }
    let has_better = |page| designators(page).any(|d| WORLDWIDE.contains(&d.kind));
    if has_better(before) || has_better(now) {
        return Comparison::Unknown;
    }
    compare(VENDOR).unwrap_or(Comparison::Unknown)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// A page of designators: byte 1 (association and kind), name.
    fn page(designators: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, name) in designators {
            body.extend([1, *kind, 0, name.len() as u8]);
            body.extend(*name);
        }
        let mut page = std::vec![0, 0x83];
        page.extend((body.len() as u16).to_be_bytes());
        page.extend(body);
        page
    }

    #[test]
    fn one_name() {
        let (a, b) = (page(&[(3, b"naa-of-a")]), page(&[(3, b"naa-of-b")]));
        assert_eq!(compare_identity(&a, &a), Comparison::Same);
        assert_eq!(compare_identity(&a, &b), Comparison::Other);
        // What lies behind the page is no part of it.
        let mut padded = a.clone();
        padded.resize(255, 0);
        assert_eq!(compare_identity(&a, &padded), Comparison::Same);
    }

    #[test]
    fn best_kind_decides() {
        // The vendor's own text may change when a host is updated.
        let before = page(&[(1, b"MSFT old"), (3, b"naa")]);
        let now = page(&[(3, b"naa"), (1, b"MSFT new")]);
        assert_eq!(compare_identity(&before, &now), Comparison::Same);
        let other = page(&[(1, b"MSFT old"), (3, b"another")]);
        assert_eq!(compare_identity(&before, &other), Comparison::Other);
        let text = page(&[(1, b"MSFT new")]);
        assert_eq!(compare_identity(&before, &text), Comparison::Unknown);
        let old_text = page(&[(1, b"MSFT old")]);
        assert_eq!(compare_identity(&old_text, &text), Comparison::Other);
        // Several names of one kind.
        let two = page(&[(3, b"first"), (3, b"naa")]);
        assert_eq!(compare_identity(&before, &two), Comparison::Same);
    }

    #[test]
    fn nothing_to_compare() {
        let lun = page(&[(3, b"naa")]);
        for other in [
            &page(&[])[..],
            // Vendor specific; of the port; of the target; of another kind.
            &page(&[(0, b"naa"), (0x13, b"port"), (0x23, b"target"), (2, b"eui")]),
            &page(&[(3, b"")]),
            &[],
            &[0, 0x83],
            &[0, 0x80, 0, 4, b'r', b'l', b'i', b's'],
        ] {
            assert_eq!(compare_identity(&lun, other), Comparison::Unknown);
            assert_eq!(compare_identity(other, &lun), Comparison::Unknown);
        }
        // A name that is cut off is none.
        assert_eq!(
            compare_identity(&lun, &lun[..lun.len() - 1]),
            Comparison::Unknown
        );
    }

    proptest! {
        #[test]
        fn any_bytes(a in proptest::collection::vec(any::<u8>(), 0..80), b in proptest::collection::vec(any::<u8>(), 0..80)) {
            let there = compare_identity(&a, &b);
            prop_assert_eq!(there, compare_identity(&b, &a));
            prop_assert_ne!(compare_identity(&a, &a), Comparison::Other);
            if a == b {
                prop_assert_ne!(there, Comparison::Other);
            }
        }

        #[test]
        fn any_names(
            names in proptest::collection::vec((prop_oneof![Just(1u8), Just(2), Just(3), Just(8)], "[a-c]{1,3}"), 1..4),
            changed: bool,
        ) {
            let before: Vec<(u8, &[u8])> = names.iter().map(|(k, n)| (*k, n.as_bytes())).collect();
            let mut now = before.clone();
            now.reverse();
            if changed {
                now.iter_mut().for_each(|(_, name)| *name = b"other");
            }
            let expected = if changed { Comparison::Other } else { Comparison::Same };
            prop_assert_eq!(compare_identity(&page(&before), &page(&now)), expected);
        }
    }
}
