//! Beginning and end: timeouts, confirmation, clashes, zones, templates.

use super::*;
use crate::verdict::DropReason;

#[test]
fn a_connection_ends_by_its_timeout() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut first = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut first, at(100));
        let tuple = ct.get(id(&first)).unwrap().tuples[0];
        // UDP without an answer: 30 seconds.
        ct.expire(at(129), 100);
        assert!(ct.lookup(&tuple, Zone::default()).is_some());
        // Dead to every packet at once, found or not.
        ct.expire(at(130), 0);
        assert!(ct.lookup(&tuple, Zone::default()).is_none());
        assert_eq!((ct.count(), ct.iter().count()), (1, 0));
        let mut again = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut again, at(130));
        assert_ne!(id(&again), id(&first));
        assert_eq!((ct.count(), ct.stats().expired), (1, 1));
        ct.expire(at(1000), 100);
        assert_eq!((ct.count(), ct.stats().expired), (0, 2));
    }
}

#[test]
fn the_search_for_expired_ones_keeps_to_its_budget() {
    let mut ct = table(10_000);
    for port in 0..1_000 {
        pass(&mut ct, &mut udp(Family::V4, (1, port), (2, 53)), at(1));
    }
    ct.expire(at(1000), 300);
    assert_eq!(ct.count(), 700);
    ct.expire(at(1000), 300);
    assert_eq!(ct.count(), 400);
    ct.expire(at(1000), usize::MAX);
    assert_eq!(ct.count(), 0);
}

#[test]
fn the_timeout_counts_from_the_confirmation() {
    let mut ct = table(100);
    let mut packet = udp(Family::V4, (1, 1000), (2, 53));
    ct.track(&mut packet, Hook::Prerouting, at(10));
    ct.confirm(&mut packet, at(25));
    assert_eq!(ct.of(&packet).unwrap().deadline, at(25 + 30).mono);
}

#[test]
fn time_that_goes_back_is_not_believed() {
    let mut ct = table(100);
    pass(&mut ct, &mut udp(Family::V4, (1, 1000), (2, 53)), at(100));
    ct.expire(at(10), 100);
    let mut late = udp(Family::V4, (2, 53), (1, 1000));
    pass(&mut ct, &mut late, at(10));
    assert_eq!(state(&late), Some((CtState::Established, Direction::Reply)));
}

#[test]
fn equal_connections_that_meet_at_confirmation_become_one() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut packets = [udp(family, (1, 1000), (2, 53)), udp(family, (1, 1000), (2, 53))];
        for packet in &mut packets {
            ct.track(packet, Hook::Prerouting, at(1));
        }
        assert_ne!(id(&packets[0]), id(&packets[1]));
        for packet in &mut packets {
            assert_eq!(ct.confirm(packet, at(1)), Verdict::Accept);
        }
        assert_eq!(id(&packets[0]), id(&packets[1]));
        assert_eq!(ct.of(&packets[0]).unwrap().counters[0].packets, 2);
        assert_eq!((ct.count(), ct.stats().clash_resolve, ct.stats().insert_failed), (1, 1, 0));

        // Both ends begin at once.
        let mut packets = [udp(family, (1, 7), (2, 8)), udp(family, (2, 8), (1, 7))];
        for packet in &mut packets {
            ct.track(packet, Hook::Prerouting, at(1));
        }
        for packet in &mut packets {
            assert_eq!(ct.confirm(packet, at(1)), Verdict::Accept);
        }
        assert_eq!((id(&packets[0]), ct.count()), (id(&packets[1]), 2));
    }
}

#[test]
fn an_echo_that_clashes_is_dropped() {
    for (family, request) in [(Family::V4, 8), (Family::V6, 128)] {
        let mut ct = table(100);
        let mut packets = [0; 2].map(|_| icmp(family, 1, 2, request, 0, &[0, 7, 0, 1]));
        for packet in &mut packets {
            ct.track(packet, Hook::Prerouting, at(1));
        }
        assert_eq!(ct.confirm(&mut packets[0], at(1)), Verdict::Accept);
        assert_eq!(ct.confirm(&mut packets[1], at(1)), Verdict::Drop(DropReason::ConfirmClash));
        assert_eq!((packets[1].ct, ct.count()), (PacketCt::None, 1));
    }
}

