// SPDX-License-Identifier: GPL-2.0

//! The device and its guest, on a channel.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::Parser;
use rlis_proto::balloon::{
    answer_hot_add, hinted_ranges, incoming, BalloonAnswer, Capabilities, Caps, HotAddResponse,
    Incoming, MemoryState, PageRange, Pressure, Span, Status, UnballoonResponse, Version,
    VersionRequest,
};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::IntoBytes;

use super::*;
use crate::faults::Fault;
use crate::hyperv::extended::ColdDiscard;
use crate::memory::Plug;
use crate::vm::kvm::Discarder;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{Packet, DATA_INBAND};

const LIMIT: Duration = Duration::from_secs(10);
const CAPS: Caps = Caps {
    balloon: true,
    hot_add: true,
    hot_add_alignment: 7,
};
/// The region is at 4 GiB, and has 1 GiB.
const REGION: u64 = 1 << 32;

/// Remembers what was plugged in.
#[derive(Clone, Default)]
struct Plugged(Arc<Mutex<Vec<(u64, u64)>>>);

impl Plug for Plugged {
    fn plug(&self, start: u64, len: u64) -> Result<()> {
        self.0.lock().unwrap().push((start, len));
        Ok(())
    }
}

struct Bench {
    guest: Guest,
    channel: GuestChannel,
    device: Arc<MemoryDevice>,
    plugged: Plugged,
}

impl Bench {
    /// A device whose channel is open.
    fn open(newest: Version) -> Self {
        let mut guest = Guest::new();
        let plugged = Plugged::default();
        let region = Region::new(REGION, 1 << 30, Box::new(plugged.clone()));
        let memory = guest.memory.clone();
        let (violations, faults) = (guest.shared.violations.clone(), guest.shared.faults.clone());
        let hints = Hints::new(memory.clone(), Box::new(Discarder), violations, faults);
        let device = MemoryDevice::new(newest, 4 << 20, memory, Some(region), Some(hints));
        let (_, channel) = guest.open_device(device.offer());
        Self {
            guest,
            channel,
            device,
            plugged,
        }
    }

    /// One whose guest is ready.
    fn ready() -> Self {
        let mut bench = Self::open(Version::V3);
        assert!(bench.propose(Version::V3, false));
        bench.send(Capabilities::new(CAPS, 2).as_bytes());
        bench.told(|m| matches!(m, Incoming::CapabilitiesResponse(a) if a.accepted));
        bench.told(|m| matches!(m, Incoming::MaxPages(pages) if *pages == 1024 + (1 << 18)));
        bench.device.wait_ready(LIMIT).unwrap();
        bench
    }

    fn send(&mut self, payload: &[u8]) {
        let packet = Packet {
            type_: DATA_INBAND,
            flags: 0,
            transaction: 0,
            header: Vec::new(),
            payload: payload.to_vec(),
        };
        self.guest.send(&mut self.channel, &packet);
    }

