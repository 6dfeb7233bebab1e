// SPDX-License-Identifier: GPL-2.0

//! The bus with a guest that has no virtual machine.

use std::ops::Range;
use std::sync::mpsc::{self, Receiver as Queue, Sender};
use std::time::{Duration, Instant};

use rlis_proto::guid::class::HV_SCSI_GUID;
use rlis_proto::Guid;
use vm_memory::{Bytes, GuestAddress};

use super::super::guest::{Guest, MONITOR_PAGE};
use super::super::ring::{Packet, DATA_INBAND};
use super::super::Device;
use super::*;

/// A device that tells of its packets, and borrows the GPADL that a packet names. After a packet [`LATE`] it is busy for a
/// while, whatever becomes of the channel.
struct Ear {
    packets: Mutex<Sender<u64>>,
    loan: Mutex<Option<Loan>>,
    busy_until: Mutex<Option<Instant>>,
}

impl Device for Ear {
    fn opened(&self, _: &Arc<Channel>) {}

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        if let Ok(handle) = u32::try_from(packet.transaction) {
            let server = channel.server.upgrade().unwrap();
            *self.loan.lock().unwrap() = server.lend_gpadl(channel.relid, handle).ok();
        }
        if packet.transaction == LATE {
            *self.busy_until.lock().unwrap() = Some(Instant::now() + BUSY);
        }
        self.packets
            .lock()
            .unwrap()
            .send(packet.transaction)
            .unwrap();
        Ok(())
    }

    fn closed(&self, _: &Arc<Channel>) {
        *self.loan.lock().unwrap() = None;
    }

    fn lingers(&self, _: u32) -> bool {
        self.busy_until
            .lock()
            .unwrap()
            .is_some_and(|until| Instant::now() < until)
    }
}

fn offer(monitored: bool) -> (Offer, Queue<u64>) {
    let (packets, heard) = mpsc::channel();
    let device = Arc::new(Ear {
        packets: Mutex::new(packets),
        loan: Mutex::default(),
        busy_until: Mutex::default(),
    });
    let offer = Offer {
        name: "ear".into(),
        class: HV_SCSI_GUID,
        instance: Guid::from_bytes([7; 16]),
        flags: 0,
        user_data: [0; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES],
        monitored,
        device,
    };
    (offer, heard)
}

fn packet(transaction: u64) -> Packet {
    Packet {
        type_: DATA_INBAND,
        flags: 0,
        transaction,
        header: Vec::new(),
        payload: vec![0; 8],
    }
}

/// A guest that has connected to a bus with that device. Returns its relid, too, and what the device tells of.
fn connected(monitored: bool) -> (Guest, u32, Queue<u64>) {
    let mut guest = Guest::new();
    let (offer, heard) = offer(monitored);
    guest.server.offer(offer).unwrap();
    let relid = guest.connect()[0];
    (guest, relid, heard)
}

/// Rings of a primary channel.
const RINGS: Range<u64> = 16..24;

const LIMIT: Duration = Duration::from_secs(10);
/// More than 32 bits: no GPADL.
const PLAIN: u64 = 1 << 40;
const LATE: u64 = PLAIN + 1;
const BUSY: Duration = Duration::from_millis(300);

#[test]
fn rings_do_not_end_before_the_requests_that_came_on_them() {
    let (guest, relid, heard) = connected(false);
    let mut channel = guest.open(relid, 0x10, RINGS);
    guest.send(&mut channel, &packet(LATE));
    assert_eq!(heard.recv_timeout(LIMIT), Ok(LATE));
    let begin = Instant::now();
    guest.close(&channel);
    assert!(begin.elapsed() < BUSY, "the guest's processor waits");
    guest.teardown(relid, 0x10);
    assert!(begin.elapsed() >= BUSY - Duration::from_millis(50));
    assert_eq!(guest.violations(), [""; 0]);
    assert!(guest.server.lend_gpadl(relid, 0x10).is_err());
}

#[test]
fn a_sub_channel_is_withdrawn_alone() {
    let (guest, primary, heard) = connected(false);
    let mut channel = guest.open(primary, 0x10, RINGS);
    let subs = sub_channels(&guest, 2);
    guest.server.rescind("ear.2").unwrap();
    assert_eq!(rescinded(&guest), subs[1].0);
    assert!(guest.server.is_withdrawn(subs[1].0));
    assert!(!guest.server.is_withdrawn(subs[0].0) && !guest.server.is_withdrawn(primary));
    guest.send(&mut channel, &packet(PLAIN));
    assert_eq!(heard.recv_timeout(LIMIT), Ok(PLAIN));
    assert!(guest.server.rescind("ear.3").is_err());
    guest.release(subs[1].0);
    assert_eq!(guest.violations(), [""; 0]);
}

