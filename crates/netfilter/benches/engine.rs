//! What a packet costs in the engine: established flows, new flows among few and many rules, with and without connection
//! tracking, masqueraded; compiling; memory. Writes `bench/results/netfilter.json`.
//!
//! `cargo bench -p fielato-netfilter --bench engine [FILTER]`. One core, one direction at a time, UDP packets of 64 bytes, IPv4
//! and IPv6. A packet's cost is the whole of [`Netfilter::receive_in_place`], parsing and checksum of the IP header included, the
//! copying of 64 bytes into its buffer too.

#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::Criterion;
use fielato_netfilter::classify::Bounds;
use fielato_netfilter::conntrack::{Config, Tracking};
use fielato_netfilter::engine::Ended;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::host::{AddressType, Route, RouteKey};
use fielato_netfilter::matches::iprange::{IpRanges, Iprange};
use fielato_netfilter::matches::tcp::Tcp;
use fielato_netfilter::matches::udp::Udp;
use fielato_netfilter::matches::{Match, Range};
use fielato_netfilter::rule::{AddressMatch, InterfaceMatch, Rule, Target};
use fielato_netfilter::targets::masquerade::Masquerade;
use fielato_netfilter::{Host, Interface, Netfilter, Now, Packet, Ruleset, Table};
use fielato_testkit::bench::{self, Goal, Limit};
use fielato_wire::build::Ip;
use fielato_wire::{Addr, Family, number};
use serde_json::json;

#[path = "../tests/classify/rules.rs"]
#[allow(dead_code)]
mod rules;

use rules::{Kind, Random, inside};

/// Counts what is allocated, for memory per connection and per rule.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator; the counter doesn't touch memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of a packet.
const SIZE: usize = 64;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const RULES: [usize; 4] = [10, 1_000, 10_000, 100_000];
const FLOWS: [usize; 3] = [1, 1_000, 1_000_000];
/// Packets received at once, where they are.
const BATCH: usize = 32;
/// Packets of new flows per round.
const NEW: usize = 8_192;

/// A packet, the way it comes in and the way it goes out. In one piece, so that fetching it costs the same as from a device.
#[derive(Clone)]
#[repr(align(128))]
struct Sent {
    bytes: [u8; SIZE],
    way_in: Interface,
    way_out: Interface,
}

/// A router that sends by the way it is told.
struct Router(Interface);

impl Host for Router {
    fn route(&mut self, _: &RouteKey) -> Route {
        Route::Out {
            interface: self.0,
            mtu: 1500,
            realm: 0,
        }
    }

    fn address_type(&mut self, _: Family, _: Addr, _: Option<Interface>) -> AddressType {
        AddressType::Unicast
    }

    fn interface_address(&mut self, family: Family, _: Interface, _: Addr) -> Option<Addr> {
        Some(match family {
            Family::V4 => Addr { hi: 0, lo: 0xc000_0201 },
            Family::V6 => Addr {
                hi: 0x2001_0db8_0000_0002,
                lo: 1,
            },
        })
    }
}

/// The rules' numbers of interfaces, as names.
fn interface(number: u32) -> Interface {
    Interface::new(number + 1, &format!("eth{number}")).unwrap_or_default()
}

