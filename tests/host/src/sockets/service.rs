// SPDX-License-Identifier: GPL-2.0

//! What a connection talks to on the host: the services that a guest may connect to, and the client that connects to
//! the guest.

use std::fmt::Write;

/// Makes a service for one connection.
type Make = fn() -> Box<dyn Service>;

/// Services by port. The numbers are those of RFC 862 to 864.
pub const SERVICES: [(u32, Make); 3] = [
    (7, || Box::new(Echo::default())),
    (9, || Box::new(Discard::default())),
    (19, || Box::new(Generate::default())),
];
/// Bytes that [`Echo`] holds before it takes no more.
const MAX_WAITING: usize = 16 * 1024;
/// Digits of the largest number that [`Generate`] takes.
const MAX_DIGITS: usize = 19;
/// Most bytes of an answer that [`Client`] shows.
const MAX_SHOWN: usize = 200;

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes, at least one.
    Data(Vec<u8>),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

/// One end of a stream of bytes each way.
pub trait Service: Send {
    /// The other end sent `bytes`.
    fn data(&mut self, bytes: &[u8]);

    /// The other end sends no more.
    fn end(&mut self);

    /// What to send next, at most `max` bytes. Asked only when there is room.
    fn next(&mut self, max: usize) -> Next;

    /// Whether it can take no more before it is asked what to send next.
    fn is_full(&self) -> bool {
        false
    }