#[test]
fn a_buffer_is_torn_down_when_the_device_has_given_it_back() {
    let (guest, relid, heard) = connected(false);
    let mut channel = guest.open(relid, 0x10, RINGS);
    assert_eq!(guest.gpadl(relid, 0x11, 64..66), 0);
    assert_eq!(guest.gpadl(relid, 0x12, 66..68), 0);
    guest.send(&mut channel, &packet(0x11));
    assert_eq!(heard.recv_timeout(LIMIT), Ok(0x11));
    // The next packet makes the device give the first back.
    guest.send(&mut channel, &packet(0x12));
    guest.teardown(relid, 0x11);
    assert!(guest.violations().is_empty());
    guest.teardown(relid, 0x12);
    assert_eq!(guest.violations().len(), 1, "it is still in use");
    guest.close(&channel);
    guest.teardown(relid, 0x10);
    assert!(guest.violations().is_empty());
    assert!(guest.server.lend_gpadl(relid, 0x10).is_err());
}

#[test]
fn a_gpadl_belongs_to_its_channel() {
    let (guest, relid, _heard) = connected(false);
    assert_eq!(guest.gpadl(relid, 0x10, 16..18), 0);
    assert!(guest.server.lend_gpadl(relid + 1, 0x10).is_err());
    assert!(guest.server.lend_gpadl(relid, 0x11).is_err());
    assert!(guest.server.lend_gpadl(relid, 0x10).is_ok());
    assert_ne!(guest.gpadl(relid, 0x12, 1023..1025), 0, "outside of memory");
    assert_eq!(guest.violations().len(), 1);
}

#[test]
fn a_monitor_stands_for_a_hypercall() {
    let (guest, relid, heard) = connected(true);
    let at = |offset: u64| GuestAddress((MONITOR_PAGE << 12) + offset);
    let connection: u32 = guest.memory.read_obj(at(0x440)).unwrap();
    assert_eq!(connection, EVENT_CONNECTION + relid);
    let mut channel = guest.open(relid, 0x10, RINGS);
    guest.server.start_monitor().unwrap();
    guest.send(&mut channel, &packet(PLAIN));
    assert_eq!(heard.recv_timeout(LIMIT), Ok(PLAIN));
    // The channel looks into the ring once more before it goes to sleep.
    std::thread::sleep(Duration::from_millis(50));
    guest.write(&mut channel, &packet(PLAIN));
    assert!(
        heard.recv_timeout(Duration::from_millis(50)).is_err(),
        "nobody told the host"
    );
    guest.memory.write_obj(1u32, at(8)).unwrap();
    assert_eq!(heard.recv_timeout(LIMIT), Ok(PLAIN));
    assert_eq!(guest.memory.read_obj::<u32>(at(8)).unwrap(), 0);
    assert!(guest.violations().is_empty());
    guest.memory.write_obj(1u32 << 31, at(32)).unwrap();
    let deadline = Instant::now() + LIMIT;
    while guest.shared.violations.all().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(guest.violations()[0].contains("monitor 127"));
}

#[test]
fn a_guest_out_of_turn_is_recorded() {
    let (guest, _, _heard) = connected(false);
    guest.post(&ChannelMessageHeader::new(
        MessageType::CHANNELMSG_REQUESTOFFERS,
    ));
    assert_eq!(guest.violations().len(), 1);
    guest.post(&[0xFFu8; 8][..]);
    assert_eq!(guest.violations().len(), 1);
    assert_ne!(guest.server.event(0, EVENT_CONNECTION + 9, 0), 0);
    assert_ne!(guest.server.event(0, 5, 0), 0);
    assert_eq!(guest.violations().len(), 1);
}

/// Takes the offers of `count` sub-channels. Returns their relids and indices.
fn sub_channels(guest: &Guest, count: u16) -> Vec<(u32, u16)> {
    assert_eq!(
        guest.server.offer_sub_channels("ear", count).unwrap(),
        count
    );
    (0..count)
        .map(|_| {
            let offer: OfferChannel = guest.expect();
            ({ offer.child_relid }, offer.offer.sub_channel_index)
        })
        .collect()
}

fn rescinded(guest: &Guest) -> u32 {
    guest.expect::<RescindOffer>().child_relid
}

#[test]
fn sub_channels_go_when_the_primary_is_closed() {
    let (guest, primary, _heard) = connected(false);
    for round in 0..2 {
        let channel = guest.open(primary, 0x10, RINGS);
        let subs = sub_channels(&guest, 2);
        assert_eq!(subs.iter().map(|s| s.1).collect::<Vec<_>>(), [1, 2]);
        // One is used and closed, as drivers do; the other was never opened.
        let sub = guest.open(subs[0].0, 0x11, 24..32);
        guest.close(&sub);
        guest.teardown(subs[0].0, 0x11);
        guest.close(&channel);
        assert_eq!(
            [rescinded(&guest), rescinded(&guest)],
            [subs[1].0, subs[0].0]
        );
        guest.teardown(primary, 0x10);
        assert_eq!(guest.server.list().len(), 3);
        for (relid, _) in subs {
            guest.release(relid);
        }
        assert_eq!(guest.server.list().len(), 1, "round {round}");
        assert_eq!(guest.violations(), [""; 0]);
    }
}

