use std::time::Duration;

use super::*;
use crate::message::INITIATION;

const FROM: &str = "192.0.2.1:51820";

fn from(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// We, who send, and the peer, who checks.
fn pair() -> (Macs, Checker, Random) {
    let peer = PublicKey([5; 32]);
    (Macs::new(&peer), Checker::new(&peer), Random::new([6; 32]))
}

fn signed(macs: &mut Macs, now: Instant) -> [u8; INITIATION] {
    let mut message = [7; INITIATION];
    message[4..8].copy_from_slice(&0xaabb_ccdd_u32.to_le_bytes());
    macs.sign(&mut message, now);
    message
}

#[test]
fn mac1_is_over_all_before_it_and_for_one_receiver() {
    let now = Instant::now();
    let (mut macs, checker, _) = pair();
    let message = signed(&mut macs, now);
    assert!(checker.mac1_is_valid(&message));
    assert_eq!(message[INITIATION - MAC..], NO_MAC);
    for at in 0..INITIATION - MAC {
        let mut forged = message;
        forged[at] ^= 1;
        assert!(!checker.mac1_is_valid(&forged), "byte {at}");
    }
    assert!(!Checker::new(&PublicKey([8; 32])).mac1_is_valid(&message));
    for len in 0..MACS {
        assert!(!checker.mac1_is_valid(&message[..len]));
        macs.sign(&mut [0; MACS][..len], now);
    }
}

#[test]
fn a_cookie_makes_mac2_for_its_address_and_port_only() {
    let now = Instant::now();
    // (asked from, valid from, another)
    for (asked, valid, others) in [
        (FROM, FROM, ["192.0.2.1:51821", "192.0.2.2:51820", "[::1]:51820"]),
        (
            FROM,
            "[::ffff:192.0.2.1]:51820",
            ["192.0.2.1:1", "[::ffff:192.0.2.1]:1", "[::192.0.2.1]:51820"],
        ),
        (
            "[2001:db8::1]:9",
            "[2001:db8::1]:9",
            ["[2001:db8::2]:9", "[2001:db8::1]:10", "192.0.2.1:9"],
        ),
    ] {
        let (mut macs, mut checker, mut rng) = pair();
        let first = signed(&mut macs, now);
        assert!(!checker.mac2_is_valid(&first, from(asked), now));
        let reply = checker.reply(&first, from(asked), now, &mut rng);
        assert_eq!(reply[..8], [3, 0, 0, 0, 0xdd, 0xcc, 0xbb, 0xaa]);
        assert_eq!(macs.read_reply(&reply, now), Ok(()));
        let second = signed(&mut macs, now);
        assert!(checker.mac1_is_valid(&second));
        assert!(checker.mac2_is_valid(&second, from(valid), now));
        for other in others {
            assert!(!checker.mac2_is_valid(&second, from(other), now), "{other}");
        }
        for at in [0, 50, INITIATION - MACS, INITIATION - MAC, INITIATION - 1] {
            let mut forged = second;
            forged[at] ^= 1;
            assert!(!checker.mac2_is_valid(&forged, from(asked), now), "byte {at}");
        }
    }
}

#[test]
fn only_the_first_reply_to_the_last_message_is_taken() {
    let now = Instant::now();
    let (mut macs, mut checker, mut rng) = pair();
    let stray = checker.reply(&[0; INITIATION], from(FROM), now, &mut rng);
    assert_eq!(macs.read_reply(&stray, now), Err(DropReason::Unexpected));

    let old = signed(&mut macs, now);
    let mut other = [9; INITIATION];
    macs.sign(&mut other, now);
    let late = checker.reply(&old, from(FROM), now, &mut rng);
    assert_eq!(macs.read_reply(&late, now), Err(DropReason::NotAuthentic));
    let reply = checker.reply(&other, from(FROM), now, &mut rng);
    for at in 8..COOKIE_REPLY {
        let mut forged = reply;
        forged[at] ^= 1;
        assert_eq!(macs.read_reply(&forged, now), Err(DropReason::NotAuthentic), "byte {at}");
    }
    // Forged ones did not use up the right to one.
    assert_eq!(macs.read_reply(&reply, now), Ok(()));
    assert_eq!(macs.read_reply(&reply, now), Err(DropReason::Unexpected));
    let again = signed(&mut macs, now);
    let reply = checker.reply(&again, from(FROM), now, &mut rng);
    assert_eq!(macs.read_reply(&reply, now), Ok(()));
}

#[test]
fn cookies_and_secrets_grow_old() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let (mut macs, mut checker, mut rng) = pair();
    let message = signed(&mut macs, start);
    macs.read_reply(&checker.reply(&message, from(FROM), start, &mut rng), start)
        .unwrap();
    // The sender stops five seconds before the receiver would.
    for (seconds, used) in [(0, true), (60, true), (114, true), (115, false), (119, false)] {
        let message = signed(&mut macs, at(seconds));
        assert_eq!(message[INITIATION - MAC..] != NO_MAC, used, "{seconds} s");
        assert_eq!(checker.mac2_is_valid(&message, from(FROM), at(seconds)), used, "{seconds} s");
    }
    let with_cookie = signed(&mut macs, at(100));
    assert!(checker.mac2_is_valid(&with_cookie, from(FROM), at(119)));
    assert!(!checker.mac2_is_valid(&with_cookie, from(FROM), at(120)));
    // A new secret forgets the old one's cookies, and is itself as old as it is, not as its last use.
    let message = signed(&mut macs, at(130));
    macs.read_reply(&checker.reply(&message, from(FROM), at(130), &mut rng), at(130))
        .unwrap();
    assert!(!checker.mac2_is_valid(&with_cookie, from(FROM), at(130)));
    let late = signed(&mut macs, at(240));
    let _ = checker.reply(&late, from(FROM), at(249), &mut rng);
    assert!(checker.mac2_is_valid(&late, from(FROM), at(249)));
    assert!(!checker.mac2_is_valid(&late, from(FROM), at(250)));
}