fn rule(bounds: &Bounds, family: Family) -> Rule {
    let mut rule = Rule {
        target: Target::Accept,
        ..Rule::default()
    };
    let mut ranges = IpRanges::default();
    for (range, address, other) in [
        (bounds.src, &mut rule.ip.source, &mut ranges.source),
        (bounds.dst, &mut rule.ip.destination, &mut ranges.destination),
    ] {
        let bits = range.0.to_bits() ^ range.1.to_bits();
        let all = Addr::mask(family, family.bits()).to_bits();
        let prefix = bits & bits.wrapping_add(1) == 0 && range.0.to_bits() & bits == 0;
        if prefix {
            *address = AddressMatch {
                network: range.0,
                mask: Addr::from_bits(all & !bits),
                negated: false,
            };
        } else if range.1.to_bits() < all || range.0 != Addr::ZERO {
            *other = Some(Range::new(range.0, range.1));
        }
    }
    if ranges.source.is_some() || ranges.destination.is_some() {
        let ranges = Box::new(ranges);
        rule.matches.push(Match::Iprange(Iprange { ranges }));
    }
    rule.ip.protocol.number = bounds.protocol.unwrap_or(0);
    let (sport, dport) = (
        Range::new(bounds.sport.0, bounds.sport.1),
        Range::new(bounds.dport.0, bounds.dport.1),
    );
    match bounds.protocol {
        Some(number::TCP) => rule.matches.push(Match::Tcp(Tcp {
            sport,
            dport,
            ..Tcp::default()
        })),
        Some(number::UDP) => rule.matches.push(Match::Udp(Udp { sport, dport })),
        _ => {}
    }
    for (number, place) in [
        (bounds.in_interface, &mut rule.ip.in_interface),
        (bounds.out_interface, &mut rule.ip.out_interface),
    ] {
        if let Some(number) = number {
            *place = InterfaceMatch {
                name: interface(number).name,
                ..InterfaceMatch::default()
            };
        }
    }
    rule
}

/// Rule sets whose boxes are given; tables that aren't asked for aren't there.
fn ruleset(family: Family, boxes: &[Bounds], masquerade: bool) -> Ruleset {
    let mut ruleset = Ruleset::new(family);
    let mut filter = Table::standard("filter").expect("it is standard");
    let forward = filter.chain_mut("FORWARD").expect("filter has it");
    forward.rules = boxes.iter().map(|bounds| rule(bounds, family)).collect();
    ruleset.tables.push(filter);
    if masquerade {
        let mut nat = Table::standard("nat").expect("it is standard");
        nat.chain_mut("POSTROUTING").expect("nat has it").rules.push(Rule {
            target: Target::Masquerade(Masquerade::default()),
            ..Rule::default()
        });
        ruleset.tables.push(nat);
    }
    ruleset
}

fn engine(tracking: Tracking, ruleset: Ruleset) -> Netfilter {
    let config = Config {
        tracking,
        max: 4_000_000,
        ..Config::default()
    };
    let mut engine = Netfilter::new(config, 1);
    let command = Command::Replace {
        ruleset,
        generation: None,
    };
    engine.execute(Caller::Admin, command, now(0)).expect("the rules compile");
    engine
}

fn now(packet: u64) -> Now {
    Now::from_secs(1).plus(packet)
}

fn udp(family: Family, src: Addr, dst: Addr, sport: u16, dport: u16) -> [u8; SIZE] {
    let header = match family {
        Family::V4 => 28,
        Family::V6 => 48,
    };
    let bytes = Ip::new(family, src, dst).udp(sport, dport, &vec![0; SIZE - header]);
    bytes.try_into().expect("it is as long as asked for")
}

/// The packet of flow `number`, between addresses that no rule names.
fn flow(family: Family, number: usize) -> Sent {
    let (base, host) = match family {
        Family::V4 => (Addr { hi: 0, lo: 0xf000_0000 }, number as u64 / 50_000),
        Family::V6 => (
            Addr {
                hi: 0xfd77_0000_0000_0000,
                lo: 0,
            },
            number as u64 / 50_000,
        ),
    };
    let src = Addr {
        lo: base.lo + 2 + host,
        ..base
    };
    let dst = Addr {
        lo: base.lo + 1_000_000,
        ..base
    };
    Sent {
        bytes: udp(family, src, dst, 10_000 + (number % 50_000) as u16, 4789),
        way_in: interface(90),
        way_out: interface(91),
    }
}