/// One question sent twice at once, and destination NAT gave each copy another server: answers of both come through.
#[test]
fn translated_connections_that_clash_keep_their_answers() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut packets = [udp(family, (1, 1000), (2, 53)), udp(family, (1, 1000), (2, 53))];
        for (packet, server) in packets.iter_mut().zip([7, 8]) {
            ct.track(packet, Hook::Prerouting, at(1));
            let mut reply = ct.of(packet).unwrap().tuples[1];
            reply.src = host(family, server);
            assert!(!ct.tuple_taken(&reply, Zone::default(), id(packet)));
            assert!(ct.alter_reply(id(packet), reply));
            let done = Status::DST_NAT | Status::DST_NAT_DONE | Status::SRC_NAT_DONE;
            ct.get_mut(id(packet)).unwrap().status.set(done);
        }
        for packet in &mut packets {
            assert_eq!(ct.confirm(packet, at(1)), Verdict::Accept);
        }
        let (winner, loser) = (id(&packets[0]), id(&packets[1]));
        assert_ne!(winner, loser);
        let mut question = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut question, at(1));
        assert_eq!(id(&question), winner);
        assert_eq!(ct.records(None).count(), 1, "the loser is not listed");
        let mut answer = udp(family, (8, 53), (1, 1000));
        pass(&mut ct, &mut answer, at(1));
        assert_eq!((id(&answer), state(&answer).unwrap().1), (loser, Direction::Reply));
        // It was there for one answer only, and for a second.
        let mut answer = udp(family, (8, 53), (1, 1000));
        pass(&mut ct, &mut answer, at(1));
        assert_eq!(state(&answer), Some((CtState::New, Direction::Original)));
        assert_eq!(ct.of(&question).map(|conn| conn.tuples[1].src), Some(host(family, 7)));
    }
}

#[test]
fn a_reply_tuple_in_use_is_taken() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut first = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut first, at(1));
        let mut second = udp(family, (3, 1000), (2, 53));
        ct.track(&mut second, Hook::Prerouting, at(1));
        let taken = ct.of(&first).unwrap().tuples[1];
        let free = Tuple { dport: 1001, ..taken };
        let zone = Zone::default();
        assert!(ct.tuple_taken(&taken, zone, id(&second)));
        assert!(!ct.tuple_taken(&taken, zone, id(&first)), "its own");
        assert!(!ct.tuple_taken(&free, zone, id(&second)));
        let elsewhere = Zone { id: 5, directions: 0 };
        assert!(!ct.tuple_taken(&taken, elsewhere, id(&second)));
        // A confirmed connection keeps its tuples.
        assert!(!ct.alter_reply(id(&first), free));
    }
}

#[test]
fn sources_that_are_mapped_are_found() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut ids = Vec::new();
        for server in 10..13 {
            let mut packet = udp(family, (1, 1000), (server, 53));
            ct.track(&mut packet, Hook::Prerouting, at(1));
            ct.note_source(id(&packet));
            ct.note_source(id(&packet));
            ct.confirm(&mut packet, at(1));
            ids.push(id(&packet));
        }
        pass(&mut ct, &mut udp(family, (1, 1000), (13, 53)), at(1));
        let mut other = udp(family, (1, 1001), (10, 53));
        ct.track(&mut other, Hook::Prerouting, at(1));
        ct.note_source(id(&other));
        let original = ct.get(ids[0]).unwrap().tuples[0];
        let find = |ct: &Conntrack, zone| -> Vec<ConnId> { ct.mapped_source(&original, zone).collect() };
        assert_eq!(find(&ct, Zone::default()), [ids[2], ids[1], ids[0]]);
        assert!(find(&ct, Zone { id: 1, directions: 0 }).is_empty());
        ct.delete(ids[1]);
        assert_eq!(find(&ct, Zone::default()), [ids[2], ids[0]]);
        ct.flush();
        ct.release(&mut other);
        assert!(find(&ct, Zone::default()).is_empty());
    }
}

fn in_zone(mut packet: Packet, zone: Zone) -> Packet {
    packet.template = Some(Box::new(Template {
        zone,
        ..Template::default()
    }));
    packet
}

