use std::net::Ipv4Addr;

use fielato_wire::{Addr, Family, number};

use super::*;
use crate::conntrack::Tuple;
use crate::rule::Match;
use crate::testkit::{self, Answer, answer};

/// 10.0.0.1:4000 → 192.0.2.1:80, its destination translated from 192.0.2.1 to 10.0.1.2; 90 s left at 1,000 s.
fn conn() -> Conn {
    let tuple = |src: [u8; 4], dst: [u8; 4], sport, dport| Tuple {
        src: Addr::from(Ipv4Addr::from(src)),
        dst: Addr::from(Ipv4Addr::from(dst)),
        sport,
        dport,
        protocol: number::TCP,
        family: Family::V4,
    };
    let original = tuple([10, 0, 0, 1], [192, 0, 2, 1], 4000, 80);
    let mut conn = testkit::connection(original);
    conn.tuples[1] = tuple([10, 0, 1, 2], [10, 0, 0, 1], 8080, 4000);
    conn.status = Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::DST_NAT);
    conn.deadline = 1090 * Now::SECOND + 500_000_000;
    conn
}

fn address(network: [u8; 4], len: u8) -> Option<AddressMatch> {
    Some(AddressMatch {
        network: Addr::from(Ipv4Addr::from(network)),
        mask: Addr::mask(Family::V4, len),
        negated: false,
    })
}

#[test]
fn criteria_look_at_both_tuples() {
    let original = |ends| Criteria {
        ends: [ends, Ends::default()],
        ..Criteria::default()
    };
    let reply = |ends| Criteria {
        ends: [Ends::default(), ends],
        ..Criteria::default()
    };
    let none = Ends::default();
    let cases = [
        (
            original(Ends {
                source: address([10, 0, 0, 0], 24),
                ..none
            }),
            true,
        ),
        (
            original(Ends {
                destination: address([192, 0, 2, 1], 32),
                ..none
            }),
            true,
        ),
        (
            original(Ends {
                destination: address([10, 0, 1, 2], 32),
                ..none
            }),
            false,
        ),
        (
            reply(Ends {
                source: address([10, 0, 1, 2], 32),
                ..none
            }),
            true,
        ),
        (
            reply(Ends {
                destination: address([10, 0, 1, 2], 32),
                ..none
            }),
            false,
        ),
        (
            original(Ends {
                dport: Some(Range::one(80)),
                ..none
            }),
            true,
        ),
        (
            original(Ends {
                sport: Some(Range::new(1, 3999)),
                ..none
            }),
            false,
        ),
        (
            reply(Ends {
                sport: Some(Range::one(8080)),
                ..none
            }),
            true,
        ),
        (
            reply(Ends {
                dport: Some(Range::one(4000).not()),
                ..none
            }),
            false,
        ),
        (
            Criteria {
                protocol: Some(Range::one(number::TCP)),
                ..Criteria::default()
            },
            true,
        ),
        (
            Criteria {
                protocol: Some(Range::one(number::TCP).not()),
                ..Criteria::default()
            },
            false,
        ),
        (
            Criteria {
                direction: Some(Direction::Original),
                ..Criteria::default()
            },
            true,
        ),
        (
            Criteria {
                direction: Some(Direction::Reply),
                ..Criteria::default()
            },
            false,
        ),
        (
            Criteria {
                status: Some(Status::SEEN_REPLY),
                ..Criteria::default()
            },
            true,
        ),
        (
            Criteria {
                status: Some(Status::ASSURED),
                ..Criteria::default()
            },
            false,
        ),
        (
            Criteria {
                status: Some(0),
                ..Criteria::default()
            },
            false,
        ),
        (
            Criteria {
                status: Some(0),
                status_negated: true,
                ..Criteria::default()
            },
            true,
        ),
        (
            Criteria {
                expires: Some(Range::one(90)),
                ..Criteria::default()
            },
            true,
        ),
        (
            Criteria {
                expires: Some(Range::new(91, 100)),
                ..Criteria::default()
            },
            false,
        ),
    ];
    for (criteria, expected) in cases {
        assert_eq!(
            criteria.hold(&conn(), Direction::Original, Now::from_secs(1000)),
            expected,
            "{criteria:?}"
        );
    }
}

#[test]
fn without_connection_only_the_state_answers() {
    let state = |states, negated| {
        let states = States(states);
        Some(StateMatch { states, negated })
    };
    let criteria = Some(Box::new(Criteria {
        status: Some(Status::ASSURED),
        ..Criteria::default()
    }));
    for packet in testkit::both(number::UDP, &[0; 8]) {
        let ask = |state, criteria| answer(Match::Conntrack(Conntrack { state, criteria }), packet.clone());
        assert_eq!(ask(state(States::INVALID, false), None), Answer::Yes);
        assert_eq!(ask(state(States::INVALID, false), criteria.clone()), Answer::Yes);
        assert_eq!(ask(state(States::NEW, true), criteria.clone()), Answer::Yes);
        assert_eq!(ask(state(States::NEW, false), criteria.clone()), Answer::No);
        assert_eq!(ask(None, criteria.clone()), Answer::No);
    }
}
