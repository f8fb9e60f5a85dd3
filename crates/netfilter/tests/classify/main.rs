//! The classifier against a comparison with each rule in order.

mod rules;

use fielato_netfilter::classify::{Bounds, Classifier, Key};
use fielato_wire::{Addr, Family};

use rules::{KINDS, Kind, Random, beside, inside, prefix, whole};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// All rules at or above `from` whose bounds hold the key, by comparing each.
fn linear(rules: &[Bounds], key: &Key, from: u32) -> Vec<u32> {
    (0..)
        .zip(rules)
        .filter(|(index, bounds)| *index >= from && bounds.holds(key))
        .map(|(index, _)| index)
        .collect()
}

/// The same, asked of the classifier one after the other.
fn asked(classifier: &Classifier, key: &Key, mut from: u32) -> Vec<u32> {
    let mut found = Vec::new();
    while let Some(index) = classifier.next(key, from) {
        assert!(index >= from, "{index} is before {from}");
        found.push(index);
        from = index + 1;
    }
    found
}

fn same_as_linear(classifier: &Classifier, rules: &[Bounds], key: &Key, from: u32) {
    let expected = linear(rules, key, from);
    assert_eq!(asked(classifier, key, from), expected, "{key:?} from {from}");
    let iterated: Vec<u32> = classifier.matches(key, from).collect();
    assert_eq!(iterated, expected, "iterated, {key:?} from {from}");
}

/// Packets that random rules hold and packets beside them, from the chain's start and from elsewhere.
fn random_packets(family: Family, rules: &[Bounds], packets: usize, random: &mut Random) {
    let classifier = Classifier::build(family, rules);
    for round in 0..packets {
        let rule = rules[random.next() as usize % rules.len()];
        let key = match round % 2 {
            0 => inside(&rule, family, random),
            _ => beside(&rule, family, random),
        };
        let from = if round % 4 < 2 {
            0
        } else {
            random.between(0, rules.len() as u64) as u32
        };
        same_as_linear(&classifier, rules, &key, from);
    }
}

#[test]
fn every_kind_and_size() {
    for family in FAMILIES {
        for kind in KINDS {
            for (seed, count) in [1, 2, 15, 16, 17, 40, 100, 300, 1000, 3000].into_iter().enumerate() {
                let mut random = Random::new(seed as u64 + 1);
                let rules = rules::rules(kind, family, count, &mut random);
                random_packets(family, &rules, 200, &mut random);
            }
        }
    }
}

#[test]
fn kinds_in_one_chain() {
    for family in FAMILIES {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let rules: Vec<Bounds> = (0..40)
                .flat_map(|_| {
                    let kind = random.pick(&KINDS);
                    let count = random.between(1, 60) as usize;
                    rules::rules(kind, family, count, &mut random)
                })
                .collect();
            random_packets(family, &rules, 200, &mut random);
        }
    }
}

#[test]
fn no_rules() {
    for family in FAMILIES {
        let classifier = Classifier::build(family, &[]);
        let key = inside(&any(family), family, &mut Random::new(1));
        assert_eq!(classifier.next(&key, 0), None);
        assert_eq!(classifier.matches(&key, 0).count(), 0);
    }
}

#[test]
fn rules_that_hold_everything() {
    for family in FAMILIES {
        // The open bounds of either family, and those of this one.
        for bounds in [Bounds::ANY, any(family)] {
            let rules = vec![bounds; 5000];
            let classifier = Classifier::build(family, &rules);
            let key = inside(&any(family), family, &mut Random::new(2));
            assert_eq!(asked(&classifier, &key, 0), (0..5000).collect::<Vec<u32>>());
            assert!(classifier.matches(&key, 0).eq(0..5000));
            assert_eq!(classifier.next(&key, 4999), Some(4999));
            assert_eq!(classifier.next(&key, 5000), None);
            assert_eq!(classifier.next(&key, u32::MAX), None);
        }
    }
}

