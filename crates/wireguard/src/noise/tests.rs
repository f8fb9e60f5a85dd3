use std::time::{Duration, SystemTime};

use super::*;
use crate::message::Message;

struct Side {
    keys: StaticKeys,
    shared: [u8; 32],
    random: Random,
}

/// Two ends that know each other.
fn pair() -> (Side, Side) {
    let keys = [1, 2].map(|seed| StaticKeys::new(&PrivateKey([seed; 32])));
    let shared = static_static(&keys[0], keys[1].public()).unwrap();
    assert_eq!(static_static(&keys[1], keys[0].public()), Some(shared));
    let [a, b] = keys.map(|keys| Side {
        random: Random::new(keys.public().0),
        keys,
        shared,
    });
    (a, b)
}

fn stamp() -> Tai64n {
    Tai64n::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000))
}

fn initiate(from: &mut Side, to: &Side, sender: u32) -> ([u8; INITIATION], Initiator) {
    create_initiation(&from.keys, to.keys.public(), &from.shared, stamp(), sender, &mut from.random).unwrap()
}

#[test]
fn both_ends_derive_the_same_keys() {
    let psk = PresharedKey([9; 32]);
    for psk in [None, Some(&psk)] {
        let (mut a, mut b) = pair();
        let (initiation, initiator) = initiate(&mut a, &b, 0xaabb_ccdd);
        let parsed = Message::parse(&initiation).unwrap();
        assert_eq!(parsed.sender(), Some(0xaabb_ccdd));
        assert_eq!(initiation[116..], [0; 32]);
        assert_eq!(initiator.local, 0xaabb_ccdd);

        let claim = Claim::read(&b.keys, &initiation).unwrap();
        assert_eq!(claim.peer, *a.keys.public());
        assert_eq!(claim.sender, 0xaabb_ccdd);
        let verified = claim.verify(&b.shared).unwrap();
        assert_eq!(verified.timestamp, stamp());
        let (response, theirs) = verified.respond(psk, 0x1122_3344, &mut b.random).unwrap();
        let parsed = Message::parse(&response).unwrap();
        assert_eq!((parsed.sender(), parsed.receiver()), (Some(0x1122_3344), Some(0xaabb_ccdd)));
        assert_eq!(response[60..], [0; 32]);

        let ours = initiator.finish(&a.keys, psk, &response).unwrap();
        assert_eq!((ours.send, ours.receive), (theirs.receive, theirs.send));
        assert_ne!(ours.send, ours.receive);
        assert_eq!((ours.local, ours.remote), (0xaabb_ccdd, 0x1122_3344));
        assert_eq!((theirs.local, theirs.remote), (0x1122_3344, 0xaabb_ccdd));
        assert_eq!((ours.initiator, theirs.initiator), (true, false));
    }
}

#[test]
fn every_bit_of_an_initiation_matters() {
    let (mut a, b) = pair();
    let (initiation, _) = initiate(&mut a, &b, 7);
    for at in 8..116 {
        let mut forged = initiation;
        forged[at] ^= 1 << (at % 8);
        let read = Claim::read(&b.keys, &forged).and_then(|claim| claim.verify(&b.shared).map(|_| ()));
        assert_eq!(read, Err(DropReason::NotAuthentic), "byte {at}");
    }
}

#[test]
fn every_bit_of_a_response_matters_and_a_forged_one_changes_nothing() {
    let (mut a, mut b) = pair();
    let (initiation, initiator) = initiate(&mut a, &b, 7);
    let verified = Claim::read(&b.keys, &initiation).unwrap().verify(&b.shared).unwrap();
    let (response, theirs) = verified.respond(None, 8, &mut b.random).unwrap();
    for at in 8..60 {
        let mut forged = response;
        forged[at] ^= 1 << (at % 8);
        let expected = if at < 12 {
            DropReason::Unexpected
        } else {
            DropReason::NotAuthentic
        };
        assert_eq!(initiator.finish(&a.keys, None, &forged).err(), Some(expected), "byte {at}");
    }
    assert_eq!(initiator.finish(&a.keys, None, &response).unwrap().send, theirs.receive);
}

#[test]
fn other_keys_are_refused() {
    let (mut a, mut b) = pair();
    let stranger = StaticKeys::new(&PrivateKey([3; 32]));
    let (initiation, initiator) = initiate(&mut a, &b, 7);
    assert_eq!(Claim::read(&stranger, &initiation).err(), Some(DropReason::NotAuthentic));
    // Somebody else in the peer's name: without its private key, the shared secret is not theirs.
    let wrong = static_static(&b.keys, stranger.public()).unwrap();
    let claim = Claim::read(&b.keys, &initiation).unwrap();
    assert_eq!(claim.verify(&wrong).err(), Some(DropReason::NotAuthentic));
    // Pre-shared keys that differ, or that one side lacks.
    let psk = |seed| PresharedKey([seed; 32]);
    for (ours, theirs) in [(Some(psk(1)), Some(psk(2))), (None, Some(psk(1))), (Some(psk(1)), None)] {
        let verified = Claim::read(&b.keys, &initiation).unwrap().verify(&b.shared).unwrap();
        let (response, _) = verified.respond(theirs.as_ref(), 8, &mut b.random).unwrap();
        let finished = initiator.finish(&a.keys, ours.as_ref(), &response);
        assert_eq!(finished.err(), Some(DropReason::NotAuthentic));
    }
    // A handshake that was replaced by a newer one.
    let (_, newer) = initiate(&mut a, &b, 7);
    let verified = Claim::read(&b.keys, &initiation).unwrap().verify(&b.shared).unwrap();
    let (response, _) = verified.respond(None, 8, &mut b.random).unwrap();
    assert_eq!(newer.finish(&a.keys, None, &response).err(), Some(DropReason::NotAuthentic));
}

#[test]
fn keys_of_low_order_make_no_handshake() {
    let (mut a, _) = pair();
    let low = PublicKey([0; 32]);
    assert_eq!(static_static(&a.keys, &low), None);
    assert!(create_initiation(&a.keys, &low, &a.shared, stamp(), 1, &mut a.random).is_none());
}

#[test]
fn no_two_handshakes_are_alike() {
    let (mut a, b) = pair();
    let (one, _) = initiate(&mut a, &b, 7);
    let (two, _) = initiate(&mut a, &b, 7);
    assert_ne!(one[8..40], two[8..40]);
}
