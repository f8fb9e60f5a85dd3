//! UDP, ICMP, GRE and the rest by table.

use fielato_wire::{Family, checksum, number};

use super::ProtoVerdict::{Accept, Invalid};
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

/// An SCTP packet of these chunks: type, flags, value.
fn sctp(tag: u32, chunks: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0x0f, 0xa0, 0, 80];
    packet.extend_from_slice(&tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    for (kind, flags, value) in chunks {
        packet.extend_from_slice(&[*kind, *flags]);
        packet.extend_from_slice(&(value.len() as u16 + 4).to_be_bytes());
        packet.extend_from_slice(value);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    let check = checksum::crc32c(&packet);
    packet[8..12].copy_from_slice(&check.to_le_bytes());
    packet
}

/// The value of an INIT or INIT ACK.
fn init(tag: u32) -> Vec<u8> {
    [&tag.to_be_bytes()[..], &[0; 12]].concat()
}

type SctpChunks<'a> = &'a [(u8, u8, &'a [u8])];
type SctpStep<'a> = (Direction, u32, SctpChunks<'a>, ProtoVerdict, &'static str, u64);

fn play_sctp(steps: &[SctpStep<'_>]) -> Vec<Track> {
    let play = |family| {
        let mut track = Track::new(family, number::SCTP);
        for (number, &(direction, tag, chunks, verdict, state, left)) in steps.iter().enumerate() {
            assert_eq!(track.packet(direction, &sctp(tag, chunks)), verdict, "step {number}");
            assert_eq!(
                (state_name(&track.conn.proto).unwrap_or("-"), track.left()),
                (state, left),
                "step {number}"
            );
        }
        track
    };
    FAMILIES.map(play).into()
}

#[test]
fn an_sctp_association_begins_and_ends() {
    let (a, b) = (init(0xa), init(0xb));
    // Packets to the server carry 0xb, those to the client 0xa.
    let handshake: [SctpStep<'_>; 4] = [
        (O, 0, &[(1, 0, &a)], Accept, "CLOSED", 10),
        (R, 0xa, &[(2, 0, &b)], Accept, "COOKIE_WAIT", 3),
        (O, 0xb, &[(10, 0, b"cookie")], Accept, "COOKIE_ECHOED", 3),
        (R, 0xa, &[(11, 0, b"")], Accept, "ESTABLISHED", 210),
    ];
    let rest: [SctpStep<'_>; 8] = [
        (O, 0xb, &[(0, 3, b"data of a chunk.")], Accept, "ESTABLISHED", 210),
        (O, 0xc, &[(0, 3, b"data of a chunk.")], Invalid, "ESTABLISHED", 210),
        (R, 0xa, &[], Invalid, "ESTABLISHED", 210),
        (R, 0xc, &[(6, 0, b"")], Invalid, "ESTABLISHED", 210),
        (O, 0xb, &[(7, 0, &[0; 4])], Accept, "SHUTDOWN_SENT", 3),
        (R, 0xa, &[(8, 0, b"")], Accept, "SHUTDOWN_ACK_SENT", 3),
        (O, 0xb, &[(14, 0, b"")], Accept, "CLOSED", 10),
        (R, 0xa, &[(11, 0, b"")], Accept, "CLOSED", 10),
    ];
    for track in play_sctp(&[&handshake[..], &rest[..]].concat()) {
        assert!(track.conn.status.has(Status::ASSURED));
    }
    // The T bit: the tag is the receiver's own.
    let reset: [SctpStep<'_>; 2] = [
        (R, 0xa, &[(6, 1, b"")], Invalid, "ESTABLISHED", 210),
        (R, 0xb, &[(6, 1, b"")], Accept, "CLOSED", 10),
    ];
    play_sctp(&[&handshake[..], &reset[..]].concat());
}

#[test]
fn an_sctp_heartbeat_opens_a_path() {
    let beats: [SctpStep<'_>; 4] = [
        (O, 0xb, &[(4, 0, &[0; 4])], Accept, "HEARTBEAT_SENT", 30),
        (R, 0xa, &[(5, 0, &[0; 4])], Accept, "ESTABLISHED", 210),
        // Another tag passes once, in case the peer has restarted, and an answer settles it.
        (O, 0xc, &[(4, 0, &[0; 4])], Accept, "ESTABLISHED", 210),
        (R, 0xd, &[(5, 0, &[0; 4])], Accept, "ESTABLISHED", 210),
    ];
    play_sctp(&beats);
}

#[test]
fn a_repeated_sctp_init_does_not_prolong() {
    let a = init(0xa);
    for mut track in play_sctp(&[(O, 0, &[(1, 0, &a)], Accept, "CLOSED", 10)]) {
        track.pass(4);
        assert_eq!(track.packet(O, &sctp(0, &[(1, 0, &a)])), Accept);
        assert_eq!(track.left(), 6);
    }
}

#[test]
fn what_can_not_begin_an_association_or_stand_together() {
    let a = init(0xa);
    let refused: [(u32, SctpChunks<'_>); 9] = [
        (1, &[(1, 0, &a)]),              // INIT with a tag
        (0, &[(1, 0, &a[..8])]),         // INIT cut short
        (0, &[(1, 0, &a), (0, 0, &[])]), // INIT with others
        (0, &[(0, 0, &[])]),
        (0, &[(6, 0, &[])]),
        (0, &[(11, 0, &[])]),
        (0, &[(14, 0, &[])]),
        (0, &[(3, 0, &[]), (10, 0, &[])]), // COOKIE ECHO behind others
        (0, &[]),
    ];
    for family in FAMILIES {
        for (tag, chunks) in refused {
            assert_eq!(
                Track::new(family, number::SCTP).packet(O, &sctp(tag, chunks)),
                Invalid,
                "{chunks:?}"
            );
        }
        let mut bad = sctp(0, &[(1, 0, &a)]);
        bad[20] ^= 1;
        assert!(!Track::new(family, number::SCTP).is_sound(O, &bad));
    }
}

/// A DCCP packet with a 48-bit sequence number.
fn dccp(family: Family, direction: Direction, kind: u8, seq: u64, ack: u64) -> Vec<u8> {
    let rest = match kind {
        0 => 4,
        1 | 7 => 12,
        2 => 0,
        _ => 8,
    };
    let mut packet = vec![0x0f, 0xa0, 0, 80, (16 + rest) / 4, 0, 0, 0, kind << 1 | 1, 0];
    packet.extend_from_slice(&seq.to_be_bytes()[2..]);
    if rest >= 8 {
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(&ack.to_be_bytes()[2..]);
    }
    packet.resize(16 + usize::from(rest), 0);
    let (src, dst) = Track::addresses(family, direction);
    let check = checksum::transport(src, dst, number::DCCP, &packet);
    packet[6..8].copy_from_slice(&check.to_be_bytes());
    packet
}

#[test]
fn a_dccp_connection_begins_ends_and_begins_the_other_way() {
    for family in FAMILIES {
        let mut track = Track::new(family, number::DCCP);
        for (direction, kind, verdict, state, left) in [
            (O, 2, Invalid, "-", 0),
            (O, 0, Accept, "REQUEST", 240),
            (R, 1, Accept, "RESPOND", 480),
            (O, 3, Accept, "PARTOPEN", 480),
            (O, 2, Invalid, "PARTOPEN", 480),
            (R, 4, Accept, "OPEN", 43_200),
            (O, 2, Accept, "OPEN", 43_200),
            (O, 5, Invalid, "OPEN", 43_200),
            (R, 8, Accept, "OPEN", 43_200),
            (R, 5, Accept, "CLOSEREQ", 64),
            (O, 6, Accept, "CLOSING", 64),
            (R, 7, Accept, "TIMEWAIT", 240),
            (R, 0, Accept, "REQUEST", 240),
            (O, 1, Accept, "RESPOND", 480),
        ] {
            let packet = dccp(family, direction, kind, 70_000_000_000, 70_000_000_000);
            assert_eq!(track.packet(direction, &packet), verdict, "type {kind} in {state}");
            assert_eq!(
                (state_name(&track.conn.proto).unwrap_or("-"), track.left()),
                (state, left),
                "type {kind}"
            );
        }
        assert!(track.conn.status.has(Status::ASSURED));
        let good = dccp(family, O, 0, 1, 0);
        let mut track = Track::new(family, number::DCCP);
        for (at, value) in [(4, 2), (4, 200), (8, 0), (8, 0x1f), (12, 9)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(!track.is_sound(O, &bad), "byte {at} = {value}");
        }
        track.packet(O, &good);
        track.packet(R, &dccp(family, R, 7, 1, 1));
        assert!(track.conn.status.has(Status::DYING), "a Reset as the only answer");
    }
}

#[test]
fn no_bytes_panic() {
    let mut rng = fastrand::Rng::with_seed(5);
    let a = init(0xa);
    for protocol in [number::SCTP, number::DCCP, number::UDP, number::UDPLITE, number::GRE] {
        for family in FAMILIES {
            let mut track = Track::new(family, protocol);
            track.config.checksum = false;
            for _ in 0..20_000 {
                let mut bytes = match protocol {
                    number::DCCP => dccp(family, O, rng.u8(..10), 1, 1),
                    _ => sctp(
                        rng.u32(..2),
                        &[(rng.u8(..16), 0, &a), (rng.u8(..16), 0, &a[..rng.usize(..16)])],
                    ),
                };
                for _ in 0..rng.usize(..4) {
                    let at = rng.usize(..bytes.len());
                    bytes[at] = rng.u8(..);
                }
                bytes.truncate(rng.usize(..=bytes.len()));
                let direction = if rng.bool() { O } else { R };
                let _ = track.packet(direction, &bytes);
                if rng.u8(..) < 30 {
                    track.conn.status = Status(0);
                }
            }
        }
    }
}

/// Sequences as Linux 6.18 judged them, forwarded between two TUN devices with INVALID dropped. A line is a packet: direction, what
/// follows its ports; whether it passed; then the listing's state, seconds and ASSURED.
const KERNEL_SCTP: &str = include_str!("sctp-6.18.txt");

#[test]
fn the_kernel_judges_sctp_the_same() {
    let mut track = Track::new(Family::V4, number::SCTP);
    for (line_number, line) in KERNEL_SCTP.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["sequence", family] = words[..] {
            let family = if family == "v4" { Family::V4 } else { Family::V6 };
            track = Track::new(family, number::SCTP);
            track.config.checksum = false;
            continue;
        }
        let [direction, hex, passed, name, seconds, assured] = words[..] else {
            panic!("line {line_number}: {line}");
        };
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let mut bytes = vec![0, 1, 0, 2];
        bytes.extend((0..hex.len()).step_by(2).map(byte));
        let direction = track.oriented(if direction == "0" { O } else { R });
        let verdict = track.packet(direction, &bytes);
        let found = if track.conn.status.has(Status::CONFIRMED) {
            let assured = if track.conn.status.has(Status::ASSURED) { "a" } else { "-" };
            (state_name(&track.conn.proto).unwrap_or("-"), track.left(), assured)
        } else {
            track.forget(O);
            ("-", 0, "-")
        };
        let case = format!("line {}: {line}\nfound {verdict:?} {found:?}", line_number + 1);
        assert_eq!(verdict == Accept, passed == "pass", "{case}");
        assert_eq!((found.0, found.2), (name, assured), "{case}");
        let seconds: u64 = seconds.parse().unwrap();
        assert!(seconds <= found.1 && found.1 <= seconds + 2, "{case}");
    }
}
