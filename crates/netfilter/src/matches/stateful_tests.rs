//! Matches that remember, over IPv4 and IPv6.

use fielato_wire::{Addr, Family, number};

use super::Match;
use super::hashlimit::{Config, Hashlimit};
use super::recent::{Operation, Recent};
use super::set::{Set, Sides};
use super::u32::{Step, Test, U32};
use crate::Now;
use crate::sets::{Kind, Part};
use crate::testkit::{Answer, Kit, both, udp, v4};

fn kits() -> [Kit; 2] {
    both(number::UDP, &udp(1000, 53, &[0; 20])).map(Kit::new)
}

fn recent(operation: Operation, seconds: u32, hits: u32, negated: bool) -> Match {
    Match::Recent(Recent(Box::new(super::recent::Parameters {
        operation,
        negated,
        seconds,
        reap: false,
        hits,
        ttl: false,
        name: "a".into(),
        mask: Addr::from_bits(u128::MAX),
        destination: false,
    })))
}

#[test]
fn recent_remembers_for_its_seconds() {
    for mut kit in kits() {
        let check = recent(Operation::Check, 10, 0, false);
        assert_eq!(kit.answer(&check), Answer::No);
        assert_eq!(kit.answer(&recent(Operation::Check, 10, 0, true)), Answer::Yes);
        assert_eq!(kit.answer(&recent(Operation::Set, 0, 0, false)), Answer::Yes);
        assert_eq!(kit.answer(&check), Answer::Yes);
        kit.now = kit.now.plus(9 * Now::SECOND);
        // Seen again: the ten seconds begin anew.
        assert_eq!(kit.answer(&recent(Operation::Update, 10, 0, false)), Answer::Yes);
        kit.now = kit.now.plus(9 * Now::SECOND);
        assert_eq!(kit.answer(&check), Answer::Yes);
        kit.now = kit.now.plus(2 * Now::SECOND);
        assert_eq!(kit.answer(&check), Answer::No);
        assert_eq!(kit.answer(&recent(Operation::Remove, 0, 0, false)), Answer::Yes);
        assert_eq!(kit.answer(&recent(Operation::Remove, 0, 0, false)), Answer::No);
    }
}

#[test]
fn recent_counts_hits_and_is_bounded() {
    for mut kit in kits() {
        for hit in 1..=6 {
            let expected = if hit >= 4 { Answer::Yes } else { Answer::No };
            kit.answer(&recent(Operation::Set, 0, 0, false));
            assert_eq!(kit.answer(&recent(Operation::Check, 60, 4, false)), expected, "{hit}");
        }
    }
    let mut kit = Kit::new(v4(number::UDP, &udp(1, 2, &[])));
    for host in 0..300 {
        kit.packet.headers.src = Addr::from_bits(host);
        kit.answer(&recent(Operation::Set, 0, 0, false));
    }
    let list = kit.shared.recent.get("a").unwrap();
    assert_eq!(list.addresses().count(), crate::shared::recent::MAX_ENTRIES);
    assert!(list.get(Family::V4, Addr::from_bits(299), 0).is_some());
    assert!(list.get(Family::V4, Addr::from_bits(199), 0).is_none());
}

fn hashlimit(name: &str, above: bool, config: Config) -> Match {
    Match::Hashlimit(Hashlimit(Box::new(super::hashlimit::Parameters {
        above,
        name: name.into(),
        config,
    })))
}

