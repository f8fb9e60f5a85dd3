use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;

const RATE: Rate = Rate::new(20, 5);

fn limiter(sources: usize, now: Instant) -> Limiter {
    Limiter::new(RATE, sources, &mut Random::new([1; 32]), now)
}

/// Places that hold buckets which are not full.
fn busy_sources(limiter: &Limiter, now: Instant) -> usize {
    let now = nanos_since(limiter.start, now);
    limiter
        .sets
        .iter()
        .flatten()
        .filter(|entry| entry.bucket.full_at > now)
        .count()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The kernel's selftest/ratelimiter.c as a table: five at once, then one every 50 ms.
#[test]
fn five_at_once_then_twenty_a_second() {
    let start = Instant::now();
    for source in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::1"].map(address) {
        let mut limiter = limiter(1_000, start);
        for (ms, passes) in [
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (49, false),
            (50, true),
            (50, false),
            (99, false),
            (150, true),
            (150, true),
            (150, false),
            // A long rest fills the bucket and no more.
            (10_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, false),
        ] {
            let now = start + Duration::from_millis(ms);
            assert_eq!(limiter.take(source, now), passes, "{source} at {ms} ms");
        }
    }
}

#[test]
fn an_ipv6_network_of_64_bits_and_an_ipv4_address_are_one_source() {
    let now = Instant::now();
    // (first uses up its bucket, second, whether they share it)
    for (first, second, shared) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ("192.0.2.1", "2001:db8:c000:201::", false),
    ] {
        let mut limiter = limiter(1_000, now);
        while limiter.take(address(first), now) {}
        assert_eq!(limiter.take(address(second), now), !shared, "{first} and {second}");
    }
}

#[test]
fn a_rested_source_needs_no_place() {
    let start = Instant::now();
    let mut limiter = limiter(65_536, start);
    assert!(limiter.sets.is_empty());
    for number in 0..10_000_u32 {
        assert!(limiter.take(Ipv4Addr::from_bits(number + (10 << 24)).into(), start));
    }
    // With one place of 65,536 in seven taken, hardly any set of eight is full.
    assert!(busy_sources(&limiter, start) > 9_990);
    assert_eq!(
        busy_sources(&limiter, start + Duration::from_millis(49)),
        busy_sources(&limiter, start)
    );
    assert_eq!(busy_sources(&limiter, start + Duration::from_millis(50)), 0);
}

#[test]
fn when_full_the_one_that_lacks_least_gives_way() {
    let now = Instant::now();
    // One set only: all share its eight places.
    let mut limiter = limiter(1, now);
    let source = |number: u32| IpAddr::from(Ipv4Addr::from_bits(number + (10 << 24)));
    for number in 0..8 {
        // The later ones take more.
        for _ in 0..=number / 2 {
            assert!(limiter.take(source(number), now));
        }
    }
    assert_eq!(busy_sources(&limiter, now), 8);
    // A ninth is served, in the place of the first or the second, which owed one message.
    assert!(limiter.take(source(8), now));
    assert_eq!(busy_sources(&limiter, now), 8);
    // Who owed most is still held to it: one message is left of five.
    assert!(limiter.take(source(7), now));
    assert!(!limiter.take(source(7), now));
}

#[test]
fn many_sources_at_once_are_bounded_and_none_is_refused() {
    let start = Instant::now();
    let mut limiter = limiter(65_536, start);
    for number in 0..300_000_u64 {
        let network = u128::from(0x2001_0db8_0000_0000 + number) << 64;
        let now = start + Duration::from_micros(number / 1_000);
        assert!(limiter.take(Ipv6Addr::from_bits(network).into(), now));
    }
    assert_eq!(limiter.sets.len() * WAYS, 65_536);
    assert!(busy_sources(&limiter, start + Duration::from_micros(300)) > 65_000);
}

#[test]
fn places_depend_on_the_key() {
    let now = Instant::now();
    let places = |seed| {
        let limiter = Limiter::new(RATE, 65_536, &mut Random::new([seed; 32]), now);
        (0..64).map(|source| limiter.set_of(source)).collect::<Vec<_>>()
    };
    assert_eq!(places(1), places(1));
    assert_ne!(places(1), places(2));
}

#[test]
fn times_at_the_ends_do_no_harm() {
    let start = Instant::now();
    let mut limiter = limiter(10, start);
    let source = address("192.0.2.1");
    // Before the beginning counts as the beginning.
    assert!(limiter.take(source, start.checked_sub(Duration::from_secs(1)).unwrap_or(start)));
    let far = start + Duration::from_secs(1 << 33);
    for _ in 0..5 {
        assert!(limiter.take(source, far));
    }
    assert!(!limiter.take(source, far));
    assert!(!limiter.take(source, start));
}
