//! Expectations.

use super::*;

/// A control connection, and an expectation of a connection from its server to port `port` of its client.
fn announce(ct: &mut Conntrack, family: Family, port: u16) -> (ConnId, Expectation) {
    let mut packet = udp(family, (1, 1000), (2, 21));
    pass(ct, &mut packet, at(1));
    let master = id(&packet);
    let expectation = Expectation {
        tuple: Tuple {
            src: host(family, 2),
            dst: host(family, 1),
            sport: 0,
            dport: port,
            protocol: number::UDP,
            family,
        },
        src_mask: Addr::mask(family, family.bits()),
        sport_mask: 0,
        master,
        zone: Zone::default(),
        helper: None,
        class: HelperKind::Ftp,
        permanent: false,
        nat: ExpectNat::None,
        deadline: at(301).mono,
    };
    (master, expectation)
}

#[test]
fn an_expected_connection_is_related_and_inherits() {
    for family in FAMILIES {
        let mut ct = table(100);
        let (master, mut expectation) = announce(&mut ct, family, 4000);
        let nat = ExpectNat::Follow {
            direction: Direction::Reply,
            saved_addr: host(family, 5),
            saved_port: 9,
        };
        (expectation.nat, expectation.helper) = (nat, Some(HelperKind::Tftp));
        let expected = ct.expect(expectation).unwrap();
        ct.get_mut(master).unwrap().mark = 42;
        // Another port, another host: not meant.
        for mut stranger in [udp(family, (2, 20), (1, 4001)), udp(family, (3, 20), (1, 4000))] {
            pass(&mut ct, &mut stranger, at(2));
            assert_eq!(state(&stranger), Some((CtState::New, Direction::Original)));
        }
        assert!(ct.expectation(expected).is_some());
        let mut data = udp(family, (2, 20), (1, 4000));
        pass(&mut ct, &mut data, at(2));
        assert_eq!(state(&data), Some((CtState::Related, Direction::Original)));
        let conn = ct.of(&data).unwrap();
        assert_eq!(
            (conn.mark, conn.master, conn.helper),
            (42, Some(master), Some(HelperKind::Tftp))
        );
        assert!(conn.status.has(Status::EXPECTED) && !conn.status.has(Status::HELPER));
        assert_eq!(conn.extra.as_ref().unwrap().follow, Some(nat));
        // Met once, and gone.
        assert!(ct.expectation(expected).is_none());
        assert_eq!((ct.expectation_count(), ct.stats().expect_new), (0, 1));
        let mut again = udp(family, (2, 20), (1, 4000));
        pass(&mut ct, &mut again, at(2));
        assert_eq!(state(&again), Some((CtState::Related, Direction::Original)));
        let mut other = udp(family, (2, 21), (1, 4000));
        pass(&mut ct, &mut other, at(2));
        assert_eq!(state(&other), Some((CtState::New, Direction::Original)));
    }
}

#[test]
fn an_expectation_waits_for_its_master_and_not_for_ever() {
    for family in FAMILIES {
        let mut ct = table(100);
        let (_, expectation) = announce(&mut ct, family, 4000);
        let mut waiting = udp(family, (1, 7), (2, 21));
        ct.track(&mut waiting, Hook::Prerouting, at(1));
        let unconfirmed = Expectation {
            master: id(&waiting),
            ..expectation.clone()
        };
        ct.expect(unconfirmed).unwrap();
        let mut early = udp(family, (2, 20), (1, 4000));
        ct.track(&mut early, Hook::Prerouting, at(1));
        assert_eq!(state(&early), Some((CtState::New, Direction::Original)));
        ct.release(&mut early);
        // With its packet goes the connection, and with that its expectation.
        ct.release(&mut waiting);
        assert_eq!(ct.expectation_count(), 0);

        ct.expect(expectation).unwrap();
        let late = at(301);
        let mut packet = udp(family, (2, 20), (1, 4000));
        ct.track(&mut packet, Hook::Prerouting, late);
        assert_eq!(state(&packet), Some((CtState::New, Direction::Original)));
        assert_eq!((ct.expectation_count(), ct.expectations().count()), (1, 0));
        ct.expire(late, 10);
        assert_eq!(ct.expectation_count(), 0);
    }
}

#[test]
fn expectations_end_with_their_master() {
    for family in FAMILIES {
        let mut ct = table(100);
        let (master, expectation) = announce(&mut ct, family, 4000);
        let expected = ct.expect(expectation.clone()).unwrap();
        ct.delete(master);
        assert!(ct.expectation(expected).is_none());
        assert_eq!(ct.expect(expectation), Err(ExpectError::NoMaster));
        assert_eq!(ct.stats().expect_delete, 1);
    }
}

#[test]
fn a_new_expectation_takes_the_place_of_the_oldest() {
    for family in FAMILIES {
        let mut ct = table(100);
        let (_, first) = announce(&mut ct, family, 4000);
        let second = Expectation {
            tuple: Tuple {
                dport: 4001,
                ..first.tuple
            },
            ..first.clone()
        };
        let a = ct.expect(first.clone()).unwrap();
        let b = ct.expect(first).unwrap();
        assert!(ct.expectation(a).is_none(), "an equal one is replaced");
        let c = ct.expect(second).unwrap();
        assert!(
            ct.expectation(b).is_none() && ct.expectation(c).is_some(),
            "FTP has one at a time"
        );
        assert!(ct.unexpect(c) && !ct.unexpect(c));
        assert_eq!(ct.expectation_count(), 0);
    }
}

#[test]
fn expectations_that_overlap_clash() {
    for family in FAMILIES {
        let mut ct = table(100);
        let (_, first) = announce(&mut ct, family, 4000);
        let mut other = udp(family, (1, 1001), (2, 21));
        pass(&mut ct, &mut other, at(1));
        ct.expect(first.clone()).unwrap();
        let rival = Expectation {
            master: id(&other),
            ..first.clone()
        };
        assert_eq!(ct.expect(rival.clone()), Err(ExpectError::Clash));
        let elsewhere = Expectation {
            tuple: Tuple {
                src: host(family, 9),
                ..first.tuple
            },
            ..rival.clone()
        };
        assert!(ct.expect(elsewhere).is_ok());
        let from_anywhere = Expectation {
            src_mask: Addr::ZERO,
            ..rival.clone()
        };
        assert_eq!(ct.expect(from_anywhere), Err(ExpectError::Clash));
        ct.config_mut().expect_max = 1;
        let another = Expectation {
            tuple: Tuple {
                dport: 5000,
                ..first.tuple
            },
            ..first.clone()
        };
        // Its own oldest makes room; the other's doesn't.
        assert_eq!(ct.expect(another), Err(ExpectError::Full));
    }
}

#[test]
fn a_permanent_expectation_stays() {
    let mut ct = table(100);
    let (_, mut expectation) = announce(&mut ct, Family::V4, 4000);
    expectation.permanent = true;
    let expected = ct.expect(expectation).unwrap();
    for port in 20..25 {
        let mut data = udp(Family::V4, (2, port), (1, 4000));
        pass(&mut ct, &mut data, at(2));
        assert_eq!(state(&data), Some((CtState::Related, Direction::Original)));
    }
    assert!(ct.expectation(expected).is_some());
}