#[test]
fn hashlimit_lets_a_burst_and_then_the_rate_pass() {
    for mut kit in kits() {
        let config = Config {
            average: 100_000, // 10 a second
            burst: 5,
            by_source: true,
            expire: 1000,
            ..Config::default_for(kit.packet.headers.family)
        };
        let limit = hashlimit("a", false, config);
        let passed = |kit: &mut Kit, packets: usize| {
            let answers: Vec<_> = (0..packets).map(|_| kit.answer(&limit)).collect();
            answers.iter().filter(|answer| **answer == Answer::Yes).count()
        };
        assert_eq!(passed(&mut kit, 20), 5);
        kit.now = kit.now.plus(Now::SECOND / 5);
        assert_eq!(passed(&mut kit, 20), 2);
        // Another source has a credit of its own.
        kit.packet.headers.src = Addr::from_bits(77);
        assert_eq!(passed(&mut kit, 20), 5);
        // "above" is what "up to" is not, of the same table.
        assert_eq!(kit.answer(&hashlimit("a", true, config)), Answer::Yes);
        kit.now = kit.now.plus(10 * Now::SECOND);
        assert_eq!(passed(&mut kit, 20), 5);
    }
}

#[test]
fn hashlimit_counts_bytes_and_drops_when_full() {
    for mut kit in kits() {
        let family = kit.packet.headers.family;
        // 1,600 bytes a second: 100 chunks of 16 bytes.
        let config = Config {
            bytes: true,
            average: u64::from(u32::MAX) / 101,
            burst: 0,
            expire: 15_000,
            ..Config::default_for(family)
        };
        let limit = hashlimit("bytes", false, config);
        let chunks = kit.packet.data.len() / 16 + 1;
        let passed = (0..200).filter(|_| kit.answer(&limit) == Answer::Yes).count();
        assert!(
            (100 / chunks..=102 / chunks).contains(&passed),
            "{passed} packets of {chunks} chunks"
        );

        let small = Config {
            average: 1_000_000,
            by_source: true,
            size: 2,
            max: 2,
            expire: 60_000,
            ..Config::default_for(family)
        };
        let limit = hashlimit("small", false, small);
        for (host, answer) in [(1, Answer::Yes), (2, Answer::Yes), (3, Answer::Hotdrop), (1, Answer::Yes)] {
            kit.packet.headers.src = Addr::from_bits(host);
            assert_eq!(kit.answer(&limit), answer, "{host}");
        }
        // Idle entries make room.
        kit.now = kit.now.plus(61 * Now::SECOND);
        kit.packet.headers.src = Addr::from_bits(3);
        assert_eq!(kit.answer(&limit), Answer::Yes);
    }
}

#[test]
fn hashlimit_compares_rates_without_limiting() {
    for mut kit in kits() {
        let config = Config {
            average: 100_000,
            rate_match: true,
            interval: 1,
            expire: 60_000,
            ..Config::default_for(kit.packet.headers.family)
        };
        let limit = hashlimit("rate", false, config);
        let passed = (0..30).filter(|_| kit.answer(&limit) == Answer::Yes).count();
        assert_eq!(passed, 10);
        // The window was over the rate, so the next one is refused whole.
        kit.now = kit.now.plus(Now::SECOND);
        assert_eq!(kit.answer(&limit), Answer::No);
        kit.now = kit.now.plus(Now::SECOND);
        assert_eq!(kit.answer(&limit), Answer::Yes);
    }
}

#[test]
fn sets_are_asked_and_filled() {
    for mut kit in kits() {
        let headers = kit.packet.headers;
        let family = headers.family;
        let kind = Kind {
            counters: true,
            ..Kind::from_name("hash:net,port", family).unwrap()
        };
        kit.shared.sets.create("s", kind).unwrap();
        let sides = Sides { count: 2, source: 1 };
        let ask = |negated| {
            Match::Set(Set(Box::new(super::set::Parameters {
                name: "s".into(),
                negated,
                sides,
                return_nomatch: false,
                keep_counters: false,
                keep_subcounters: false,
                packets: super::set::Compare::Any,
                bytes: super::set::Compare::Any,
            })))
        };
        assert_eq!((kit.answer(&ask(false)), kit.answer(&ask(true))), (Answer::No, Answer::Yes));
        let entry = [Part::Addr(headers.src, family.bits() - 8), Part::Port(number::UDP, 53)];
        kit.shared.sets.get_mut("s").unwrap().add(&entry, None, false, 0).unwrap();
        assert_eq!((kit.answer(&ask(false)), kit.answer(&ask(true))), (Answer::Yes, Answer::No));
        let counted = kit.shared.sets.get("s").unwrap().lookup_exact(&entry, 0).unwrap().counters;
        assert_eq!((counted.packets, counted.bytes), (2, 2 * u64::from(headers.len)));
        kit.packet.headers.dport = 54;
        assert_eq!(kit.answer(&ask(false)), Answer::No);
        let add = crate::Target::Set(crate::targets::set::Set(Box::new(crate::targets::set::Parameters {
            add: Some(("s".into(), sides)),
            ..Default::default()
        })));
        add.apply(&mut kit.context(), &mut crate::context::Slot::None);
        assert_eq!(kit.answer(&ask(false)), Answer::Yes);
    }
}