#[test]
fn the_same_rule_many_times() {
    for family in FAMILIES {
        let mut random = Random::new(3);
        for kind in KINDS {
            let rule = rules::rules(kind, family, 1, &mut random);
            let mut chain = rule.repeat(400);
            random_packets(family, &chain, 20, &mut random);
            // With others between.
            for place in (0..chain.len()).step_by(3) {
                chain[place] = any(family);
            }
            random_packets(family, &chain, 20, &mut random);
        }
    }
}

#[test]
fn nested_prefixes() {
    for family in FAMILIES {
        let address = Addr::from_bits(0x2001_0db8_0a01_0203_dead_beef_c0a8_0405 & whole(family).1.to_bits());
        let mut chain = Vec::new();
        for len in 0..=family.bits() {
            for side in [true, false] {
                let mut rule = any(family);
                *(if side { &mut rule.src } else { &mut rule.dst }) = prefix(family, address, len);
                chain.push(rule);
            }
        }
        let mut random = Random::new(4);
        random_packets(family, &chain, 400, &mut random);
        chain.reverse();
        random_packets(family, &chain, 400, &mut random);
        // So many times over that it takes trees.
        let chain = chain.repeat(6);
        random_packets(family, &chain, 200, &mut random);
    }
}

#[test]
fn rules_that_hold_nothing() {
    for family in FAMILIES {
        let mut random = Random::new(5);
        let mut rules = rules::rules(Kind::Mixed, family, 200, &mut random);
        for (place, rule) in rules.iter_mut().enumerate() {
            match place % 9 {
                0 => rule.sport = (2, 1),
                1 => rule.dport = (u16::MAX, 0),
                2 => rule.src = (Addr::from_bits(9), Addr::from_bits(8)),
                3 => rule.dst = (Addr::from_bits(1), Addr::ZERO),
                _ => {}
            }
        }
        let classifier = Classifier::build(family, &rules);
        for _ in 0..500 {
            let key = inside(&any(family), family, &mut random);
            same_as_linear(&classifier, &rules, &key, 0);
        }
        let empty = Bounds {
            sport: (2, 1),
            ..any(family)
        };
        let classifier = Classifier::build(family, &vec![empty; 100]);
        let key = inside(&any(family), family, &mut random);
        assert_eq!(classifier.next(&key, 0), None);
    }
}

#[test]
fn ipv6_ranges_within_a_prefix() {
    // First and last differ in several words, so that words alone can't tell what is inside.
    let address = |text: &str| Addr::v6(text.parse().unwrap());
    let rule = Bounds {
        src: (address("2001:db8::ffff:0:5"), address("2001:db8::1:2:0:3")),
        ..any(Family::V6)
    };
    let classifier = Classifier::build(Family::V6, &[rule, any(Family::V6)]);
    for (source, expected) in [
        ("2001:db8::ffff:0:4", vec![1]),
        ("2001:db8::ffff:0:5", vec![0, 1]),
        ("2001:db8::1:0:0:0", vec![0, 1]),
        ("2001:db8::1:2:0:3", vec![0, 1]),
        ("2001:db8::1:2:0:4", vec![1]),
        ("2001:db8::1:1:ffff:ffff", vec![0, 1]),
    ] {
        let key = Key {
            src: address(source),
            ..inside(&any(Family::V6), Family::V6, &mut Random::new(6))
        };
        assert_eq!(asked(&classifier, &key, 0), expected, "{source}");
    }
}

#[test]
fn memory_is_bounded() {
    for (family, row) in [(Family::V4, 64), (Family::V6, 128)] {
        for kind in KINDS {
            let mut random = Random::new(7);
            let count = 5000;
            let rules = rules::rules(kind, family, count, &mut random);
            let memory = Classifier::build(family, &rules).memory();
            // For a rule three rows and the boxes around them, the slots that lead to them, and its bounds where a row can't
            // express them; and what small sets need.
            let most = count * (3 * row * 8 / 7 + 64 + 112) + 9500 * row;
            assert!(memory <= most, "{family:?} {kind:?}: {memory} bytes, {most} allowed");
        }
    }
}

fn any(family: Family) -> Bounds {
    Bounds {
        src: whole(family),
        dst: whole(family),
        ..Bounds::ANY
    }
}
