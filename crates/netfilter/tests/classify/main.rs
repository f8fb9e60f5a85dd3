//! The classifier against a comparison with each rule in order.

mod rules;

use fielato_netfilter::classify::{Bounds, Classifier, Key};
use fielato_wire::Family;

use rules::{KINDS, Random, beside, inside};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// All rules whose bounds hold the key, by comparing each.
fn linear(rules: &[Bounds], key: &Key) -> Vec<u32> {
    let held = rules.iter().enumerate().filter(|(_, bounds)| bounds.holds(key));
    held.map(|(index, _)| index as u32).collect()
}

/// The same, asked of the classifier one after the other.
fn listed(classifier: &Classifier, key: &Key) -> Vec<u32> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(index) = classifier.next(key, from) {
        assert!(index >= from, "{index} is before {from}");
        found.push(index);
        from = index + 1;
    }
    found
}

fn same_as_linear(family: Family, rules: &[Bounds], keys: usize, random: &mut Random) {
    let classifier = Classifier::build(family, rules);
    for round in 0..keys {
        let rule = match rules.len() {
            0 => Bounds::ANY,
            len => rules[random.next() as usize % len],
        };
        let rule = if rule.src.0 > rule.src.1 || rule.sport.0 > rule.sport.1 {
            Bounds::ANY
        } else {
            rule
        };
        let key = if round % 2 == 0 {
            inside(&rule, family, random)
        } else {
            beside(&rule, family, random)
        };
        assert_eq!(listed(&classifier, &key), linear(rules, &key), "{key:?}");
    }
}

#[test]
fn every_kind_and_size() {
    for family in FAMILIES {
        for kind in KINDS {
            for (seed, count) in [1, 2, 15, 16, 17, 40, 100, 300, 1000, 3000].into_iter().enumerate() {
                let mut random = Random::new(seed as u64 + 1);
                let rules = rules::rules(kind, family, count, &mut random);
                same_as_linear(family, &rules, 200, &mut random);
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
            same_as_linear(family, &rules, 200, &mut random);
        }
    }
}