/// Passes each packet once; the time of all. `buffer` goes round.
fn pass(engine: &mut Netfilter, packets: &[Sent], order: impl Iterator<Item = usize>, clock: &mut u64) -> Duration {
    let mut buffer = Vec::with_capacity(2048);
    let mut router = Router(Interface::NONE);
    let start = Instant::now();
    for number in order {
        let sent = &packets[number];
        buffer.clear();
        buffer.extend_from_slice(&sent.bytes);
        router.0 = sent.way_out;
        *clock += 1_000;
        let mut packet = Packet::received(std::mem::take(&mut buffer), sent.way_in).expect("it is sound");
        match engine.receive_in_place(&mut packet, &mut router, now(*clock)) {
            Ended::Transmit => buffer = std::mem::take(&mut black_box(&mut packet).data),
            other => panic!("{other:?}"),
        }
    }
    start.elapsed()
}

/// The same in batches, as a host receives that takes several packets from its device at once: the engine is shown each batch
/// before its packets are passed one by one.
fn pass_in_batches(
    engine: &mut Netfilter,
    packets: &[Sent],
    mut order: impl Iterator<Item = usize>,
    clock: &mut u64,
) -> Duration {
    let mut buffers: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::with_capacity(2048)).collect();
    let mut numbers = Vec::with_capacity(BATCH);
    let mut batch = Vec::with_capacity(BATCH);
    let mut router = Router(Interface::NONE);
    let start = Instant::now();
    loop {
        numbers.clear();
        numbers.extend(order.by_ref().take(BATCH));
        if numbers.is_empty() {
            return start.elapsed();
        }
        // A device leaves what it received in the cache.
        black_box(numbers.iter().fold(0, |sum, &number| sum ^ packets[number].bytes[0]));
        for &number in &numbers {
            let sent = &packets[number];
            let mut buffer = buffers.pop().unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(&sent.bytes);
            batch.push(Packet::received(buffer, sent.way_in).expect("it is sound"));
        }
        engine.prefetch(&batch);
        for (packet, &number) in batch.iter_mut().zip(&numbers) {
            router.0 = packets[number].way_out;
            *clock += 1_000;
            match engine.receive_in_place(packet, &mut router, now(*clock)) {
                Ended::Transmit => buffers.push(std::mem::take(&mut black_box(packet).data)),
                other => panic!("{other:?}"),
            }
        }
        batch.clear();
    }
}

/// Established flows: every packet belongs to a connection that exists, flows in random order.
fn established(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("established");
    for family in FAMILIES {
        for (masquerade, rules) in [(false, 10), (false, 1_000), (true, 10)] {
            let boxes = rules::rules(Kind::Mixed, family, rules, &mut Random::new(5));
            for flows in FLOWS {
                if masquerade && flows == 1_000_000 {
                    continue; // The 65,535 ports of one address are not enough.
                }
                let mut engine = engine(Tracking::Always, ruleset(family, &boxes, masquerade));
                let packets: Vec<Sent> = (0..flows).map(|number| flow(family, number)).collect();
                let mut clock = 0;
                for _ in 0..2 {
                    pass(&mut engine, &packets, 0..flows, &mut clock);
                }
                assert_eq!(engine.conntrack().count() as usize, flows);
                let mut random = Random::new(3);
                let order: Vec<usize> = (0..65_536).map(|_| random.next() as usize % flows).collect();
                let name = if masquerade { "masqueraded" } else { "plain" };
                group.bench_function(format!("{family:?} {name}, {rules} rules, {flows} flows"), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let order = order.iter().copied().cycle().take(iterations as usize);
                        pass(&mut engine, &packets, order, &mut clock)
                    });
                });
                if flows != 1_000_000 {
                    continue;
                }
                let batched = format!("{family:?} {name}, {rules} rules, {flows} flows, in batches of {BATCH}");
                group.bench_function(batched, |bencher| {
                    bencher.iter_custom(|iterations| {
                        let order = order.iter().copied().cycle().take(iterations as usize);
                        pass_in_batches(&mut engine, &packets, order, &mut clock)
                    });
                });
            }
        }
    }
    group.finish();
}

