//! Random operations, and what must hold after each.

use std::collections::HashMap;

use super::*;
use crate::conntrack::slab::Phase;

/// Everything that must agree with everything else.
fn check(ct: &Conntrack) {
    let mut tuples = HashMap::new();
    let (mut slots, mut used, mut unassured, mut expecting) = (0, 0, 0, 0);
    for index in 0..ct.slab.places() {
        let entry = ct.slab.entry(index).unwrap();
        if entry.phase == Phase::Free {
            continue;
        }
        used += 1;
        unassured += usize::from(entry.in_age_list);
        expecting += entry.conn.extra.as_ref().map_or(0, |extra| extra.expecting.len());
        if entry.phase != Phase::Confirmed {
            continue;
        }
        let only_reply = entry.conn.status.has(Status::NAT_CLASH);
        for direction in [Direction::Original, Direction::Reply] {
            if only_reply && direction == Direction::Original {
                continue;
            }
            slots += 1;
            let key = (
                *entry.conn.tuple(direction),
                entry.conn.zone.in_direction(direction),
                direction,
            );
            let alive = ct.is_alive(entry);
            if alive {
                assert_eq!(tuples.insert(key, index), None, "two live connections share {key:?}");
            }
            let found = ct.lookup(&key.0, entry.conn.zone);
            assert_eq!(found.is_some(), alive || found.is_some_and(|(id, _)| id.index != index));
        }
    }
    assert_eq!(ct.count(), used);
    assert_eq!(ct.index.len(), slots);
    assert_eq!(ct.slab.age_list_len(), unassured);
    assert_eq!(ct.expectation_count() as usize, expecting);
    assert!(ct.count() <= ct.config().max);
    assert!(ct.expectation_count() <= ct.config().expect_max);
}

#[test]
fn indexes_agree_and_limits_hold_after_random_operations() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut ct = table(60);
        ct.config_mut().expect_max = 8;
        let mut now = at(1);
        let mut waiting: Vec<Packet> = Vec::new();
        let (mut full, mut clashes) = (0, 0);
        for step in 0..20_000 {
            now = now.plus(rng.u64(0..Now::SECOND / 2));
            let family = FAMILIES[rng.usize(0..2)];
            let mut end = || (rng.u16(1..4), rng.u16(1..6));
            let (src, dst) = (end(), end());
            match rng.u8(0..20) {
                0..=9 => {
                    let mut packet = udp(family, src, dst);
                    if rng.u8(0..8) == 0 {
                        let (id, directions) = (rng.u16(0..2), rng.u8(0..3));
                        packet.template = Some(Box::new(Template {
                            zone: Zone { id, directions },
                            ..Template::default()
                        }));
                    }
                    full += usize::from(ct.track(&mut packet, Hook::Prerouting, now) != Verdict::Accept);
                    if let PacketCt::Tracked { id, .. } = packet.ct {
                        if rng.u8(0..4) == 0 {
                            ct.note_source(id);
                        }
                        // As NAT would.
                        if let Some(mut reply) = ct.of(&packet).map(|conn| conn.tuples[1])
                            && rng.u8(0..3) == 0
                        {
                            reply.dport = rng.u16(1..6);
                            let zone = ct.of(&packet).unwrap().zone;
                            if !ct.tuple_taken(&reply, zone, id) && ct.alter_reply(id, reply) {
                                ct.get_mut(id).unwrap().status.set(Status::SRC_NAT | Status::SRC_NAT_DONE);
                            }
                        }
                    }
                    waiting.push(packet);
                }
                10..=14 if !waiting.is_empty() => {
                    let mut packet = waiting.swap_remove(rng.usize(0..waiting.len()));
                    clashes += usize::from(ct.confirm(&mut packet, now) != Verdict::Accept);
                }
                15 if !waiting.is_empty() => {
                    let mut packet = waiting.swap_remove(rng.usize(0..waiting.len()));
                    ct.release(&mut packet);
                }
                16 => {
                    let some = ct.iter().nth(rng.usize(0..20)).map(|(id, _)| id);
                    if let Some(id) = some {
                        ct.delete(id);
                    }
                }
                17 => ct.expire(now, rng.usize(0..30)),
                18 => {
                    let some = ct.iter().nth(rng.usize(0..20)).map(|(id, conn)| (id, conn.tuples[0]));
                    if let Some((master, tuple)) = some {
                        let permanent = rng.bool();
                        let _ = ct.expect(Expectation {
                            tuple,
                            src_mask: if rng.bool() { Addr::ZERO } else { Addr::mask(family, 128) },
                            sport_mask: 0,
                            master,
                            zone: Zone::default(),
                            helper: None,
                            class: if rng.bool() { HelperKind::Ftp } else { HelperKind::Tftp },
                            permanent,
                            nat: ExpectNat::None,
                            deadline: now.plus(rng.u64(0..60) * Now::SECOND).mono,
                        });
                    }
                }
                _ if step % 1000 == 0 => ct.flush(),
                _ => {}
            }
            // At times so many packets are on their way that they alone fill the table.
            let most = if step / 1000 % 4 == 0 { 100 } else { 30 };
            while waiting.len() > most {
                let mut packet = waiting.remove(0);
                ct.release(&mut packet);
            }
            if step % 20 == 0 {
                check(&ct);
            }
        }
        assert!(
            full > 0 && clashes > 0 && ct.stats().early_drop > 0 && ct.stats().expect_new > 0,
            "{:?}",
            ct.stats()
        );
        for packet in &mut waiting {
            ct.release(packet);
        }
        ct.flush();
        check(&ct);
        assert_eq!((ct.count(), ct.index.len(), ct.expectation_count()), (0, 0, 0));
    }
}

/// Any bytes: nothing panics, and what is tracked has an inverse.
#[test]
fn no_packet_is_too_strange() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut ct = table(500);
    let mut tracked = 0;
    for step in 0..60_000u64 {
        let family = FAMILIES[rng.usize(0..2)];
        let protocol = *rng
            .choice(&[1, 6, 17, 47, 58, 33, 132, 136, 0, 43, 44, 51, 60, 59, 99])
            .unwrap();
        let mut transport: Vec<u8> = (0..rng.usize(0..120)).map(|_| rng.u8(..)).collect();
        if let Some(first) = transport.first_mut()
            && rng.bool()
        {
            *first = *rng.choice(&[0, 1, 3, 5, 8, 11, 128, 129, 135, 137]).unwrap();
        }
        if transport.len() > 8 && rng.bool() {
            let quoted = udp(family, (1, 1), (2, 2)).data;
            let len = rng.usize(0..=quoted.len().min(transport.len() - 8));
            transport[8..8 + len].copy_from_slice(&quoted[..len]);
        }
        let bytes = ip(family, host(family, 1), host(family, 2), protocol, &transport);
        let Ok(mut packet) = Packet::received(bytes, Interface::NONE) else {
            continue;
        };
        let hook = if rng.bool() { Hook::Prerouting } else { Hook::Output };
        ct.track(&mut packet, hook, at(step / 100));
        if state(&packet).is_some() {
            tracked += 1;
            let original = ct.of(&packet).unwrap().tuples[0];
            assert_eq!(original.invert().and_then(|inverse| inverse.invert()), Some(original));
        }
        if rng.bool() {
            ct.confirm(&mut packet, at(step / 100));
        } else {
            ct.release(&mut packet);
        }
    }
    assert!(tracked > 1_000, "{tracked}");
    check(&ct);
}
