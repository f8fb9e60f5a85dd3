use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;
use crate::cookie::Macs;
use crate::message::{INITIATION, RESPONSE};

const OWN: PublicKey = PublicKey([5; 32]);

fn gate(now: Instant) -> Gate {
    Gate::new(&OWN, Random::new([1; 32]), now)
}

/// A message with a right mac1 and nothing else, as somebody can write it who saw our public key.
fn forged() -> [u8; INITIATION] {
    let mut message = [1; INITIATION];
    Macs::new(&OWN).sign(&mut message, Instant::now());
    message
}

fn source(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Spoofed sources, all different, of either family.
fn spoofed(number: u32) -> SocketAddr {
    match number % 2 {
        0 => (Ipv4Addr::from_bits(number.wrapping_add(11 << 24)), 9).into(),
        _ => (Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(number) << 64) | 1), 9).into(),
    }
}

/// A flood of 100,000 messages a second, not in step with anything.
struct Flood {
    gate: Gate,
    now: Instant,
    message: [u8; INITIATION],
    steps: fastrand::Rng,
    sent: u32,
    passed: u32,
    replies: u32,
    dropped: u32,
}

impl Flood {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            gate: gate(now),
            now,
            message: forged(),
            steps: fastrand::Rng::with_seed(4),
            sent: 0,
            passed: 0,
            replies: 0,
            dropped: 0,
        }
    }

    fn run(&mut self, messages: u32, from: impl Fn(u32) -> SocketAddr) {
        for _ in 0..messages {
            self.now += Duration::from_nanos(self.steps.u64(..20_000));
            match self.gate.check(&self.message, from(self.sent), self.now) {
                Admission::Pass => self.passed += 1,
                Admission::Reply(_) => self.replies += 1,
                Admission::Drop(DropReason::UnderLoad | DropReason::RateLimited) => self.dropped += 1,
                Admission::Drop(reason) => panic!("{reason}"),
            }
            self.sent += 1;
        }
    }

    fn forget(&mut self) {
        (self.passed, self.replies, self.dropped) = (0, 0, 0);
    }
}

#[test]
fn without_mac1_nothing_passes_and_nothing_is_counted_as_load() {
    let now = Instant::now();
    let mut gate = gate(now);
    for number in 0..2_000 {
        let refused = gate.check(&[1; INITIATION], spoofed(number), now);
        assert_eq!(refused, Admission::Drop(DropReason::BadMac));
    }
    assert!(!gate.is_under_load(now));
    assert_eq!(gate.check(&forged(), source("192.0.2.1:1"), now), Admission::Pass);
    for len in 0..40 {
        assert_eq!(
            gate.check(&forged()[..len], spoofed(1), now),
            Admission::Drop(DropReason::BadMac)
        );
    }
}

#[test]
fn calm_times_let_everything_with_mac1_pass() {
    let start = Instant::now();
    let mut gate = gate(start);
    // 500 a second from one address, for a minute.
    for number in 0..30_000 {
        let now = start + Duration::from_millis(2 * number);
        assert_eq!(gate.check(&forged(), source("192.0.2.1:1"), now), Admission::Pass);
        assert!(!gate.is_under_load(now));
    }
}

#[test]
fn load_begins_with_one_message_too_many_and_lingers_a_second() {
    let start = Instant::now();
    let mut gate = gate(start);
    for _ in 0..500 {
        assert_eq!(gate.check(&forged(), spoofed(0), start), Admission::Pass);
        assert!(!gate.is_under_load(start));
    }
    gate.check(&forged(), spoofed(0), start);
    assert!(gate.is_under_load(start));
    assert!(gate.is_under_load(start + Duration::from_millis(999)));
    assert!(!gate.is_under_load(start + Duration::from_secs(1)));

    let calm = start + Duration::from_secs(10);
    assert!(!gate.is_under_load(calm));
    gate.set_busy(true);
    assert!(gate.is_under_load(calm));
    gate.set_busy(false);
    assert!(!gate.is_under_load(calm));
}

#[test]
fn a_flood_from_one_address_does_not_delay_a_newcomer() {
    for newcomer in ["198.51.100.1:51820", "[2001:db8:5::1]:51820"].map(source) {
        let mut flood = Flood::new();
        flood.run(20_000, |_| source("192.0.2.1:666"));
        assert!(flood.gate.is_under_load(flood.now));
        flood.forget();
        // In the next half second: what its rates allow, two messages and fifty cookies, and what the burst left.
        flood.run(50_000, |_| source("192.0.2.1:666"));
        assert!(
            flood.passed <= 3 && (50..=150).contains(&flood.replies),
            "{} passed, {} replies",
            flood.passed,
            flood.replies
        );
        assert_eq!(flood.passed + flood.replies + flood.dropped, 50_000);
        assert_eq!(flood.gate.check(&forged(), newcomer, flood.now), Admission::Pass);
    }
}

