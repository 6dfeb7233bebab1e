// SPDX-License-Identifier: GPL-2.0

//! Bounded conversion between the UTF-16LE of the host and the UTF-8 of the daemon.

use core::char::{decode_utf16, REPLACEMENT_CHARACTER};

/// Why text from the host was not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UtfError {
    /// An unpaired surrogate.
    Malformed,
    /// The result and its terminator do not fit.
    TooLong,
}

/// The units of the text at the front of `src`, up to a NUL or the end. An odd last byte is ignored.
fn units(src: &[u8]) -> impl Iterator<Item = u16> + '_ {
    src.chunks_exact(2)
        .map(|c| match c {
            [lo, hi] => u16::from_le_bytes([*lo, *hi]),
            _ => 0,
        })
        .take_while(|&u| u != 0)
}

/// Converts the text at the front of `src`, up to a NUL or the end, into `dst`, and puts a NUL behind it.
/// Returns the length of the result without the NUL, bytes. An odd last byte is ignored.
///
/// Nothing is cut off: a shortened name would be another file, a shortened address another host.
///
/// # Errors
///
/// See [`UtfError`]; `dst` may have been written to then.
pub fn utf16le_to_utf8(src: &[u8], dst: &mut [u8]) -> Result<usize, UtfError> {
    let mut len = 0usize;
    for c in decode_utf16(units(src)) {
        let c = c.map_err(|_| UtfError::Malformed)?;
        let mut utf8 = [0; 4];
        let bytes = c.encode_utf8(&mut utf8).as_bytes();
        let end = len.saturating_add(bytes.len());
        dst.get_mut(len..end)
            .ok_or(UtfError::TooLong)?
            .copy_from_slice(bytes);
        len = end;
    }
    *dst.get_mut(len).ok_or(UtfError::TooLong)? = 0;
    Ok(len)
}

/// As [`utf16le_to_utf8`], but takes any text: half a surrogate pair becomes U+FFFD, and what does not fit is cut off
/// between characters. Returns 0 for a `dst` that has no room even for the NUL, which is then missing.
pub fn utf16le_to_utf8_cut(src: &[u8], dst: &mut [u8]) -> usize {
    let Some(room) = dst.len().checked_sub(1) else {
        return 0;
    };
    let mut len = 0usize;
    for c in decode_utf16(units(src)) {
        let mut utf8 = [0; 4];
        let c = c.unwrap_or(REPLACEMENT_CHARACTER);
        let bytes = c.encode_utf8(&mut utf8).as_bytes();
        let end = len.saturating_add(bytes.len());
        let Some(to) = dst.get_mut(len..end).filter(|_| end <= room) else {
            break;
        };
        to.copy_from_slice(bytes);
        len = end;
    }
    if let Some(nul) = dst.get_mut(len) {
        *nul = 0;
    }
    len
}