/// The boxes, and packets that none of them, the last one, or a random one holds first.
fn new_flow_packets(family: Family, boxes: &mut Vec<Bounds>, case: &str) -> Vec<Sent> {
    let mut random = Random::new(11);
    let udp_rule = |bounds: &Bounds| bounds.protocol.is_none_or(|protocol| protocol == number::UDP);
    match case {
        "none" => return (0..NEW).map(|number| flow(family, number)).collect(),
        "last" => {
            let sent = flow(family, 0);
            let headers = fielato_wire::Headers::parse(&sent.bytes).expect("it is sound");
            boxes.pop();
            boxes.push(Bounds {
                dst: (headers.dst, headers.dst),
                ..Bounds::ANY
            });
            return (0..NEW).map(|number| flow(family, number)).collect();
        }
        _ => {}
    }
    let usable: Vec<Bounds> = boxes.iter().copied().filter(udp_rule).collect();
    (0..NEW)
        .map(|_| {
            let bounds = random.pick(&usable);
            let key = inside(&bounds, family, &mut random);
            Sent {
                bytes: udp(family, key.src, key.dst, key.sport, key.dport),
                way_in: interface(bounds.in_interface.unwrap_or(90)),
                way_out: interface(bounds.out_interface.unwrap_or(91)),
            }
        })
        .collect()
}

/// New flows: every packet is the first of its connection, or there are no connections.
fn new_flows(criterion: &mut Criterion) {
    for (name, tracking) in [("new flow", Tracking::Always), ("stateless", Tracking::WhenNeeded)] {
        let mut group = criterion.benchmark_group(name);
        for family in FAMILIES {
            for count in RULES {
                for case in ["none", "last", "random"] {
                    let mut boxes = rules::rules(Kind::Mixed, family, count, &mut Random::new(7));
                    let packets = new_flow_packets(family, &mut boxes, case);
                    let mut engine = engine(tracking, ruleset(family, &boxes, false));
                    let mut clock = 0;
                    group.bench_function(format!("{family:?} {count} rules, {case} matches"), |bencher| {
                        bencher.iter_custom(|iterations| {
                            let mut time = Duration::ZERO;
                            let mut left = iterations as usize;
                            while left > 0 {
                                let round = left.min(NEW);
                                time += pass(&mut engine, &packets, 0..round, &mut clock);
                                left -= round;
                                engine
                                    .execute(Caller::Admin, Command::FlushConnections, now(clock))
                                    .expect("the right is there");
                            }
                            time
                        });
                    });
                }
            }
        }
        group.finish();
    }
}

/// Compiling, and what is held: milliseconds and bytes, taken once or thrice without criterion.
fn sizes() -> Vec<(String, f64, &'static str)> {
    let mut rows = Vec::new();
    for family in FAMILIES {
        let boxes = rules::rules(Kind::Mixed, family, 100_000, &mut Random::new(7));
        let mut times = Vec::new();
        let mut held = 0.0;
        for _ in 0..3 {
            let before = ALLOCATED.load(Ordering::Relaxed);
            let set = ruleset(family, &boxes, false);
            let start = Instant::now();
            let engine = engine(Tracking::Always, set);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            held = (ALLOCATED.load(Ordering::Relaxed) - before) as f64 / 1e6;
            drop(engine);
        }
        times.sort_by(f64::total_cmp);
        rows.push((format!("compile 100,000 rules, {family:?}"), times[1], "ms"));
        rows.push((format!("held by 100,000 rules, source and compiled, {family:?}"), held, "MB"));

        let mut engine = engine(Tracking::Always, ruleset(family, &[], false));
        let flows = 500_000;
        let before = ALLOCATED.load(Ordering::Relaxed);
        let mut clock = 0;
        for number in 0..flows {
            let one = [flow(family, number)];
            pass(&mut engine, &one, 0..1, &mut clock);
        }
        let held = ALLOCATED.load(Ordering::Relaxed) - before;
        rows.push((
            format!("a tracked connection, {family:?}"),
            held as f64 / flows as f64,
            "bytes",
        ));
    }
    rows
}