#[test]
fn an_open_sub_channel_ends_with_its_primary() {
    let (guest, primary, heard) = connected(false);
    let channel = guest.open(primary, 0x10, RINGS);
    let relid = sub_channels(&guest, 1)[0].0;
    let mut sub = guest.open(relid, 0x11, 24..32);
    guest.send(&mut sub, &packet(PLAIN));
    assert_eq!(heard.recv_timeout(LIMIT), Ok(PLAIN));
    guest.close(&channel);
    assert_eq!(rescinded(&guest), relid);
    assert!(guest.server.channels(Some("ear")).is_empty());
    // The guest closes it when it learns of the rescind, as it would close any other.
    guest.close(&sub);
    assert_eq!(guest.violations(), [""; 0]);
    guest.close(&sub);
    assert_eq!(guest.violations().len(), 1, "closed twice");
    guest.release(relid);
    assert_eq!(guest.violations(), [""; 0]);
}

#[test]
fn a_withdrawn_device_is_withdrawn_once() {
    let (guest, primary, _heard) = connected(false);
    let channel = guest.open(primary, 0x10, RINGS);
    let relid = sub_channels(&guest, 1)[0].0;
    guest.server.rescind("ear").unwrap();
    assert_eq!([rescinded(&guest), rescinded(&guest)], [relid, primary]);
    guest.close(&channel);
    guest.release(relid);
    guest.release(primary);
    assert!(guest.server.list().is_empty());
    assert_eq!(guest.violations(), [""; 0]);
    // Had there been another RESCIND, it would come before this.
    let (offer, _heard) = offer(false);
    let again = guest.server.offer(offer).unwrap();
    let offered: OfferChannel = guest.expect();
    assert_eq!({ offered.child_relid }, again);
}

#[test]
fn a_late_answer_still_comes_before_the_rescind() {
    let (guest, primary, _heard) = connected(false);
    let channel = guest.open(primary, 0x10, RINGS);
    let relid = sub_channels(&guest, 1)[0].0;
    let faults = &guest.shared.faults;
    faults.arm("ear", Fault::BusSlowOpenResult, 1, Some(300));
    let sub = guest.ask_to_open(relid, 0x11, 24..32);
    guest.close(&channel);
    guest.opened();
    assert_eq!(rescinded(&guest), relid);
    guest.close(&sub);
    guest.release(relid);
    assert_eq!(guest.server.list().len(), 1);
    assert_eq!(guest.violations(), [""; 0]);
}

#[test]
fn a_sub_channel_that_is_kept_stays_offered() {
    let (guest, primary, _heard) = connected(false);
    let channel = guest.open(primary, 0x10, RINGS);
    let relids = sub_channels(&guest, 2);
    let faults = &guest.shared.faults;
    faults.arm("ear", Fault::BusNoRescind, 1, None);
    guest.close(&channel);
    assert_eq!(rescinded(&guest), relids[1].0);
    guest.release(relids[1].0);
    let left = guest.server.list();
    assert!(left
        .iter()
        .any(|l| l.contains(" sub=1 ") && l.ends_with(" offered")));
    assert_eq!(left.len(), 2);
}

#[test]
fn another_host_accepts_other_versions() {
    let mut guest = Guest::new();
    guest.connect();
    // What a connection has agreed on stays.
    guest.server.set_max_version(Version::V5_2);
    assert_eq!(guest.server.version(), Some(Version::V6_0));
    guest.post(&ChannelMessageHeader::new(MessageType::CHANNELMSG_UNLOAD));
    let _: ChannelMessageHeader = read_header(&guest.next());
    guest.forget_connection();
    assert_eq!(guest.contact(Version::V6_0).version_supported, 0);
    assert_eq!(guest.contact(Version::V5_2).version_supported, 1);
    assert_eq!(guest.violations(), [""; 0]);
}

fn read_header(bytes: &[u8]) -> ChannelMessageHeader {
    let (header, _) = zerocopy::FromBytes::read_from_prefix(bytes).unwrap();
    header
}

#[test]
fn what_is_sent_may_be_signalled_or_not_or_lie_behind_what_cannot_be() {
    let (guest, relid, _heard) = connected(false);
    let mut channel = guest.open(relid, 0x10, RINGS);
    let ours = guest.server.channels(Some("ear")).remove(0);
    let counts = || {
        let [sent, signals] = [&ours.stats.sent, &ours.stats.signals_out];
        [sent, signals].map(|n| n.load(std::sync::atomic::Ordering::Relaxed))
    };
    let faults = &guest.shared.faults;
    faults.arm("ear", Fault::NoSignal, 1, None);
    ours.send(1, &[0; 8]);
    assert_eq!(counts(), [1, 0]);
    assert_eq!(guest.receive(&mut channel).transaction, 1);
    ours.send(2, &[0; 8]);
    assert_eq!(counts(), [2, 1]);
    assert_eq!(guest.receive(&mut channel).transaction, 2);
    ours.signal();
    assert_eq!(counts(), [2, 2]);
    // One signal for all that is there when it comes.
    faults.arm("ear", Fault::RingBadBurst, 1, Some(20));
    ours.send(3, &[0; 8]);
    assert_eq!(counts(), [23, 3]);
    assert!(guest.is_broken(&mut channel));
}
