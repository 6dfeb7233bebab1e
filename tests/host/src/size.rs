// SPDX-License-Identifier: GPL-2.0

//! Sizes as people write them.

/// Reads a size in bytes with an optional K, M or G (units of 1024).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .filter(|n| *n > 0)
        .ok_or_else(|| {
            format!("'{text}' is no size; write a number of bytes, with K, M or G if you like")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        for bad in ["", "M", "0", "-1", "1T", "99999999999G", "1.5G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
