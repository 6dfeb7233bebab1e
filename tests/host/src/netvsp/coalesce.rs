// SPDX-License-Identifier: GPL-2.0

//! Receive segment coalescing: consecutive segments of one TCP flow become one frame, which goes to the guest in pieces.

use smoltcp::wire::{IpProtocol, TcpPacket};

use super::offload::{set_length, Layers};

/// Bytes of the longest frame that is made of segments, without its Ethernet header.
const MAX_PACKET: usize = 65_535;

/// A frame for the guest: whole, or in pieces of which the first one has the headers.
pub type Pieces = Vec<Vec<u8>>;

/// What two segments must have in common to be joined, and where the second one begins.
struct Segment<'a> {
    /// Everything up to the IP header, and the IP header without length, identification and checksum.
    headers: Vec<u8>,
    /// Ports, acknowledgement, window and options.
    tcp: Vec<u8>,
    seq: i32,
    pushed: bool,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// A segment with data that may be joined with others.
    fn of(frame: &'a [u8]) -> Option<Self> {
        let layers = Layers::of(frame)?;
        let (at, protocol) = layers.transport?;
        if protocol != IpProtocol::Tcp {
            return None;
        }
        let tcp = TcpPacket::new_checked(frame.get(at..)?).ok()?;
        let plain = tcp.ack() && !(tcp.syn() || tcp.fin() || tcp.rst() || tcp.urg());
        let payload = frame.get(at + usize::from(tcp.header_len())..)?;
        if !plain || payload.is_empty() || tcp.ece() || tcp.cwr() {
            return None;
        }
        let mut headers = frame.get(..at)?.to_vec();
        let lengths: &[usize] = if layers.v6 {
            &[4, 5]
        } else {
            &[2, 3, 4, 5, 10, 11]
        };
        for byte in lengths {
            *headers.get_mut(layers.ip + byte)? = 0;
        }
        let header = frame.get(at..at + usize::from(tcp.header_len()))?;
        // The sequence number, PSH and the checksum may differ.
        let fixed = [header.get(..4)?, header.get(8..13)?, header.get(14..16)?];
        let tcp_fixed = [fixed.concat(), header.get(18..)?.to_vec()].concat();
        Some(Self {
            headers,
            tcp: tcp_fixed,
            seq: tcp.seq_number().0,
            pushed: tcp.psh(),
            payload,
        })
    }

    fn is_followed_by(&self, next: &Self, len: usize) -> bool {
        let expected = self.seq.wrapping_add(i32::try_from(len).unwrap_or(0));
        self.headers == next.headers && self.tcp == next.tcp && expected == next.seq
    }
}

/// Joins frames of one flow that follow each other.
pub fn coalesce(frames: Vec<Vec<u8>>) -> Vec<Pieces> {
    let mut all: Vec<Pieces> = Vec::new();
    // Bytes of data and of everything in the last of `all`, if something may still be added to it.
    let mut open: Option<(usize, usize)> = None;
    for frame in frames {
        let joined = (|| {
            let (data, bytes) = open?;
            let next = Segment::of(&frame)?;
            let pieces = all.last_mut()?;
            let first = Segment::of(pieces.first()?)?;
            let fits = bytes + next.payload.len() <= MAX_PACKET;
            if !fits || !first.is_followed_by(&next, data) {
                return None;
            }
            pieces.push(next.payload.to_vec());
            let len = next.payload.len();
            Some((!next.pushed).then_some((data + len, bytes + len)))
        })();
        match joined {
            Some(more) => open = more,
            None => {
                open = Segment::of(&frame)
                    .filter(|s| !s.pushed)
                    .map(|s| (s.payload.len(), frame.len()));
                all.push(vec![frame]);
            }
        }
    }
    for pieces in &mut all {
        let total: usize = pieces.iter().map(Vec::len).sum();
        if let Some(first) = pieces.first_mut().filter(|f| f.len() < total) {
            let len = first.len();
            // The IP header tells the length of the whole; its checksum and TCP's are no longer right, as a card says of
            // such a frame.
            if let Some(layers) = Layers::of(first) {
                first.resize(total, 0);
                let _ = set_length(first, &layers, 0);
                first.truncate(len);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::offload::tests::tcp;
    use super::*;

    /// A segment without PSH.
    fn segment(v6: bool, seq: u32, len: usize) -> Vec<u8> {
        let mut frame = tcp(v6, seq, &vec![seq as u8; len]);
        frame[if v6 { 67 } else { 47 }] &= !8;
        frame
    }

    #[test]
    fn segments_that_follow_each_other_become_one_frame() {
        for v6 in [false, true] {
            let mut frames = vec![segment(v6, 0, 1000), segment(v6, 1000, 1000)];
            frames.push(tcp(v6, 2000, &[1; 10]));
            frames.push(segment(v6, 2010, 100));
            let all = coalesce(frames.clone());
            assert_eq!(all.len(), 2, "PSH ends a frame");
            assert_eq!(
                all[0].iter().map(Vec::len).collect::<Vec<_>>()[1..],
                [1000, 10]
            );
            let header = if v6 { 74 } else { 54 };
            assert_eq!(all[0][0].len(), header + 1000);
            let length = if v6 {
                &all[0][0][18..20]
            } else {
                &all[0][0][16..18]
            };
            let whole = 2010 + 20 + if v6 { 0 } else { 20 };
            assert_eq!(u16::from_be_bytes([length[0], length[1]]), whole);
            assert_eq!(all[1], [frames[3].clone()]);
        }
    }

    #[test]
    fn what_does_not_fit_stays_apart() {
        let gap = vec![segment(false, 0, 100), segment(false, 101, 100)];
        assert_eq!(coalesce(gap).len(), 2);
        let mut other = segment(false, 100, 100);
        other[35] ^= 1;
        assert_eq!(coalesce(vec![segment(false, 0, 100), other]).len(), 2);
        let empty = vec![tcp(false, 0, &[]), tcp(false, 0, &[])];
        assert_eq!(coalesce(empty).len(), 2);
        assert_eq!(coalesce(vec![vec![0; 60], vec![0; 60]]).len(), 2);
        let many: Vec<_> = (0..70).map(|n| segment(false, n * 1000, 1000)).collect();
        let all = coalesce(many);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [65, 5]);
    }
}
