// SPDX-License-Identifier: GPL-2.0

//! What keys of a US keyboard make a text.

use anyhow::{bail, Result};

use super::wire::IS_UNICODE;
use super::{Action, Key, Stroke};

/// Rows of keys: the scan code of the first, what they give, and what they give with Shift.
const ROWS: [(u16, &str, &str); 5] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", ""),
];

/// The left Shift key.
const SHIFT: Key = Key {
    make_code: 0x2A,
    prefix: 0,
};

/// The key that gives `wanted`, and whether it does with Shift.
fn key(wanted: char) -> Option<(Key, bool)> {
    ROWS.iter().find_map(|(first, plain, shifted)| {
        let at = |row: &str| row.chars().position(|c| c == wanted);
        let (place, shift) = at(plain)
            .map(|place| (place, false))
            .or_else(|| at(shifted).map(|place| (place, true)))?;
        let make_code = first.checked_add(u16::try_from(place).ok()?)?;
        Some((
            Key {
                make_code,
                prefix: 0,
            },
            shift,
        ))
    })
}

/// The strokes that type `text`. Shift is pressed anew for each character that needs it.
pub fn strokes(text: &str) -> Result<Vec<Stroke>> {
    let mut strokes = Vec::new();
    for c in text.chars() {
        let Some((key, shift)) = key(c) else {
            bail!("a US keyboard has no key for {c:?}");
        };
        if shift {
            strokes.push(SHIFT.stroke(Action::Make));
        }
        strokes.extend([key.stroke(Action::Make), key.stroke(Action::Break)]);
        if shift {
            strokes.push(SHIFT.stroke(Action::Break));
        }
    }
    Ok(strokes)
}

/// The strokes that send `text` as characters: each unit of its UTF-16 pressed and let go of.
pub fn unicode(text: &str) -> Vec<Stroke> {
    text.encode_utf16()
        .flat_map(|unit| {
            let key = Key {
                make_code: unit,
                prefix: IS_UNICODE,
            };
            [key.stroke(Action::Make), key.stroke(Action::Break)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::keyboard::wire::IS_BREAK;

    fn codes(strokes: &[Stroke]) -> Vec<(u16, u32)> {
        strokes.iter().map(|s| (s.make_code, s.info)).collect()
    }

    #[test]
    fn every_printable_character_has_its_key() {
        let printable: String = (' '..='~').collect();
        let made = strokes(&printable).unwrap();
        assert!(made.iter().all(|s| (0x02..=0x39).contains(&s.make_code)));
        for absent in ["\n", "\u{e4}", "\0"] {
            assert!(strokes(absent).is_err(), "{absent:?}");
        }
    }

    #[test]
    fn keys_are_where_they_should_be() {
        // From the other source: KEY_* of Linux's input-event-codes.h are the scan codes of these keys.
        for (c, code) in [
            ('1', 2),
            ('=', 13),
            ('q', 16),
            (']', 27),
            ('a', 30),
            (';', 39),
            ('\'', 40),
            ('`', 41),
            ('\\', 43),
            ('z', 44),
            ('/', 53),
            (' ', 57),
        ] {
            assert_eq!(
                codes(&strokes(&c.to_string()).unwrap()),
                [(code, 0), (code, IS_BREAK)],
                "{c}"
            );
        }
    }

    #[test]
    fn shift_is_held_where_it_is_needed() {
        assert_eq!(
            codes(&strokes("aB?").unwrap()),
            [
                (0x1E, 0),
                (0x1E, IS_BREAK),
                (0x2A, 0),
                (0x30, 0),
                (0x30, IS_BREAK),
                (0x2A, IS_BREAK),
                (0x2A, 0),
                (0x35, 0),
                (0x35, IS_BREAK),
                (0x2A, IS_BREAK),
            ]
        );
    }

    #[test]
    fn characters_go_as_utf16() {
        assert_eq!(
            codes(&unicode("\u{e4}")),
            [(0xE4, IS_UNICODE), (0xE4, IS_UNICODE | IS_BREAK)]
        );
        assert_eq!(codes(&unicode("\u{1F600}")).len(), 4, "a surrogate pair");
    }
}
