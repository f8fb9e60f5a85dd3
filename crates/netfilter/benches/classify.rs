//! What finding the first rule that can hold a packet costs, by kind and number of rules; and what the classifier takes to build.
//!
//! `cargo bench -p fielato-netfilter --bench classify [FILTER]`. First comes a table of all kinds (build time, memory), then
//! criterion's figures: for "random" a packet that a random rule holds, for "last" one that the last rule holds and no other
//! does, for "none" one that differs from what a rule holds in one field, so that no rule does.
//!
//! Packets are many and in random order, so that what a search reads is not in the first-level cache already. In rule sets of
//! some kinds the rules together hold nearly every packet; then "none" is left out.

#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fielato_netfilter::classify::{Bounds, Classifier, Key};
use fielato_wire::{Addr, Family};

#[path = "../tests/classify/rules.rs"]
#[allow(dead_code)]
mod rules;

use rules::{KINDS, Kind, Random, beside, inside, prefix};

const SIZES: [usize; 4] = [10, 1000, 10_000, 100_000];
/// Kinds that stand for what chains look like; the others are for the table.
const TIMED: [Kind; 6] = [
    Kind::Mixed,
    Kind::Crowded,
    Kind::Pairs,
    Kind::Services,
    Kind::Ranges,
    Kind::Site,
];
const PACKETS: usize = 4096;

fn tables(_: &mut Criterion) {
    println!("{:3} {:13} {:>8} {:>10} {:>12}", "", "rules", "", "build, ms", "memory, MB");
    for family in [Family::V4, Family::V6] {
        for kind in KINDS {
            for count in SIZES {
                let rules = rules::rules(kind, family, count, &mut Random::new(7));
                let start = Instant::now();
                let classifier = black_box(Classifier::build(family, &rules));
                let build = start.elapsed().as_secs_f64() * 1e3;
                let memory = classifier.memory() as f64 / 1e6;
                println!(
                    "{family:3?} {kind:13?} {count:8} {build:10.1} {memory:12.2}",
                    kind = format!("{kind:?}")
                );
            }
        }
    }
}

fn search(criterion: &mut Criterion) {
    for family in [Family::V4, Family::V6] {
        for kind in TIMED {
            let mut group = criterion.benchmark_group(format!("{family:?} {kind:?}"));
            group.throughput(Throughput::Elements(PACKETS as u64));
            for count in SIZES {
                let case = Case::new(family, kind, count);
                for (name, packets) in [("random", &case.random), ("last", &case.last), ("none", &case.none)] {
                    if packets.len() < PACKETS {
                        continue;
                    }
                    group.bench_with_input(BenchmarkId::new(name, count), packets, |bencher, packets| {
                        bencher.iter(|| {
                            packets
                                .iter()
                                .filter_map(|key| case.classifier.next(key, 0))
                                .map(u64::from)
                                .sum::<u64>()
                        });
                    });
                }
            }
            group.finish();
        }
    }
}

/// Rules, and packets for them.
struct Case {
    classifier: Classifier,
    random: Vec<Key>,
    last: Vec<Key>,
    none: Vec<Key>,
}

impl Case {
    fn new(family: Family, kind: Kind, count: usize) -> Self {
        let mut random = Random::new(7);
        let mut rules = rules::rules(kind, family, count, &mut random);
        let hosts = last_rule(family);
        rules.push(hosts);
        let classifier = Classifier::build(family, &rules);

        let inside_any = |random: &mut Random| {
            let rule = rules[random.next() as usize % count];
            inside(&rule, family, random)
        };
        let held = (0..PACKETS).map(|_| inside_any(&mut random)).collect();
        let tries = 100 * PACKETS;
        let last = (0..tries)
            .map(|_| inside(&hosts, family, &mut random))
            .filter(|key| classifier.next(key, 0) == Some(count as u32))
            .take(PACKETS)
            .collect();
        let none = (0..tries)
            .map(|_| {
                let rule = rules[random.next() as usize % count];
                beside(&rule, family, &mut random)
            })
            .filter(|key| classifier.next(key, 0).is_none())
            .take(PACKETS)
            .collect();
        Self {
            classifier,
            random: held,
            last,
            none,
        }
    }
}

/// One network to another by a protocol that few other rules name.
fn last_rule(family: Family) -> Bounds {
    let network = |bits: u128| {
        let address = Addr::from_bits(bits << (family.bits() - 32));
        prefix(family, address, 24)
    };
    Bounds {
        src: network(0xcb00_7100),
        dst: network(0xc633_6400),
        protocol: Some(132),
        ..Bounds::ANY
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800)).sample_size(20);
    targets = tables, search
}
criterion_main!(benches);