#[test]
fn a_flood_from_forty_addresses_does_not_either() {
    let mut flood = Flood::new();
    flood.run(100_000, |number| spoofed(number % 40));
    // Five a second besides the 160 of the flood.
    for number in 0..3 {
        flood.run(20_000, |number| spoofed(number % 40));
        let newcomer = SocketAddr::from(([198, 51, 100, number], 51_820));
        assert_eq!(flood.gate.check(&forged(), newcomer, flood.now), Admission::Pass);
    }
}

#[test]
fn in_a_flood_from_100_000_addresses_a_cookie_opens_the_gate() {
    for client in ["198.51.100.1:51820", "[2001:db8:5::1]:51820"].map(source) {
        let mut flood = Flood::new();
        let mut macs = Macs::new(&OWN);
        flood.run(10_000, spoofed);
        flood.forget();
        flood.run(10_000, spoofed);
        assert!(flood.passed <= 30, "{} passed", flood.passed);
        assert_eq!(flood.passed + flood.replies, 10_000, "a cookie for everybody");

        let mut message = [2; INITIATION];
        macs.sign(&mut message, flood.now);
        match flood.gate.check(&message, client, flood.now) {
            Admission::Reply(cookie) => macs.read_reply(&cookie, flood.now).unwrap(),
            other => panic!("{other:?}"),
        }
        // From now on it passes at once, as an initiator and as a responder.
        for _ in 0..2 {
            flood.run(5_000, spoofed);
            let mut initiation = [3; INITIATION];
            macs.sign(&mut initiation, flood.now);
            assert_eq!(flood.gate.check(&initiation, client, flood.now), Admission::Pass);
            let mut response = [4; RESPONSE];
            macs.sign(&mut response, flood.now);
            assert_eq!(flood.gate.check(&response, client, flood.now), Admission::Pass);
        }
        // Its cookie is worth nothing at another port.
        let mut initiation = [3; INITIATION];
        macs.sign(&mut initiation, flood.now);
        let elsewhere = SocketAddr::new(client.ip(), 1);
        assert!(!flood.gate.checker.mac2_is_valid(&initiation, elsewhere, flood.now));
        assert!(flood.gate.checker.mac2_is_valid(&initiation, client, flood.now));
    }
}

#[test]
fn cookies_are_limited_too() {
    let mut flood = Flood::new();
    // A hundred in a millisecond each time, and then another hundred and fifty at once.
    for _ in 0..300 {
        flood.run(100, spoofed);
        for number in 0..150 {
            let from = spoofed(1_000_000 + flood.sent + number);
            match flood.gate.check(&flood.message, from, flood.now) {
                Admission::Reply(_) => flood.replies += 1,
                _ => flood.dropped += 1,
            }
        }
    }
    let (most, least) = (12_000 + 300 * 120, 300 * 120);
    assert!((least..=most + 2_000).contains(&flood.replies), "{} replies", flood.replies);
    assert!(flood.dropped > 20_000, "{} refused", flood.dropped);
}

#[test]
fn a_source_with_a_cookie_has_its_rate_even_while_somebody_forges_its_address() {
    let client = source("198.51.100.1:51820");
    let mut flood = Flood::new();
    let mut macs = Macs::new(&OWN);
    flood.run(2_000, spoofed);
    let mut message = [2; INITIATION];
    macs.sign(&mut message, flood.now);
    let Admission::Reply(cookie) = flood.gate.check(&message, client, flood.now) else {
        panic!("no cookie at the beginning of a flood");
    };
    macs.read_reply(&cookie, flood.now).unwrap();
    flood.run(30_000, |_| client);
    // 20 a second and five at once, no more, but those for sure.
    macs.sign(&mut message, flood.now);
    let passed = (0..10)
        .filter(|_| flood.gate.check(&message, client, flood.now) == Admission::Pass)
        .count();
    assert_eq!(passed, 5);
    assert_eq!(
        flood.gate.check(&message, client, flood.now),
        Admission::Drop(DropReason::RateLimited)
    );
    let mut passed = 0;
    for _ in 0..100 {
        flood.run(500, |_| client);
        passed += u32::from(flood.gate.check(&message, client, flood.now) == Admission::Pass);
    }
    assert!((9..=11).contains(&passed), "{passed} in half a second");
}