#[test]
fn only_sets_of_networks_have_exceptions_to_return() {
    for mut kit in kits() {
        let (family, src) = (kit.packet.headers.family, kit.packet.headers.src);
        for (kind, excluded, answers) in [
            ("hash:ip", false, [Answer::Yes, Answer::Yes]),
            ("hash:net", false, [Answer::Yes, Answer::No]),
            ("hash:net", true, [Answer::No, Answer::Yes]),
        ] {
            let _ = kit.shared.sets.destroy("s");
            kit.shared.sets.create("s", Kind::from_name(kind, family).unwrap()).unwrap();
            let set = kit.shared.sets.get_mut("s").unwrap();
            set.add(&[Part::Addr(src, family.bits())], None, excluded, 0).unwrap();
            let given = [false, true].map(|return_nomatch| {
                kit.answer(&Match::Set(Set(Box::new(super::set::Parameters {
                    name: "s".into(),
                    negated: false,
                    sides: Sides { count: 1, source: 1 },
                    return_nomatch,
                    keep_counters: false,
                    keep_subcounters: false,
                    packets: super::set::Compare::Any,
                    bytes: super::set::Compare::Any,
                }))))
            });
            assert_eq!(given, answers, "{kind} {excluded}");
        }
    }
}

#[test]
fn u32_reads_what_it_is_told() {
    let test = |start, steps: Vec<Step>, first, last| {
        Match::U32(U32 {
            negated: false,
            tests: [Test {
                start,
                steps,
                values: vec![first..=last],
            }]
            .into(),
        })
    };
    // The manual's own: the destination port behind an IPv4 header of any length.
    let port = || vec![Step::Right(22), Step::And(0x3c), Step::At(0), Step::And(0xffff)];
    let mut kit = Kit::new(v4(number::UDP, &udp(1000, 53, &[])));
    assert_eq!(kit.answer(&test(0, port(), 53, 53)), Answer::Yes);
    assert_eq!(kit.answer(&test(0, port(), 54, 60)), Answer::No);
    // Beyond the packet, near and far.
    for start in [25, 26, 5000, u32::MAX] {
        assert_eq!(kit.answer(&test(start, vec![], 0, u32::MAX)), Answer::No, "{start}");
    }
    assert_eq!(kit.answer(&test(24, vec![], 0, u32::MAX)), Answer::Yes);
    let far = vec![Step::At(u32::MAX), Step::At(u32::MAX)];
    assert_eq!(kit.answer(&test(0, far, 0, u32::MAX)), Answer::No);
}

#[test]
fn nfacct_counts_to_its_quota() {
    for mut kit in kits() {
        let m = Match::Nfacct(super::nfacct::Nfacct { name: "a".into() });
        assert_eq!(kit.answer(&m), Answer::No);
        kit.shared.nfacct.add("a", Some(crate::shared::nfacct::Quota::Packets(2)));
        let answers: Vec<_> = (0..3).map(|_| kit.answer(&m)).collect();
        assert_eq!(answers, [Answer::No, Answer::No, Answer::Yes]);
    }
}