#[test]
fn zones_keep_connections_apart() {
    for family in FAMILIES {
        let mut ct = table(100);
        let zones = [0, 1, 2].map(|id| Zone { id, directions: 0 });
        let mut ids = Vec::new();
        for zone in zones {
            let mut packet = in_zone(udp(family, (1, 1000), (2, 53)), zone);
            pass(&mut ct, &mut packet, at(1));
            assert!(packet.template.is_none());
            assert_eq!(ct.of(&packet).unwrap().zone, zone);
            ids.push(id(&packet));
        }
        assert_eq!(ct.count(), 3);
        for (zone, wanted) in zones.into_iter().zip(ids) {
            let mut back = in_zone(udp(family, (2, 53), (1, 1000)), zone);
            pass(&mut ct, &mut back, at(1));
            assert_eq!((id(&back), state(&back).unwrap().1), (wanted, Direction::Reply));
        }
    }
}

/// `--zone-orig`: clients with the same addresses behind different interfaces; answers come in the default zone.
#[test]
fn a_zone_may_count_in_one_direction() {
    for family in FAMILIES {
        let mut ct = table(100);
        let zone = Zone { id: 9, directions: 1 };
        let mut packet = in_zone(udp(family, (1, 1000), (2, 53)), zone);
        pass(&mut ct, &mut packet, at(1));
        let mut plain = udp(family, (1, 1000), (2, 53));
        ct.track(&mut plain, Hook::Prerouting, at(1));
        assert_ne!(id(&plain), id(&packet));
        ct.release(&mut plain);
        let mut back = udp(family, (2, 53), (1, 1000));
        pass(&mut ct, &mut back, at(1));
        assert_eq!((id(&back), state(&back).unwrap().1), (id(&packet), Direction::Reply));
        // Seen from the zone too.
        let mut back = in_zone(udp(family, (2, 53), (1, 1000)), zone);
        pass(&mut ct, &mut back, at(1));
        assert_eq!(id(&back), id(&packet));
        assert!(ct.delete(id(&packet)));
        assert_eq!((ct.count(), ct.index.len()), (0, 0));
    }
}

#[test]
fn a_template_gives_a_new_connection_its_wishes() {
    let mut ct = table(100);
    let seconds = vec![5, 500];
    let protocol = number::UDP;
    ct.set_timeout_policy("short", TimeoutPolicy { protocol, seconds });
    let template = Template {
        zone_from_mark: true,
        helper: Some(HelperKind::Tftp),
        timeout: Some("short".into()),
        events: Some(1),
        ..Template::default()
    };
    let mut packet = udp(Family::V4, (1, 1000), (2, 69));
    packet.mark = 0x1_0007;
    packet.template = Some(Box::new(template));
    pass(&mut ct, &mut packet, at(1));
    let conn = ct.of(&packet).unwrap();
    assert_eq!((conn.zone.id, conn.helper), (7, Some(HelperKind::Tftp)));
    assert!(conn.status.has(Status::HELPER));
    assert_eq!(conn.deadline, at(6).mono);
    assert_eq!(conn.extra.as_ref().unwrap().events, Some(1));
}

#[test]
fn a_deleted_connection_is_gone_from_everywhere() {
    for family in FAMILIES {
        let mut ct = table(100);
        let mut packet = udp(family, (1, 1000), (2, 53));
        pass(&mut ct, &mut packet, at(1));
        ct.note_source(id(&packet));
        assert!(ct.delete(id(&packet)));
        assert!(!ct.delete(id(&packet)));
        assert_eq!((ct.count(), ct.index.len(), ct.of(&packet).is_none()), (0, 0, true));

        // Not confirmed yet: it will not be.
        let mut waiting = udp(family, (1, 1000), (2, 53));
        ct.track(&mut waiting, Hook::Prerouting, at(1));
        ct.flush();
        assert!(ct.of(&waiting).is_some());
        assert_eq!(ct.confirm(&mut waiting, at(1)), Verdict::Drop(DropReason::ConfirmClash));
        assert_eq!(ct.count(), 0);
    }
}

#[test]
fn a_seen_or_excluded_packet_is_left_alone() {
    let mut ct = table(100);
    let mut packet = udp(Family::V4, (1, 1000), (2, 53));
    packet.ct = PacketCt::Untracked;
    pass(&mut ct, &mut packet, at(1));
    assert_eq!((packet.ct, ct.count()), (PacketCt::Untracked, 0));
    packet.ct = PacketCt::None;
    pass(&mut ct, &mut packet, at(1));
    let first = packet.ct;
    // By loopback it comes again, with its connection.
    pass(&mut ct, &mut packet, at(1));
    assert_eq!((packet.ct, ct.of(&packet).unwrap().counters[0].packets), (first, 1));
}
