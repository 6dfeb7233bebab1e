// SPDX-License-Identifier: GPL-2.0

//! How a guest leaves a card.

use rlis_proto::vmbus::message::RescindOffer;
use vm_memory::{Bytes, GuestAddress};

use super::channel_tests::{in_band, nvsp, rndis, Bench, SEND};

#[test]
fn a_card_is_closed_after_halt() {
    let bench = Bench::initialised();
    bench.guest.close(&bench.channel);
    assert!(bench.violation().contains("closed without HALT"));
    // HALT counts also if the host has not yet come to it.
    let mut bench = Bench::initialised();
    let halt = rndis::message(rndis::HALT, &[0; 4]);
    let at = GuestAddress(SEND.start * 4096);
    bench.guest.memory.write_slice(&halt, at).unwrap();
    let section = [nvsp::CHANNEL_CONTROL, 0, halt.len() as u32];
    let packet = in_band(nvsp::SEND_RNDIS_PACKET, &section, true);
    bench.guest.write(&mut bench.channel, &packet);
    bench.guest.close(&bench.channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
    // A card that the host takes away is left as it is.
    let bench = Bench::initialised();
    bench.guest.server.rescind("net0").unwrap();
    let _: RescindOffer = bench.guest.expect();
    bench.guest.close(&bench.channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}