/// Converts the text at the front of `src`, up to a NUL or the end, into `dst`, and puts a NUL behind it.
/// Returns the length of the result *with* the NUL, bytes, as KVP counts it; 0 only if `dst` has no room even
/// for the NUL.
///
/// What a daemon writes is shown to the host as well as possible: bytes that are no UTF-8 become U+FFFD, and
/// text that does not fit is cut off between characters.
pub fn utf8_to_utf16le(src: &[u8], dst: &mut [u8]) -> usize {
    let text = src.split(|&b| b == 0).next().unwrap_or_default();
    let Some(room) = dst.len().checked_sub(2) else {
        return 0;
    };
    let mut len = 0usize;
    let chars = text.utf8_chunks().flat_map(|chunk| {
        let bad = (!chunk.invalid().is_empty()).then_some(REPLACEMENT_CHARACTER);
        chunk.valid().chars().chain(bad)
    });
    for c in chars {
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units);
        if len.saturating_add(units.len() * 2) > room {
            break;
        }
        for u in units {
            if let Some(d) = dst.get_mut(len..len + 2) {
                d.copy_from_slice(&u.to_le_bytes());
            }
            len += 2;
        }
    }
    if let Some(d) = dst.get_mut(len..len + 2) {
        d.fill(0);
    }
    len + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn exact_limits() {
        let mut d = [0xff; 4];
        assert_eq!(utf16le_to_utf8(&utf16("abc"), &mut d), Ok(3));
        assert_eq!(d, *b"abc\0");
        assert_eq!(
            utf16le_to_utf8(&utf16("abcd"), &mut d),
            Err(UtfError::TooLong)
        );
        assert_eq!(
            utf16le_to_utf8(&utf16("日x"), &mut d),
            Err(UtfError::TooLong)
        );
        assert_eq!(utf16le_to_utf8(&utf16("日"), &mut d), Ok(3));
        assert_eq!(utf16le_to_utf8(&utf16("a\0b"), &mut d), Ok(1));
        assert_eq!(utf16le_to_utf8(&[], &mut []), Err(UtfError::TooLong));
        assert_eq!(utf16le_to_utf8(&[b'a', 0, b'b'], &mut d), Ok(1));
        assert_eq!(
            utf16le_to_utf8(&[0, 0xd8], &mut d),
            Err(UtfError::Malformed)
        );
        assert_eq!(
            utf16le_to_utf8(&[0, 0xdc, 0, 0xd8], &mut d),
            Err(UtfError::Malformed)
        );

        let mut d = [0xff; 4];
        assert_eq!(utf16le_to_utf8_cut(&utf16("abcd"), &mut d), 3);
        assert_eq!(d, *b"abc\0");
        assert_eq!(utf16le_to_utf8_cut(&utf16("a日"), &mut d), 1);
        assert_eq!(d[..2], *b"a\0");
        assert_eq!(utf16le_to_utf8_cut(&[0, 0xd8, b'x', 0], &mut d), 3);
        assert_eq!(d, *b"\xef\xbf\xbd\0");
        assert_eq!(utf16le_to_utf8_cut(&utf16("a"), &mut []), 0);
        assert_eq!(utf16le_to_utf8_cut(&utf16("a"), &mut [1; 1]), 0);

        let mut d = [0xff; 8];
        assert_eq!(utf8_to_utf16le(b"abc\0zzz", &mut d), 8);
        assert_eq!(d, [b'a', 0, b'b', 0, b'c', 0, 0, 0]);
        assert_eq!(utf8_to_utf16le(b"abcd", &mut d), 8);
        // A pair of surrogates is not cut in two.
        assert_eq!(utf8_to_utf16le("ab😀".as_bytes(), &mut d), 6);
        assert_eq!(utf8_to_utf16le(b"a\xff\xfeb", &mut d), 8);
        assert_eq!(d[2..6], [0xfd, 0xff, 0xfd, 0xff]);
        assert_eq!(utf8_to_utf16le(b"a", &mut [0; 1]), 0);
        assert_eq!(utf8_to_utf16le(b"a", &mut [1; 2]), 2);
    }

    proptest! {
        #[test]
        fn round_trip(text in "[^\0]{0,100}") {
            let mut utf8 = vec![0xff; text.len() + 1];
            prop_assert_eq!(utf16le_to_utf8(&utf16(&text), &mut utf8), Ok(text.len()));
            prop_assert_eq!(&utf8[..text.len()], text.as_bytes());
            let mut back = vec![0xff; utf16(&text).len() + 2];
            let n = utf8_to_utf16le(&utf8, &mut back);
            prop_assert_eq!(n, back.len());
            prop_assert_eq!(&back[..n - 2], &utf16(&text)[..]);
        }

        #[test]
        fn any_bytes_any_room(src in proptest::collection::vec(any::<u8>(), 0..100), room in 0usize..100) {
            let mut d = vec![0xa5; room];
            if let Ok(n) = utf16le_to_utf8(&src, &mut d) {
                prop_assert!(n < room);
                prop_assert!(String::from_utf8(d[..n].to_vec()).is_ok());
                prop_assert_eq!(d[n], 0);
            }
            let exact = utf16le_to_utf8(&src, &mut d.clone());
            let n = utf16le_to_utf8_cut(&src, &mut d);
            prop_assert!(n < room || n == 0);
            prop_assert!(room == 0 || d[n] == 0);
            prop_assert!(String::from_utf8(d[..n].to_vec()).is_ok());
            // The same, where nothing has to be cut or replaced.
            prop_assert!(exact.is_err() || exact == Ok(n));
            let n = utf8_to_utf16le(&src, &mut d);
            prop_assert!(n <= room && n % 2 == 0);
            let units: Vec<u16> = d[..n].chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            prop_assert!(String::from_utf16(&units).is_ok());
        }
    }
}