    /// What is to be told about the service, as lines.
    fn report(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `len` bytes at offset `at` of the endless pattern 0, 1, …, 250, 0, …
fn pattern(at: u64, len: usize) -> Vec<u8> {
    let skip = usize::try_from(at % 251).unwrap_or(0);
    (0..=250u8).cycle().skip(skip).take(len).collect()
}

/// Sends back what comes, and ends when that has ended.
#[derive(Default)]
struct Echo {
    waiting: Vec<u8>,
    ended: bool,
}

impl Service for Echo {
    fn data(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn next(&mut self, max: usize) -> Next {
        match (self.waiting.len(), self.ended) {
            (0, false) => Next::Nothing,
            (0, true) => Next::End,
            (len, _) => Next::Data(self.waiting.drain(..len.min(max)).collect()),
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }
}

/// Takes what comes. When that has ended, tells in a line how many bytes it was.
#[derive(Default)]
struct Discard {
    count: u64,
    ended: bool,
    told: bool,
}

impl Service for Discard {
    fn data(&mut self, bytes: &[u8]) {
        self.count += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn next(&mut self, _: usize) -> Next {
        match (self.ended, self.told) {
            (false, _) => Next::Nothing,
            (true, false) => {
                self.told = true;
                Next::Data(format!("{}\n", self.count).into_bytes())
            }
            (true, true) => Next::End,
        }
    }
}

/// Takes a line with a number, sends that many bytes of the pattern and ends. What comes behind the line is not looked
/// at. Without a number it ends at once.
#[derive(Default)]
struct Generate {
    line: Vec<u8>,
    wanted: Option<u64>,
    sent: u64,
}

impl Service for Generate {
    fn data(&mut self, bytes: &[u8]) {
        if self.wanted.is_some() {
            return;
        }
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        self.line.extend(line.iter().take(MAX_DIGITS + 1));
        if line.len() < bytes.len() || self.line.len() > MAX_DIGITS {
            let number = std::str::from_utf8(&self.line).ok();
            self.wanted = Some(number.and_then(|n| n.parse().ok()).unwrap_or(0));
        }
    }

    fn end(&mut self) {
        self.wanted.get_or_insert(0);
    }

    fn next(&mut self, max: usize) -> Next {
        let Some(wanted) = self.wanted else {
            return Next::Nothing;
        };
        let left = usize::try_from(wanted - self.sent).unwrap_or(usize::MAX);
        match left.min(max) {
            0 => Next::End,
            len => {
                let data = pattern(self.sent, len);
                self.sent += u64::try_from(len).unwrap_or(0);
                Next::Data(data)
            }
        }
    }
}

/// Sends its bytes, ends, and compares what comes back with what was sent.
pub struct Client {
    bytes: Vec<u8>,
    sent: usize,
    received: usize,
    same: bool,
    ended: bool,
    shown: Vec<u8>,
}

impl Client {
    /// A client that sends `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            sent: 0,
            received: 0,
            same: true,
            ended: false,
            shown: Vec::new(),
        }
    }
}

impl Service for Client {
    fn data(&mut self, bytes: &[u8]) {
        let end = self.received.saturating_add(bytes.len());
        self.same &= self.bytes.get(self.received..end) == Some(bytes);
        self.received = end;
        let room = MAX_SHOWN - self.shown.len().min(MAX_SHOWN);
        self.shown.extend(bytes.iter().take(room));
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn next(&mut self, max: usize) -> Next {
        let left = self.bytes.get(self.sent..).unwrap_or_default();
        match left.len().min(max) {
            0 => Next::End,
            len => {
                self.sent += len;
                Next::Data(left.get(..len).unwrap_or_default().to_vec())
            }
        }
    }

    fn report(&self) -> Vec<String> {
        let word = |yes| if yes { "yes" } else { "no" };
        let mut line = format!(
            "sent={} received={} ended={} same={}",
            self.sent,
            self.received,
            word(self.ended),
            word(self.same && self.received == self.bytes.len()),
        );
        let text = self.shown.escape_ascii();
        if self.received > 0 && self.received <= MAX_SHOWN {
            // Writing to a string does not fail.
            let _ = write!(line, " text={text}");
        }
        vec![line]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(service: &mut dyn Service, max: usize) -> (Vec<u8>, Next) {
        let mut bytes = Vec::new();
        loop {
            match service.next(max) {
                Next::Data(data) => {
                    assert!((1..=max).contains(&data.len()));
                    bytes.extend(data);
                }
                other => return (bytes, other),
            }
        }
    }

    #[test]
    fn echo() {
        let mut echo = Echo::default();
        assert_eq!(echo.next(9), Next::Nothing);
        echo.data(b"some ");
        echo.data(b"words");
        assert_eq!(all(&mut echo, 3), (b"some words".to_vec(), Next::Nothing));
        echo.data(b"!");
        echo.end();
        assert_eq!(all(&mut echo, 3), (b"!".to_vec(), Next::End));
    }

    #[test]
    fn discard() {
        let mut discard = Discard::default();
        discard.data(&[0; 1000]);
        discard.data(&[0; 24]);
        assert_eq!(discard.next(100), Next::Nothing);
        discard.end();
        assert_eq!(all(&mut discard, 100), (b"1024\n".to_vec(), Next::End));
    }

    #[test]
    fn generate() {
        let mut generate = Generate::default();
        generate.data(b"50");
        assert_eq!(generate.next(100), Next::Nothing);
        generate.data(b"3\n17\n");
        generate.data(b"99\n");
        let (bytes, end) = all(&mut generate, 100);
        assert_eq!((bytes.len(), end), (503, Next::End));
        assert_eq!((bytes[250], bytes[251], bytes[502]), (250, 0, 0));
        for bad in ["x\n", "\n", "99999999999999999999999", "-1\n"] {
            let mut generate = Generate::default();
            generate.data(bad.as_bytes());
            assert_eq!(generate.next(100), Next::End, "{bad}");
        }
        let mut generate = Generate::default();
        generate.data(b"5");
        generate.end();
        assert_eq!(generate.next(100), Next::End);
    }

    #[test]
    fn client() {
        let mut client = Client::new(b"hello".to_vec());
        assert_eq!(all(&mut client, 2), (b"hello".to_vec(), Next::End));
        client.data(b"hel");
        client.data(b"lo");
        client.end();
        assert_eq!(
            client.report(),
            ["sent=5 received=5 ended=yes same=yes text=hello"]
        );
        client.data(b"\n");
        assert_eq!(
            client.report(),
            ["sent=5 received=6 ended=yes same=no text=hello\\n"]
        );
        let mut other = Client::new(b"hello".to_vec());
        other.data(b"hel");
        assert!(other.report()[0].contains("ended=no same=no"));
    }
}
