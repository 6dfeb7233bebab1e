// SPDX-License-Identifier: GPL-2.0

//! A card with a virtual function, which is played by a list of frames.

use std::sync::atomic::{AtomicBool, Ordering};

use super::channel_tests::{arp, in_band, is_arp_reply, nvsp, rndis, Bench};
use super::*;
use crate::faults::Fault;
use crate::netvsp::vf::Function;
use crate::vmbus::ring::{COMPLETION, DATA_INBAND};

const VF_ASSOCIATION: u32 = 128;
const SWITCH_DATA_PATH: u32 = 129;

#[derive(Default)]
struct Listed {
    frames: Mutex<Vec<Vec<u8>>>,
    gone: AtomicBool,
}

impl Listed {
    fn count(&self) -> usize {
        self.frames.lock().unwrap().len()
    }
}

impl Function for Listed {
    fn name(&self) -> &str {
        "pci0"
    }

    fn receive(&self, frames: &[Vec<u8>]) -> usize {
        if self.gone.load(Ordering::SeqCst) {
            return frames.len();
        }
        self.frames.lock().unwrap().extend_from_slice(frames);
        0
    }
}

impl Bench {
    fn with_function() -> (Self, Arc<Listed>) {
        let bench = Self::initialised();
        let function = Arc::new(Listed::default());
        bench.nic.attach(function.clone());
        (bench, function)
    }

    /// What the host says in band: the type, and words.
    fn told(&mut self) -> (u32, u32, u32) {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!(packet.type_, DATA_INBAND);
        let word = |at: usize| u32::from_le_bytes(packet.payload[at..at + 4].try_into().unwrap());
        (word(0), word(4), word(8))
    }

    fn switch(&mut self, path: u32) {
        let packet = in_band(SWITCH_DATA_PATH, &[path], true);
        self.guest.send(&mut self.channel, &packet);
    }

    /// The answer to it, which has no body.
    fn switched(&mut self) {
        let packet = self.guest.receive(&mut self.channel);
        let transaction = 0x1000 + u64::from(SWITCH_DATA_PATH);
        assert_eq!(
            (packet.type_, packet.transaction),
            (COMPLETION, transaction)
        );
        assert!(packet.payload.is_empty());
    }

    fn associated(&mut self) {
        self.nic.event(Event::Vf { serial: 5 }).unwrap();
        assert_eq!(self.told(), (VF_ASSOCIATION, 1, 5));
    }