    /// The host's next packet.
    fn next(&mut self) -> Vec<u8> {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.flags), (DATA_INBAND, 0));
        packet.payload
    }

    /// The host's next packet, which must be a message like that.
    fn told(&mut self, like: impl Fn(&Incoming<'_>) -> bool) -> Vec<u8> {
        let payload = self.next();
        let message = incoming(&payload).unwrap();
        assert!(like(&message), "{message:?}");
        payload
    }

    /// Proposes a version. Returns whether the host takes it.
    fn propose(&mut self, version: Version, last: bool) -> bool {
        self.send(VersionRequest::new(version, last, 1).as_bytes());
        let payload = self.next();
        match incoming(&payload) {
            Ok(Incoming::VersionResponse { accepted }) => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// Lets the host carry out a command while the guest does something.
    fn during<T>(
        &mut self,
        command: impl FnOnce(&MemoryDevice) -> T + Send + 'static,
        guest: impl FnOnce(&mut Self),
    ) -> T
    where
        T: Send + 'static,
    {
        let device = self.device.clone();
        let running = thread::spawn(move || command(&device));
        guest(self);
        running.join().unwrap()
    }

    /// Gives the pages `first..first + count`, in one message.
    fn give(&mut self, first: u64, count: u32, more: bool) {
        let mut buffer = [0; 64];
        let mut answer = BalloonAnswer::new(&mut buffer).unwrap();
        if let Some(range) = PageRange::new(first, count) {
            answer.push(range);
        }
        let message = answer.finish(more, 7).to_vec();
        self.send(&message);
    }

    /// Waits until the device is described by a line with that.
    fn until(&self, part: &str) {
        let until = std::time::Instant::now() + LIMIT;
        while !self.device.describe().contains(part) {
            assert!(std::time::Instant::now() < until, "{part}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The guest's violations, of which there is one, once the host has seen what was sent.
    fn violation(&self) -> String {
        let until = std::time::Instant::now() + LIMIT;
        loop {
            let mut all = self.guest.violations();
            match all.pop() {
                Some(one) if all.is_empty() => return one,
                Some(one) => panic!("{all:?} {one}"),
                None => assert!(std::time::Instant::now() < until, "no violation"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn balloon(pages: u32) -> impl FnOnce(&MemoryDevice) -> Result<String> + Send {
    move |device| device.balloon(pages, LIMIT)
}

#[test]
fn versions_step_down_to_what_the_host_takes() {
    let mut bench = Bench::open(Version::V2);
    assert!(!bench.propose(Version::V3, false));
    assert!(bench.propose(Version::V2, false));
    assert!(bench.device.describe().contains("version=1.0 ready=0"));
    bench.send(Capabilities::new(CAPS, 2).as_bytes());
    bench.told(|m| matches!(m, Incoming::CapabilitiesResponse(_)));
    bench.told(|m| matches!(m, Incoming::MaxPages(_)));
    // The oldest version has no information.
    let mut bench = Bench::open(Version::V1);
    assert!(bench.propose(Version::V1, true));
    bench.send(Capabilities::new(CAPS, 2).as_bytes());
    bench.told(|m| matches!(m, Incoming::CapabilitiesResponse(_)));
    bench.device.wait_ready(LIMIT).unwrap();
    bench.send(VersionRequest::new(Version::V1, true, 9).as_bytes());
    assert!(bench.violation().contains("step Ready"));
}

#[test]
fn a_last_proposal_is_the_last() {
    let mut bench = Bench::open(Version::V2);
    assert!(!bench.propose(Version::V3, true));
    bench.send(VersionRequest::new(Version::V2, true, 2).as_bytes());
    assert!(bench.violation().contains("step Refused"));
    assert!(bench.device.wait_ready(Duration::from_millis(10)).is_err());
}

#[test]
fn refusals_and_silence() {
    let mut bench = Bench::open(Version::V3);
    let faults = bench.guest.shared.faults.clone();
    faults.arm("memory", Fault::InitStatus, 1, None);
    assert!(!bench.propose(Version::V3, false));
    faults.arm("memory", Fault::NoReply, 1, None);
    bench.send(VersionRequest::new(Version::V2, false, 2).as_bytes());
    assert!(bench.propose(Version::V2, false));
    faults.arm("memory", Fault::MemoryRefuseCapabilities, 1, None);
    bench.send(Capabilities::new(CAPS, 3).as_bytes());
    bench.told(|m| matches!(m, Incoming::CapabilitiesResponse(a) if !a.accepted));
    assert!(bench.device.wait_ready(Duration::from_millis(10)).is_err());
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn pages_go_and_come_back() {
    let mut bench = Bench::ready();
    let said = bench.during(balloon(200), |bench| {
        bench.told(|m| *m == Incoming::Balloon { pages: 200 });
        bench.give(500, 100, true);
        bench.give(700, 60, false);
    });
    assert_eq!(said.unwrap(), "pages=160 messages=2");
    assert!(bench.device.describe().contains("ballooned=160"));
    // The lowest ones come back first, in as many messages as they need.
    let said = bench.during(
        |device| device.unballoon(Some(130), 1, LIMIT),
        |bench| {
            let first = bench.next();
            let Ok(Incoming::Unballoon { mut ranges, more }) = incoming(&first) else {
                panic!();
            };
            assert!(more);
            assert_eq!(ranges.next(), Some(Ok(PageRange::new(500, 100).unwrap())));
            let second = bench.next();
            let Ok(Incoming::Unballoon { mut ranges, more }) = incoming(&second) else {
                panic!();
            };
            assert!(!more);
            assert_eq!(ranges.next(), Some(Ok(PageRange::new(700, 30).unwrap())));
            bench.send(UnballoonResponse::new(8).as_bytes());
        },
    );
    assert_eq!(said.unwrap(), "pages=130 messages=2");
    assert!(bench.device.describe().contains("ballooned=30"));
    assert_eq!(bench.guest.violations(), [""; 0]);
    // A page that the host has is not the guest's to write to.
    bench
        .guest
        .memory
        .write_obj(0u64, GuestAddress(740 * 4096))
        .unwrap();
    let said = bench.during(
        |device| device.unballoon(None, 510, LIMIT),
        |bench| {
            bench.told(|m| matches!(m, Incoming::Unballoon { more: false, .. }));
            bench.send(UnballoonResponse::new(8).as_bytes());
        },
    );
    assert_eq!(said.unwrap(), "pages=30 messages=1");
    assert!(bench.violation().contains("0x2e4"));
    assert!(bench.device.unballoon(None, 510, LIMIT).is_err());
}

#[test]
fn what_a_guest_must_not_give() {
    for (first, count, asked, wrong) in [
        (500, 20, 10, "20 pages are given where 10"),
        (1020, 10, 10, "0x400"),
        (REGION / 4096, 1, 10, "not there"),
    ] {
        let mut bench = Bench::ready();
        let said = bench.during(balloon(asked), |bench| {
            bench.next();
            bench.give(first, count, false);
        });
        assert!(said.is_ok(), "{said:?}");
        assert!(bench.violation().contains(wrong));
    }
    let mut bench = Bench::ready();
    let said = bench.during(balloon(50), |bench| {
        bench.next();
        bench.give(500, 20, true);
        bench.give(519, 2, true);
        assert!(bench.violation().contains("already"));
        bench.give(0, 0, true);
        assert!(bench.violation().contains("without pages"));
        bench.give(0, 0, false);
    });
    assert_eq!(said.unwrap(), "pages=22 messages=4");
    for message in [
        UnballoonResponse::new(1).as_bytes(),
        HotAddResponse::new(1, true, 1).as_bytes(),
    ] {
        bench.send(message);
        assert!(bench.violation().contains("nobody has asked for"));
    }
    bench.give(600, 1, false);
    assert!(bench.violation().contains("nobody has asked for"));
}

#[test]
fn memory_is_plugged_in_before_it_is_added() {
    let mut bench = Bench::ready();
    let first = REGION / 4096;
    let add =
        |pages, at, named| move |device: &MemoryDevice| device.hot_add(pages, at, named, LIMIT);
    let said = bench.during(add(0x8000, None, Named::Whole), |bench| {
        let payload = bench.next();
        let Ok(Incoming::HotAdd(Ok(request))) = incoming(&payload) else {
            panic!();
        };
        assert_eq!(request.range, PageRange::new(first, 0x8000).unwrap());
        assert_eq!(request.region, PageRange::new(first, 0x4_0000));
        assert_eq!(*bench.plugged.0.lock().unwrap(), [(REGION, 128 << 20)]);
        bench.send(answer_hot_add(0x8000, None, 1).as_bytes());
    });
    assert_eq!(said.unwrap(), "pages=32768 result=1");
    // Half of what follows, of which a part is there already.
    let said = bench.during(add(0x10, Some(0x7ff8), Named::None), |bench| {
        assert_eq!(bench.next().len(), 16);
        bench.send(answer_hot_add(8, None, 1).as_bytes());
    });
    assert_eq!(said.unwrap(), "pages=8 result=1");
    assert_eq!(
        bench.plugged.0.lock().unwrap()[1..],
        [(REGION + (128 << 20), 8 * 4096)]
    );
    assert!(bench
        .device
        .describe()
        .contains("plugged=32776 added=32776"));
    // More than was asked for, and a failure with pages.
    let said = bench.during(add(0x10, None, Named::Again), |bench| {
        assert_eq!(bench.next()[16..], [0; 8]);
        bench.send(HotAddResponse::new(0x11, false, 1).as_bytes());
    });
    assert_eq!(said.unwrap(), "pages=17 result=0");
    assert!(bench
        .violation()
        .contains("17 pages are added where there were 16"));
    // Beyond the region.
    for (pages, at) in [(1, 0x4_0000), (0x4_0000, 1), (1, u64::MAX)] {
        assert!(bench
            .device
            .hot_add(pages, Some(at), Named::Whole, LIMIT)
            .is_err());
    }
}

#[test]
fn requests_that_make_no_sense() {
    let mut bench = Bench::ready();
    let faults = bench.guest.shared.faults.clone();
    let add = |device: &MemoryDevice| device.hot_add(0x8000, None, Named::Whole, LIMIT);
    for fault in [Fault::MemoryAddRange, Fault::MemoryAddRegion] {
        faults.arm("memory", fault, 1, None);
        let said = bench.during(add, |bench| {
            bench.told(|m| matches!(m, Incoming::HotAdd(Err(_))));
            bench.send(answer_hot_add(0, None, 1).as_bytes());
        });
        assert_eq!(said.unwrap(), "pages=0 result=0");
    }
    assert!(bench.plugged.0.lock().unwrap().is_empty());
    faults.arm("memory", Fault::MemoryMessageType, 1, Some(77));
    faults.arm("memory", Fault::MemoryInfo, 1, None);
    faults.arm("memory", Fault::MemoryInfoSize, 1, Some(7));
    faults.arm("memory", Fault::MemoryBalloonCount, 1, None);
    faults.arm("memory", Fault::MemoryTwice, 1, None);
    let said = bench.during(balloon(5), |bench| {
        bench.told(|m| matches!(m, Incoming::Unknown(kind) if kind.0 == 77));
        for _ in 0..2 {
            let payload = bench.next();
            assert!(incoming(&payload).is_err());
        }
        for _ in 0..2 {
            bench.told(|m| *m == Incoming::Balloon { pages: u32::MAX });
        }
        bench.give(500, 9, false);
    });
    assert_eq!(said.unwrap(), "pages=9 messages=1");
    // The second one may be answered or not.
    bench.give(600, 1, false);
    bench.until("unanswered=0");
    let said = bench.during(balloon(5), |bench| {
        bench.next();
        bench.give(700, 5, false);
    });
    assert_eq!(said.unwrap(), "pages=5 messages=1");
    assert!(bench.device.describe().contains("ballooned=15"));
    assert_eq!(bench.guest.violations(), [""; 0]);
    bench.device.send_raw(&[1, 2, 3]).unwrap();
    assert_eq!(bench.next()[..3], [1, 2, 3]);
}

#[test]
fn an_answer_that_comes_late_is_taken() {
    let mut bench = Bench::ready();
    let short = Duration::from_millis(1);
    let said = bench.device.balloon(10, short);
    assert!(said.unwrap_err().to_string().contains("no answer"));
    assert!(bench.device.describe().contains("unanswered=1"));
    bench.told(|m| *m == Incoming::Balloon { pages: 10 });
    bench.give(500, 10, false);
    let pressure = Pressure::of(&MemoryState {
        committed: 77,
        ..MemoryState::default()
    });
    bench.send(Status::new(pressure, 3).as_bytes());
    bench.until("reports=1");
    let line = bench.device.describe();
    assert!(line.contains("committed=2125 ballooned=10"), "{line}");
    assert!(line.contains("unanswered=0"), "{line}");
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn the_end_of_the_channel_gives_all_back() {
    let mut bench = Bench::ready();
    let said = bench.during(balloon(10), |bench| {
        bench.next();
        bench.give(500, 10, false);
    });
    assert!(said.is_ok());
    let said = bench.during(balloon(10), |bench| {
        bench.next();
        bench.guest.close(&bench.channel);
    });
    assert!(said.unwrap_err().to_string().contains("closed"));
    assert!(bench.device.describe().contains("ready=0"));
    assert!(bench.device.describe().contains("ballooned=0"));
}

#[test]
fn messages_are_whole() {
    let mut bench = Bench::ready();
    for (cut, wrong) in [(40, "size"), (0, "bytes")] {
        let status = Status::new(Pressure::default(), 1);
        bench.send(&status.as_bytes()[..cut]);
        assert!(bench.violation().contains(wrong), "{cut}");
    }
    let longer = [Status::new(Pressure::default(), 1).as_bytes(), &[0; 8]].concat();
    bench.send(&longer);
    assert!(bench.violation().contains("in a packet of 56"));
}

/// A line with a command of this module.
#[derive(Debug, clap::Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[test]
fn a_command_needs_the_device() {
    let line = Line::parse_from(["line", "balloon", "4K"]);
    let error = execute(None, line.command).unwrap_err().to_string();
    assert!(error.contains("without --memory-device"), "{error}");
}

/// Hints about pages from `start` on, without `end`.
fn hinted(start: u64, end: u64) -> Vec<u64> {
    hinted_ranges(Span::new(start, end)).collect()
}

#[test]
fn what_is_hinted_is_emptied() {
    let bench = Bench::open(Version::V3);
    let word = |page: u64| GuestAddress(page * 4096);
    for page in 0x200..0x208 {
        bench.guest.memory.write_obj(7u64, word(page)).unwrap();
    }
    let ranges = [hinted(0x201, 0x203), hinted(0x206, 0x207)].concat();
    assert_eq!(bench.device.hint(&ranges), (2, 0));
    let read = |page| bench.guest.memory.read_obj::<u64>(word(page)).unwrap();
    let all: Vec<u64> = (0x200..0x208).map(read).collect();
    assert_eq!(all, [7, 0, 0, 7, 7, 7, 0, 7]);
    assert!(bench.device.describe().contains(" hinted=3 "));
    assert!(bench.guest.violations().is_empty());
}

#[test]
fn hints_of_what_is_not_free_are_recorded() {
    let mut bench = Bench::ready();
    let given = bench.during(balloon(2), |bench| {
        bench.told(|m| matches!(m, Incoming::Balloon { pages: 2 }));
        bench.give(0x300, 2, false);
    });
    given.unwrap();
    // A page that the host has, beside one that is free; memory that was never plugged in; no memory; no range.
    let host = [hinted(0x2F0, 0x2F1), hinted(0x2FF, 0x301)].concat();
    for (ranges, what) in [
        (host, "page 0x300, which the host has"),
        (hinted(REGION / 4096, REGION / 4096 + 1), "are not there"),
        (hinted(0x400, 0x401), "no such memory"),
        (vec![u64::MAX], "a hint of 0xffffffffffffffff"),
    ] {
        let done = ranges.len() - 1;
        assert_eq!(bench.device.hint(&ranges), (done, 5));
        let told = bench.guest.shared.violations.take().concat();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn hints_are_refused_and_stuck() {
    let bench = Bench::open(Version::V3);
    let faults = &bench.guest.shared.faults;
    let ranges = hinted(0x200, 0x201);
    faults.arm("memory", Fault::MemoryRefuseHint, 1, None);
    assert_eq!(bench.device.hint(&ranges), (0, 5));
    faults.arm("memory", Fault::MemoryRefuseHint, 1, Some(0x1D));
    assert_eq!(bench.device.hint(&ranges), (0, 0x1D));
    faults.arm("memory", Fault::MemoryStuckHint, 1, None);
    assert_eq!(bench.device.hint(&ranges), (0, 0));
    assert_eq!(bench.device.hint(&ranges), (1, 0));
    assert!(bench.guest.violations().is_empty());
}
