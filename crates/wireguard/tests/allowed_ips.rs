//! A hundred thousand prefixes of either family: right, small and quick.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use fielato_wireguard::allowed_ips::{AllowedIps, Recent, Slot};
use ipnet::IpNet;

const PREFIXES: usize = 100_000;

/// Every prefix with its owner; a lookup tries all lengths.
#[derive(Default)]
struct Naive(HashMap<IpNet, Slot>);

impl Naive {
    fn lookup(&self, address: IpAddr) -> Option<Slot> {
        let width = if address.is_ipv6() { 128 } else { 32 };
        let around = (0..=width).rev().map(|len| IpNet::new(address, len).unwrap().trunc());
        around.into_iter().find_map(|net| self.0.get(&net).copied())
    }
}

fn address(random: &mut fastrand::Rng, v6: bool) -> IpAddr {
    match v6 {
        true => IpAddr::V6((0x2001_0db8 << 96 | random.u128(..) >> 32).into()),
        false => IpAddr::V4(random.u32(..).into()),
    }
}

/// As a large network has them: mostly hosts and small networks, some large ones around them.
fn prefix(random: &mut fastrand::Rng, v6: bool) -> IpNet {
    let (width, usual) = if v6 { (128, 64) } else { (32, 24) };
    let len = match random.u8(..10) {
        0..5 => width,
        5..9 => usual,
        _ => random.u8(usual - 16..=width),
    };
    IpNet::new(address(random, v6), len).unwrap().trunc()
}

/// An address within one of the prefixes, or anywhere.
fn sample(random: &mut fastrand::Rng, nets: &[IpNet], v6: bool) -> IpAddr {
    let net = nets[random.usize(..nets.len())];
    match (random.u8(..8), net) {
        (0, _) => address(random, v6),
        (_, IpNet::V4(net)) => IpAddr::V4((u32::from(net.network()) | random.u32(..) & u32::from(net.hostmask())).into()),
        (_, IpNet::V6(net)) => IpAddr::V6((u128::from(net.network()) | random.u128(..) & u128::from(net.hostmask())).into()),
    }
}

fn filled(random: &mut fastrand::Rng, v6: bool) -> (AllowedIps, Naive, Vec<IpNet>) {
    let (mut ips, mut naive) = (AllowedIps::new(), Naive::default());
    while naive.0.len() < PREFIXES {
        let (net, owner) = (prefix(random, v6), random.u32(..10_000));
        assert_eq!(ips.insert(net, owner), naive.0.insert(net, owner));
    }
    let mut nets: Vec<IpNet> = naive.0.keys().copied().collect();
    nets.sort();
    (ips, naive, nets)
}

#[test]
fn a_hundred_thousand_prefixes_agree_with_a_naive_model() {
    for v6 in [false, true] {
        let mut random = fastrand::Rng::with_seed(7 + u64::from(v6));
        let (mut ips, mut naive, mut nets) = filled(&mut random, v6);
        for round in 0..3 {
            let mut found = 0;
            for _ in 0..5_000 {
                let address = sample(&mut random, &nets, v6);
                let expected = naive.lookup(address);
                found += u32::from(expected.is_some());
                assert_eq!(ips.lookup(address), expected, "{address}, round {round}");
            }
            assert!(found > 500, "{found} found");
            // Half of them go; what was around them shows.
            for _ in 0..naive.0.len() / 2 {
                let net = nets.swap_remove(random.usize(..nets.len()));
                assert_eq!(ips.remove(net), naive.0.remove(&net));
                assert_eq!(ips.remove(net), None);
            }
        }
    }
}

/// Members' addresses, one after another, as `control` gives them out.
fn members(v6: bool) -> (AllowedIps, Naive, Vec<IpNet>) {
    let (mut ips, mut naive) = (AllowedIps::new(), Naive::default());
    for number in 0..10_000_u32 {
        let address = if v6 {
            IpAddr::V6((0xfd00 << 112 | u128::from(number)).into())
        } else {
            IpAddr::V4((0x0a00_0000 + number).into())
        };
        ips.insert(address.into(), number);
        naive.0.insert(address.into(), number);
    }
    let nets = naive.0.keys().copied().collect();
    (ips, naive, nets)
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Nanoseconds of one lookup.
fn measure(rounds: usize, addresses: &[IpAddr], mut lookup: impl FnMut(IpAddr) -> Option<Slot>) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        for _ in 0..rounds {
            for address in addresses {
                black_box(lookup(black_box(*address)));
            }
        }
        begin.elapsed().as_nanos() as f64 / (rounds * addresses.len()) as f64
    };
    (0..5).map(time).fold(f64::MAX, f64::min)
}

/// `cargo test --release -p fielato-wireguard --test allowed_ips -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "measures"]
fn lookup_time_and_memory() {
    for (v6, dense) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut random = fastrand::Rng::with_seed(3);
        let (_, naive, nets) = if dense { members(v6) } else { filled(&mut random, v6) };
        let before = resident_kb();
        let mut ips = AllowedIps::new();
        let begin = Instant::now();
        for (net, owner) in &naive.0 {
            ips.insert(*net, *owner);
        }
        let insert = begin.elapsed();
        let memory = resident_kb().saturating_sub(before);
        let prefixes = naive.0.len();
        for (name, count) in [("any", 1 << 16), ("500 of them", 500), ("64 of them", 64), ("one", 1)] {
            let addresses: Vec<IpAddr> = (0..count).map(|_| sample(&mut random, &nets, v6)).collect();
            let rounds = (1 << 21) / addresses.len();
            let mut recent = Recent::default();
            let walk = measure(rounds, &addresses, |address| ips.lookup(address));
            let lately = measure(rounds, &addresses, |address| recent.lookup(&ips, address));
            println!("v6 {v6}, dense {dense}, {prefixes} prefixes: {walk:.0} ns for {name}, {lately:.0} with the recent ones");
        }
        println!(
            "v6 {v6}, dense {dense}: {memory} KB, {:?} to insert one",
            insert / prefixes as u32
        );
        assert!(memory < 20_000, "{memory} KB");
    }
}