    fn says(&self, part: &str) {
        let line = self.nic.describe();
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn frames_take_the_path_that_the_guest_chose() {
    let (mut bench, function) = Bench::with_function();
    bench.associated();
    // A frame of the function reaches the network before the guest has switched, and the answer comes by the card.
    bench.nic.sent_by_function(vec![arp()]);
    assert!(is_arp_reply(&bench.message(nvsp::CHANNEL_DATA)));
    assert_eq!(function.count(), 0);
    bench.says(" path=synthetic ");
    bench.says(" vf_sent=1 vf_received=0 vf_lost=0 sent_beside=1");
    bench.switch(1);
    bench.switched();
    bench.nic.sent_by_function(vec![arp()]);
    assert_eq!(function.count(), 1);
    // So does a frame of the card afterwards.
    bench.by_section(1, nvsp::CHANNEL_DATA, &rndis::packet(&arp()));
    assert_eq!(function.count(), 2);
    function.gone.store(true, Ordering::SeqCst);
    bench.nic.sent_by_function(vec![arp()]);
    bench.says(" path=vf ");
    bench.says(
        " function=pci0 serial=5 switches=1 switches_refused=0 vf_sent=3 vf_received=2 vf_lost=1 sent_beside=2",
    );
    // The host moves it back.
    bench.nic.event(Event::Synthetic).unwrap();
    assert_eq!(bench.told(), (SWITCH_DATA_PATH, 0, 0));
    bench.nic.sent_by_function(vec![arp()]);
    assert!(is_arp_reply(&bench.message(nvsp::CHANNEL_DATA)));
    bench.nic.event(Event::NoVf).unwrap();
    assert_eq!(bench.told(), (VF_ASSOCIATION, 0, 0));
    bench.says(" serial=none ");
    // Without a cable nothing gets anywhere.
    bench.nic.set_link(false);
    bench.message(nvsp::CHANNEL_CONTROL);
    bench.nic.sent_by_function(vec![arp()]);
    bench.says(" vf_sent=5 vf_received=2 vf_lost=1 ");
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn a_switch_may_be_refused_late_or_never_answered() {
    let (mut bench, _) = Bench::with_function();
    let faults = bench.guest.shared.faults.clone();
    // To no function: the host says where the path is.
    bench.switch(1);
    bench.switched();
    assert_eq!(bench.told(), (SWITCH_DATA_PATH, 0, 0));
    bench.says(" path=synthetic ");
    bench.associated();
    faults.arm("net0", Fault::NetRefuseSwitch, 1, None);
    bench.switch(0);
    bench.switched();
    bench.switch(1);
    bench.switched();
    assert_eq!(bench.told(), (SWITCH_DATA_PATH, 0, 0));
    bench.says(" switches=3 switches_refused=2 ");
    faults.arm("net0", Fault::NetSlowSwitch, 1, Some(100));
    let started = std::time::Instant::now();
    bench.switch(1);
    bench.switched();
    assert!(started.elapsed() >= Duration::from_millis(100));
    faults.arm("net0", Fault::NetNoSwitch, 1, None);
    bench.switch(0);
    bench.switch(1);
    // The answer is that to the second.
    bench.switched();
    bench.says(" path=vf ");
    bench.says(" switches=6 ");
    bench.switch(2);
    bench.switched();
    assert!(bench.violation().contains("path"));
}

#[test]
fn a_guest_that_opens_the_card_is_told_of_the_function() {
    let bench = Bench::open("net0");
    assert!(bench.nic.event(Event::Vf { serial: 5 }).is_err(), "none");
    bench.nic.attach(Arc::new(Listed::default()));
    assert!(bench.nic.event(Event::Synthetic).is_err(), "not open");
    drop(bench);
    let (mut bench, function) = Bench::with_function();
    bench.associated();
    bench.switch(1);
    bench.switched();
    let halt = rndis::message(rndis::HALT, &[0; 4]);
    bench.by_section(0, nvsp::CHANNEL_CONTROL, &halt);
    bench.guest.close(&bench.channel);
    bench.says(" path=synthetic ");
    bench.says(" serial=5 switches=1 ");
    bench.guest.teardown(bench.relid, 0x20);
    bench.guest.teardown(bench.relid, 0x21);
    bench.guest.teardown(bench.relid, 0x10);
    bench.channel = bench.guest.open(bench.relid, 0x11, 32..40);
    bench.ask(nvsp::INIT, &[0x60001, 0x60001], nvsp::INIT_COMPLETE);
    bench.tell(nvsp::SEND_NDIS_CONFIG, &[1514, 0, 0xC, 0]);
    bench.tell(nvsp::SEND_NDIS_VERSION, &[6, 30]);
    assert_eq!(bench.guest.gpadl(bench.relid, 0x22, 64..77), 0);
    assert_eq!(bench.guest.gpadl(bench.relid, 0x23, 128..137), 0);
    let (to, from) = (
        nvsp::SEND_RECEIVE_BUFFER,
        nvsp::SEND_RECEIVE_BUFFER_COMPLETE,
    );
    bench.ask(to, &[0x22, 0xCAFE], from);
    bench.ask(
        nvsp::SEND_SEND_BUFFER,
        &[0x23, 0],
        nvsp::SEND_SEND_BUFFER_COMPLETE,
    );
    assert_eq!(bench.told(), (VF_ASSOCIATION, 1, 5));
    assert_eq!(function.count(), 0);
    assert_eq!(bench.guest.violations(), [""; 0]);
}
