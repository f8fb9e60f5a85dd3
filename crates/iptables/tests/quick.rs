//! Reading a large save file. `cargo test --release -p fielato-iptables --test quick -- --ignored --nocapture`

#![expect(clippy::disallowed_methods, reason = "the crate is sans-IO, this test measures time")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fielato_iptables::{BuiltinNames, Registry, check, restore, save};
use fielato_wire::Family;

/// Rules of five kinds, most with an address, some with ports and states.
fn text(rules: u32) -> String {
    let mut text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:users - [0:0]\n".to_owned();
    for number in 0..rules {
        let (a, b) = (number >> 8 & 255, number & 255);
        let _ = match number % 5 {
            0 => writeln!(
                text,
                "-A FORWARD -s 10.{a}.{b}.0/24 -p tcp -m tcp --dport {} -j ACCEPT",
                number % 65536
            ),
            1 => writeln!(text, "-A FORWARD -d 10.{a}.{b}.1/32 -i wg0 -o eth{b} -p udp -j DROP"),
            2 => writeln!(text, "-A FORWARD -s 10.{a}.{b}.2/32 -j users"),
            3 => writeln!(
                text,
                "-A users -s 10.{a}.{b}.3/32 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
            ),
            _ => writeln!(text, "-A users -m comment --comment \"number {number}\" -j ACCEPT"),
        };
    }
    text + "COMMIT\n"
}

#[test]
fn a_hundred_rules_in_a_moment() {
    read(100, Duration::from_secs(5));
}

#[test]
#[ignore = "a measurement: with --release"]
fn a_hundred_thousand_rules_in_a_second() {
    read(100_000, Duration::from_secs(1));
}

fn read(rules: u32, limit: Duration) {
    let registry = Registry::builtin();
    let text = text(rules);
    let start = Instant::now();
    let parsed = restore::parse(&text, Family::V4, &registry, &BuiltinNames).unwrap();
    let took = start.elapsed();
    let start = Instant::now();
    for table in &parsed.tables {
        check(table, Family::V4).unwrap();
    }
    let checked = start.elapsed();
    let start = Instant::now();
    let saved = save::ruleset(&parsed, &registry, &BuiltinNames, Default::default());
    let written = start.elapsed();
    println!("{rules} rules: read in {took:?}, {checked:?} of it to check them, written in {written:?}");
    // Rules come out chain by chain.
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert!(lines(&saved) == lines(&text), "other lines are saved than were read");
    assert!(took < limit, "{took:?}");
}