/// Criterion's median of every case that ran now or before, in nanoseconds.
fn medians(folder: &Path) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for group in ["established", "new flow", "stateless"] {
        let Ok(cases) = std::fs::read_dir(folder.join(group)) else {
            continue;
        };
        for case in cases.flatten() {
            let read = |file: &str| std::fs::read_to_string(case.path().join("new").join(file)).ok();
            let value = |text: String| serde_json::from_str::<serde_json::Value>(&text).ok();
            let (Some(estimates), Some(names)) = (read("estimates.json").and_then(value), read("benchmark.json").and_then(value))
            else {
                continue;
            };
            let name = names["full_id"].as_str().unwrap_or_default().to_owned();
            found.push((name, estimates["median"]["point_estimate"].as_f64().unwrap_or(f64::NAN)));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn goals(medians: &[(String, f64)], sizes: &[(String, f64, &'static str)]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let of = |name: &str| medians.iter().find(|(known, _)| known == name).map(|(_, time)| *time);
    let mut add = |what: String, measured: Option<f64>, most: f64, unit: &'static str| {
        goals.extend(measured.map(|measured| Goal {
            what,
            measured,
            limit: Limit::Most(most),
            unit,
        }));
    };
    for family in FAMILIES {
        let f = format!("{family:?}");
        for rules in [10, 1_000] {
            let batched = format!("1000000 flows, in batches of {BATCH}");
            for (flows, most) in [("1000 flows", 100.0), (&batched, 250.0)] {
                let name = format!("established/{f} plain, {rules} rules, {flows}");
                add(name.clone(), of(&name), most, " ns");
            }
        }
        let name = format!("established/{f} masqueraded, 10 rules, 1000 flows");
        add(name.clone(), of(&name), 150.0, " ns");
        for case in ["none", "last", "random"] {
            let new = |rules: usize| of(&format!("new flow/{f} {rules} rules, {case} matches"));
            let few = new(10);
            for rules in RULES {
                add(
                    format!("new flow/{f} {rules} rules, {case} matches"),
                    new(rules),
                    500.0,
                    " ns",
                );
            }
            let ratio = new(100_000).zip(few).map(|(many, few)| many / few);
            add(format!("new flow/{f} 100000 to 10 rules, {case} matches"), ratio, 2.0, "×");
            let name = format!("stateless/{f} 10000 rules, {case} matches");
            add(name.clone(), of(&name), 150.0, " ns");
        }
    }
    for (what, measured, unit) in sizes {
        let (most, unit) = match *unit {
            "ms" => (1_000.0, " ms"),
            "MB" => (200.0, " MB"),
            _ => (320.0, " bytes"),
        };
        add(what.clone(), Some(*measured), most, unit);
    }
    goals
}

fn main() -> std::io::Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    established(&mut criterion);
    new_flows(&mut criterion);
    criterion.final_summary();
    let sizes = sizes();
    let target =
        std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into());
    let medians = medians(&Path::new(&target).join("criterion"));
    let goals = goals(&medians, &sizes);
    for goal in &goals {
        println!("{}", goal.line());
    }
    let mut rows: Vec<_> = medians
        .iter()
        .map(|(case, time)| json!({ "case": case, "ns": time }))
        .collect();
    rows.extend(
        sizes
            .iter()
            .map(|(case, value, unit)| json!({ "case": case, "value": value, "unit": unit })),
    );
    let conditions = json!({ "packet": "UDP, 64 bytes", "cores": 1, "statistic": "criterion's median" });
    bench::write("netfilter", "a packet in the engine", &conditions, &rows, &goals)
}
