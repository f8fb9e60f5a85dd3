//! States, directions, ICMP, what is invalid.

use super::*;
use CtState::{Established, New, Related};
use Direction::{Original, Reply};

#[test]
fn a_connection_becomes_established_when_answered() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut out = udp(family, (1, 1000), (2, 53));
        assert_eq!(pass(&mut ct, &mut out, at(1)), Verdict::Accept);
        assert_eq!(state(&out), Some((New, Original)));
        let mut again = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut again, at(2));
        assert_eq!((state(&again), id(&again)), (Some((New, Original)), id(&out)));
        let mut back = udp(family, (2, 53), (1, 1000));
        pass(&mut ct, &mut back, at(3));
        assert_eq!((state(&back), id(&back)), (Some((Established, Reply)), id(&out)));
        let mut again = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut again, at(4));
        assert_eq!(state(&again), Some((Established, Original)));

        let conn = ct.get(id(&out)).unwrap();
        let len = u64::from(headers(&out).len);
        assert_eq!((conn.counters[0].packets, conn.counters[0].bytes), (3, 3 * len));
        assert_eq!((conn.counters[1].packets, conn.counters[1].bytes), (1, len));
        assert!(conn.status.has_all(Status::CONFIRMED | Status::SEEN_REPLY));
        assert_eq!(ct.count(), 1);
    }
}

#[test]
fn nothing_meets_a_connection_before_it_is_confirmed() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut first = udp(family, (1, 1000), (2, 53));
        ct.track(&mut first, Hook::Prerouting, at(1));
        let conn = *ct.of(&first).unwrap().tuple(Reply);
        assert_eq!(ct.lookup(&conn, Zone::default()), None);
        let mut back = udp(family, (2, 53), (1, 1000));
        ct.track(&mut back, Hook::Prerouting, at(1));
        assert_eq!(state(&back), Some((New, Original)));
        assert_ne!(id(&back), id(&first));
        let gone = id(&first);
        ct.release(&mut first);
        ct.release(&mut back);
        assert_eq!((ct.count(), ct.get(gone).is_none()), (0, true));
    }
}

#[test]
fn echo_is_a_connection_and_other_messages_are_not() {
    for (family, request, answer, odd) in [(Family::V4, 8, 0, 9), (Family::V6, 128, 129, 137)] {
        let mut ct = table(100);
        let mut ping = icmp(family, 1, 2, request, 0, &[0, 7, 0, 1]);
        pass(&mut ct, &mut ping, at(1));
        assert_eq!(state(&ping), Some((New, Original)));
        let mut pong = icmp(family, 2, 1, answer, 0, &[0, 7, 0, 1]);
        pass(&mut ct, &mut pong, at(1));
        assert_eq!((state(&pong), id(&pong)), (Some((Established, Reply)), id(&ping)));
        // An answer that nobody asked for; a message that asks for nothing; one cut short.
        let mut stray = icmp(family, 2, 1, answer, 0, &[0, 8, 0, 1]);
        let mut notice = icmp(family, 2, 1, odd, 0, &[0, 8, 0, 1]);
        let mut short = icmp(family, 1, 2, request, 0, &[0, 7]);
        let mut broken = icmp(family, 1, 2, request, 0, &[0, 7, 0, 1]);
        *broken.data.last_mut().unwrap() ^= 1;
        for packet in [&mut stray, &mut notice, &mut short, &mut broken] {
            assert_eq!(pass(&mut ct, packet, at(1)), Verdict::Accept);
            assert_eq!(packet.ct, PacketCt::None);
        }
        assert_eq!((ct.count(), ct.stats().invalid), (1, 4));
        // A packet of this host has no checksum to verify yet.
        broken.ct = PacketCt::None;
        ct.track(&mut broken, Hook::Output, at(1));
        assert_eq!(state(&broken), Some((Established, Original)));
    }
}

#[test]
fn neighbour_and_listener_discovery_are_untracked() {
    let mut ct = table(100);
    for kind in 0..=255 {
        let mut packet = icmp(Family::V6, 1, 2, kind, 0, &[0; 4]);
        pass(&mut ct, &mut packet, at(1));
        let untracked = matches!(kind, 130..=136 | 143 | 151 | 152);
        assert_eq!(packet.ct == PacketCt::Untracked, untracked, "{kind}");
        assert_eq!(state(&packet).is_some(), matches!(kind, 128 | 139), "{kind}");
    }
}

#[test]
fn an_error_belongs_to_the_connection_it_quotes() {
    for (family, unreachable) in [(Family::V4, 3), (Family::V6, 1)] {
        let mut ct = table(100);
        let mut out = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut out, at(1));
        let error = |from, to, quoted: &[u8]| icmp(family, from, to, unreachable, 1, &[&[0; 4], quoted].concat());

        // From a router on the way, about the first packet: goes back to the sender.
        let mut about = error(9, 1, &out.data);
        pass(&mut ct, &mut about, at(1));
        assert_eq!((state(&about), id(&about)), (Some((Related, Reply)), id(&out)));
        // About an answer, quoted no further than its ports.
        let back = udp(family, (2, 53), (1, 1000));
        let ports = usize::from(back.headers.l4) + 4;
        let mut about = error(9, 2, &back.data[..ports]);
        pass(&mut ct, &mut about, at(1));
        assert_eq!((state(&about), id(&about)), (Some((Related, Original)), id(&out)));

        // To somebody else; cut before the ports; about a connection that isn't there.
        for mut packet in [
            error(9, 3, &out.data),
            error(9, 1, &out.data[..ports - 1]),
            error(9, 1, &udp(family, (1, 1001), (2, 53)).data),
        ] {
            pass(&mut ct, &mut packet, at(1));
            assert_eq!(packet.ct, PacketCt::None);
        }
        // Errors neither count nor establish.
        let conn = ct.get(id(&out)).unwrap();
        assert_eq!((conn.counters[0].packets, conn.counters[1].packets), (1, 0));
        assert!(!conn.status.has(Status::SEEN_REPLY));
        assert_eq!(ct.stats().error, 3);
    }
}

#[test]
fn a_later_fragment_is_invalid() {
    let mut ct = table(100);
    let mut bytes = udp(Family::V4, (1, 1000), (2, 53)).data;
    bytes[7] = 1;
    bytes[10..12].fill(0);
    let check = checksum::checksum(&bytes[..20]).to_be_bytes();
    bytes[10..12].copy_from_slice(&check);
    let mut packet = received(bytes);
    assert_eq!(pass(&mut ct, &mut packet, at(1)), Verdict::Accept);
    assert_eq!(packet.ct, PacketCt::None);
}
