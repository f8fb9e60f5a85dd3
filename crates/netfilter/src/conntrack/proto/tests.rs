//! UDP, ICMP, GRE and the rest by table.

use fielato_wire::{Family, checksum, number};

use super::testing::Track;
use super::*;

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn a_state_is_small() {
    assert!(size_of::<ProtoState>() <= 56, "{}", size_of::<ProtoState>());
}

fn udp(family: Family, direction: Direction, protocol: u8, checked: bool) -> Vec<u8> {
    let mut udp = vec![4, 0, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    if checked {
        let (src, dst) = Track::addresses(family, direction);
        let check = checksum::transport(src, dst, protocol, &udp);
        udp[6..8].copy_from_slice(&check.to_be_bytes());
    }
    udp
}

#[test]
fn udp_is_a_stream_after_two_seconds_both_ways() {
    for family in FAMILIES {
        let mut track = Track::new(family, number::UDP);
        // Direction, seconds since the last, seconds left, assured.
        for (direction, pause, left, assured) in [
            (O, 0, 30, false),
            (R, 1, 30, false),
            (O, 1, 30, false), // Exactly two seconds are not more.
            (R, 1, 120, true),
            (O, 100, 120, true),
        ] {
            track.pass(pause);
            let bytes = udp(family, direction, number::UDP, true);
            assert_eq!(track.packet(direction, &bytes), ProtoVerdict::Accept);
            assert_eq!((track.left(), track.conn.status.has(Status::ASSURED)), (left, assured));
        }
    }
}

#[test]
fn udp_one_way_is_never_a_stream() {
    for family in FAMILIES {
        let mut track = Track::new(family, number::UDP);
        for _ in 0..5 {
            track.pass(10);
            track.packet(O, &udp(family, O, number::UDP, true));
        }
        assert_eq!((track.left(), track.conn.status.has(Status::ASSURED)), (30, false));
        track.conn.extra_mut().timeouts = Some(vec![7, 8]);
        track.packet(R, &udp(family, R, number::UDP, true));
        assert_eq!(track.left(), 7);
        track.packet(O, &udp(family, O, number::UDP, true));
        assert_eq!(track.left(), 8);
    }
}

#[test]
fn unsound_udp() {
    for family in FAMILIES {
        let track = Track::new(family, number::UDP);
        assert!(
            track.is_sound(O, &udp(family, O, number::UDP, false)),
            "no checksum is a right one"
        );
        let good = udp(family, O, number::UDP, true);
        for (at, value) in [(5, 7), (5, 13), (6, good[6] ^ 1), (11, 5)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(!track.is_sound(O, &bad), "byte {at} = {value}");
        }
        assert!(!track.is_sound(O, &good[..7]));
    }
}

#[test]
fn udp_lite_needs_a_checksum_and_makes_a_stream_at_once() {
    for family in FAMILIES {
        let mut track = Track::new(family, number::UDPLITE);
        assert!(!track.is_sound(O, &udp(family, O, number::UDP, false)));
        let good = udp(family, O, number::UDP, true);
        let mut bad = good.clone();
        bad[5] = 5;
        assert!(!track.is_sound(O, &bad), "coverage below the header");
        for (direction, left) in [(O, 30), (R, 30), (O, 120)] {
            track.packet(direction, &udp(family, direction, number::UDP, true));
            assert_eq!(track.left(), left);
        }
        assert!(track.conn.status.has(Status::ASSURED));
    }
}

fn icmp(family: Family, direction: Direction, kind: u8) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0, 0, 7, 0, 1, 9];
    let (src, dst) = Track::addresses(family, direction);
    let check = match family {
        Family::V4 => checksum::checksum(&icmp),
        Family::V6 => checksum::transport(src, dst, number::ICMPV6, &icmp),
    };
    icmp[2..4].copy_from_slice(&check.to_be_bytes());
    icmp
}

#[test]
fn only_queries_begin_an_icmp_connection() {
    for (family, protocol, queries, unknown) in [
        (Family::V4, number::ICMP, &[8u8, 13, 15, 17][..], 19),
        (Family::V6, number::ICMPV6, &[128, 139][..], 255),
    ] {
        for kind in 0..unknown {
            let mut track = Track::new(family, protocol);
            let expected = if queries.contains(&kind) {
                ProtoVerdict::Accept
            } else {
                ProtoVerdict::Invalid
            };
            assert_eq!(track.packet(O, &icmp(family, O, kind)), expected, "{family:?} type {kind}");
        }
        let mut track = Track::new(family, protocol);
        track.packet(O, &icmp(family, O, queries[0]));
        track.pass(20);
        assert_eq!(track.packet(R, &icmp(family, R, 0)), ProtoVerdict::Accept);
        assert_eq!(track.left(), 30);
        assert!(!track.is_sound(O, &icmp(family, O, queries[0])[..7]));
    }
    assert!(!Track::new(Family::V4, number::ICMP).is_sound(O, &icmp(Family::V4, O, 19)));
    // The other family's ICMP.
    assert!(!Track::new(Family::V4, number::ICMPV6).is_sound(O, &icmp(Family::V6, O, 128)));
    assert!(!Track::new(Family::V6, number::ICMP).is_sound(O, &icmp(Family::V4, O, 8)));
}

#[test]
fn gre_keeps_the_timeouts_it_began_with() {
    for family in FAMILIES {
        let mut track = Track::new(family, number::GRE);
        track.packet(O, &[0; 8]);
        assert_eq!(track.left(), 30);
        track.config.timeouts.gre_stream = 5;
        track.packet(R, &[0; 8]);
        assert!(!track.conn.status.has(Status::ASSURED));
        track.packet(O, &[0; 8]);
        assert_eq!((track.left(), track.conn.status.has(Status::ASSURED)), (180, true));
    }
}

#[test]
fn other_protocols_only_time_out() {
    for family in FAMILIES {
        let mut track = Track::new(family, number::ESP);
        assert_eq!(track.packet(O, &[]), ProtoVerdict::Accept);
        assert_eq!(track.left(), 600);
        assert_eq!(state_name(&track.conn.proto), None);
    }
}
