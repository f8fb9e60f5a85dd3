//! What happens when the table is full, and what a connection costs.

use super::*;
use crate::conntrack::slab::Entry;
use crate::verdict::DropReason;

/// Confirms a UDP connection from port `port` of host 1.
fn open(ct: &mut Conntrack, family: Family, port: u16, now: Now) -> ConnId {
    let mut packet = udp(family, (1, port), (2, 53));
    assert_eq!(pass(ct, &mut packet, now), Verdict::Accept);
    id(&packet)
}

/// Makes a connection ASSURED by traffic both ways for some seconds.
fn assure(ct: &mut Conntrack, family: Family, port: u16, now: Now) {
    for seconds in [0, 1, 5] {
        let now = now.plus(seconds * Now::SECOND);
        pass(ct, &mut udp(family, (2, 53), (1, port)), now);
        pass(ct, &mut udp(family, (1, port), (2, 53)), now);
    }
}

#[test]
fn the_oldest_unassured_connection_makes_room() {
    for family in FAMILIES {
        let mut ct = table(4);
        let ids: Vec<ConnId> = (0..4).map(|port| open(&mut ct, family, port, at(1))).collect();
        assure(&mut ct, family, 0, at(2));
        assure(&mut ct, family, 2, at(2));
        assert!(ct.get(ids[0]).unwrap().status.has(Status::ASSURED));
        open(&mut ct, family, 100, at(8));
        let living: Vec<bool> = ids.iter().map(|&id| ct.get(id).is_some()).collect();
        assert_eq!(living, [true, false, true, true]);
        open(&mut ct, family, 101, at(8));
        assert!(ct.get(ids[3]).is_none());
        assert_eq!((ct.count(), ct.stats().early_drop, ct.stats().table_full), (4, 2, 0));
    }
}

#[test]
fn a_table_of_assured_connections_refuses() {
    for family in FAMILIES {
        let mut ct = table(3);
        for port in 0..3 {
            open(&mut ct, family, port, at(1));
            assure(&mut ct, family, port, at(2));
        }
        let mut packet = udp(family, (1, 100), (2, 53));
        let verdict = ct.track(&mut packet, Hook::Prerouting, at(8));
        assert_eq!(verdict, Verdict::Drop(DropReason::TableFull));
        assert_eq!((packet.ct, ct.stats().table_full, ct.count()), (PacketCt::None, 1, 3));
        // When they have expired, there is room again, also before anybody has looked for them.
        let later = at(8 + 3600);
        ct.expire(later, 1);
        assert_eq!(pass(&mut ct, &mut udp(family, (1, 100), (2, 53)), later), Verdict::Accept);
    }
}

/// Opens and closes a TCP connection: it is ASSURED, and in TIME_WAIT.
fn open_and_close(ct: &mut Conntrack, family: Family, port: u16, now: Now) -> ConnId {
    const SYN: u8 = 2;
    const FIN: u8 = 1;
    const ACK: u8 = 16;
    let (client, server) = ((1, port), (2, 80));
    let mut last = None;
    for (from_client, flags, seq, ack) in [
        (true, SYN, 100, 0),
        (false, SYN | ACK, 500, 101),
        (true, ACK, 101, 501),
        (true, FIN | ACK, 101, 501),
        (false, FIN | ACK, 501, 102),
        (true, ACK, 102, 502),
    ] {
        let (src, dst) = if from_client { (client, server) } else { (server, client) };
        let mut packet = tcp(family, src, dst, flags, seq, ack);
        assert_eq!(pass(ct, &mut packet, now), Verdict::Accept);
        last = Some(id(&packet));
    }
    last.unwrap()
}

#[test]
fn a_full_table_gives_up_what_is_about_to_end() {
    for family in FAMILIES {
        let mut ct = table(3);
        let closed = open_and_close(&mut ct, family, 1000, at(1));
        let line = ct.records(None).next().unwrap().conntrack_line();
        assert!(
            line.starts_with("tcp      6 120 TIME_WAIT ") && line.contains("[ASSURED]"),
            "{line}"
        );
        for port in 0..2 {
            open(&mut ct, family, port, at(1));
            assure(&mut ct, family, port, at(2));
        }
        ct.expire(at(8), 100);
        assert!(ct.get(closed).is_some(), "nobody needs the room yet");
        let refused = ct.track(&mut udp(family, (1, 100), (2, 53)), Hook::Prerouting, at(8));
        assert_eq!(refused, Verdict::Drop(DropReason::TableFull));
        ct.expire(at(8), 100);
        assert_eq!((ct.get(closed).is_none(), ct.count(), ct.stats().early_drop), (true, 2, 1));
        assert_eq!(pass(&mut ct, &mut udp(family, (1, 100), (2, 53)), at(8)), Verdict::Accept);
    }
}

#[test]
fn connections_that_are_not_confirmed_count() {
    let mut ct = table(2);
    let mut packets: Vec<Packet> = (0..3).map(|port| udp(Family::V4, (1, port), (2, 53))).collect();
    let mut verdicts = Vec::new();
    for packet in &mut packets {
        verdicts.push(ct.track(packet, Hook::Prerouting, at(1)));
    }
    let full = Verdict::Drop(DropReason::TableFull);
    assert_eq!(verdicts, [Verdict::Accept, Verdict::Accept, full]);
    // A packet that is lost on its way does not keep its place for ever.
    ct.expire(at(10_000), 10);
    assert_eq!(ct.count(), 0);
    assert_eq!(
        ct.confirm(&mut packets[0], at(10_000)),
        Verdict::Drop(DropReason::ConfirmClash)
    );
}

#[test]
fn a_connection_assured_from_outside_is_passed_over() {
    let mut ct = table(2);
    open(&mut ct, Family::V4, 1, at(1));
    let second = open(&mut ct, Family::V4, 2, at(1));
    // Made ASSURED where the table does not see it: it is passed over and not dropped.
    let first = ct.lookup(&udp_tuple(Family::V4, 1), Zone::default()).unwrap().0;
    ct.get_mut(first).unwrap().status.set(Status::ASSURED);
    open(&mut ct, Family::V4, 3, at(2));
    assert!(ct.get(first).is_some() && ct.get(second).is_none());
}

fn udp_tuple(family: Family, port: u16) -> Tuple {
    Tuple {
        src: host(family, 1),
        dst: host(family, 2),
        sport: port,
        dport: 53,
        protocol: number::UDP,
        family,
    }
}

#[test]
fn a_connection_costs_at_most_320_bytes() {
    let entry = size_of::<Entry>();
    // Both directions at one place of 8 bytes each, of which between three eighths and three quarters are taken; half a chain's
    // head for those whose source is translated.
    let index = 2 * 8 * 8 / 3;
    assert!(entry + index + 2 <= 320, "{entry} + {index} + 2");
}

#[test]
fn memory_is_what_is_claimed() {
    let mut ct = table(100_000);
    for n in 0..20_000 {
        let mut packet = udp(Family::V6, (n / 1_000, n % 1_000), (2, 53));
        assert_eq!(pass(&mut ct, &mut packet, at(1)), Verdict::Accept);
    }
    let each = ct.memory() / 20_000;
    assert!((200..=320).contains(&each), "{each} bytes");
    // Places are used again.
    let before = ct.memory();
    for round in 2..5 {
        ct.flush();
        assert_eq!(ct.count(), 0);
        for n in 0..20_000 {
            pass(&mut ct, &mut udp(Family::V6, (n / 1_000, n % 1_000), (round, 53)), at(1));
        }
    }
    assert_eq!(ct.memory(), before);
}
