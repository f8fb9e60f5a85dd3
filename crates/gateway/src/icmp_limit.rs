//! How many ICMP errors are sent: Linux's limits, for each receiver and for all together (`icmpv4_xrlim_allow`,
//! `icmp_global_allow`, `icmpv6_xrlim_allow`, `ip_error`; kernel 6.18).

use std::collections::HashMap;

use fielato_netfilter::{IcmpError, Now};
use fielato_wire::{Addr, Family};

/// A receiver may get as many errors at once (`XRLIM_BURST_FACTOR`).
const PEER_BURST: u64 = 6;

/// Receivers that are remembered in each of two generations.
const PEERS: usize = 32_768;

/// The IPv4 errors about a missing route: one a second for each source after a burst of five (`ip_rt_error_cost`,
/// `ip_rt_error_burst`).
const ROUTE_ERROR_COST: u64 = Now::SECOND;
const ROUTE_ERROR_BURST: u64 = 5 * Now::SECOND;

/// The limits, with Linux's names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Milliseconds between two errors to one receiver (`net.ipv4.icmp_ratelimit`).
    pub ratelimit: u32,
    /// The types that are limited, a bit each (`net.ipv4.icmp_ratemask`).
    pub ratemask: u32,
    /// Milliseconds between two ICMPv6 errors to one receiver (`net.ipv6.icmp.ratelimit`).
    pub ratelimit_v6: u32,
    /// Errors in a second, to all receivers (`net.ipv4.icmp_msgs_per_sec`).
    pub msgs_per_sec: u32,
    /// Errors at once, to all receivers (`net.ipv4.icmp_msgs_burst`).
    pub msgs_burst: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enabled: true,
            ratelimit: 1000,
            // Destination unreachable, source quench, time exceeded, parameter problem.
            ratemask: 6168,
            ratelimit_v6: 100,
            msgs_per_sec: 1000,
            msgs_burst: 50,
        }
    }
}

/// What was sent lately.
#[derive(Debug)]
pub(crate) struct IcmpLimits {
    settings: Settings,
    /// Two generations: when the younger is full it becomes the older, so that the table is bounded without a search.
    peers: [HashMap<(Family, Addr), Peer>; 2],
    credit: i64,
    refilled: u64,
    rng: fastrand::Rng,
    refused: u64,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    /// Nanoseconds saved up.
    tokens: u64,
    last: u64,
}

impl Peer {
    fn take(&mut self, cost: u64, burst: u64, now: u64) -> bool {
        self.tokens = self.tokens.saturating_add(now.saturating_sub(self.last)).min(burst);
        self.last = now;
        let enough = self.tokens >= cost;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

impl IcmpLimits {
    pub(crate) fn new(settings: Settings, seed: u64) -> IcmpLimits {
        IcmpLimits {
            settings,
            peers: [HashMap::new(), HashMap::new()],
            credit: 0,
            refilled: 0,
            rng: fastrand::Rng::with_seed(seed),
            refused: 0,
        }
    }

    pub(crate) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Errors that were not sent.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Receivers that are remembered.
    pub(crate) fn peers(&self) -> usize {
        self.peers.iter().map(HashMap::len).sum()
    }

    /// Whether the error may be sent now; it is counted as sent then. `prefix` is the length of the prefix of the route to its
    /// receiver; `loops` says that the receiver is the gateway itself, which is not limited.
    pub(crate) fn allow(&mut self, error: &IcmpError, prefix: u8, loops: bool, now: u64) -> bool {
        let allowed = !self.settings.enabled || loops || self.take(error, prefix, now);
        self.refused += u64::from(!allowed);
        allowed
    }

    fn take(&mut self, error: &IcmpError, prefix: u8, now: u64) -> bool {
        let IcmpError {
            family,
            to,
            kind,
            code,
            lacks_route,
        } = *error;
        let v4 = family == Family::V4;
        if v4 && lacks_route && !self.peer(family, to, now).take(ROUTE_ERROR_COST, ROUTE_ERROR_BURST, now) {
            return false;
        }
        let limited = match family {
            // Path MTU discovery is never limited.
            Family::V4 => !(kind == 3 && code == 4) && kind < 32 && self.settings.ratemask >> kind & 1 != 0,
            Family::V6 => kind != 2 && kind < 128,
        };
        if !limited {
            return true;
        }
        if !self.refill(now) {
            return false;
        }
        let milliseconds = match family {
            Family::V4 => u64::from(self.settings.ratelimit),
            // Wider prefixes get more.
            Family::V6 => u64::from(self.settings.ratelimit_v6) >> ((128 - prefix.min(128)) >> 5),
        };
        let cost = milliseconds * 1_000_000;
        if !self.peer(family, to, now).take(cost, cost * PEER_BURST, now) {
            return false;
        }
        // One on average, not to be foreseen (`icmp_global_consume`).
        self.credit -= i64::from(self.rng.u8(0..3));
        true
    }

    fn refill(&mut self, now: u64) -> bool {
        if self.credit > 0 {
            return true;
        }
        let passed = now.saturating_sub(self.refilled).min(Now::SECOND);
        let more = u64::from(self.settings.msgs_per_sec) * passed / Now::SECOND;
        if passed < Now::SECOND / 50 || more == 0 {
            return false;
        }
        self.refilled = now;
        self.credit = (self.credit + more as i64).min(i64::from(self.settings.msgs_burst));
        true
    }

    fn peer(&mut self, family: Family, to: Addr, now: u64) -> &mut Peer {
        let key = (family, to);
        let [young, old] = &mut self.peers;
        if !young.contains_key(&key) {
            if young.len() >= PEERS {
                *old = std::mem::take(young);
            }
            // A new one begins with a full bucket (`inet_getpeer`).
            let known = old.remove(&key).unwrap_or(Peer {
                tokens: u64::MAX,
                last: now,
            });
            young.insert(key, known);
        }
        young.entry(key).or_insert(Peer { tokens: 0, last: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(family: Family, to: u64, kind: u8, code: u8) -> IcmpError {
        IcmpError {
            family,
            to: Addr { hi: 0, lo: to },
            kind,
            code,
            lacks_route: false,
        }
    }

    fn sent(limits: &mut IcmpLimits, error: &IcmpError, at: u64, count: usize) -> usize {
        (0..count).filter(|_| limits.allow(error, 64, false, at)).count()
    }

    #[test]
    fn a_receiver_gets_six_at_once_and_one_a_second() {
        let mut limits = IcmpLimits::new(Settings::default(), 1);
        let start = 100 * Now::SECOND;
        let v4 = error(Family::V4, 1, 3, 13);
        assert_eq!(sent(&mut limits, &v4, start, 20), 6);
        assert_eq!(sent(&mut limits, &v4, start + Now::SECOND, 20), 1);
        assert_eq!(sent(&mut limits, &v4, start + 3 * Now::SECOND, 20), 2);
        // Path MTU discovery and echo replies are not limited.
        assert_eq!(sent(&mut limits, &error(Family::V4, 1, 3, 4), start, 100), 100);
        assert_eq!(sent(&mut limits, &error(Family::V4, 1, 0, 0), start, 100), 100);
        assert_eq!(sent(&mut limits, &error(Family::V6, 1, 2, 0), start, 100), 100);
        // By a route of 64 bits, a quarter of 100 ms.
        let v6 = error(Family::V6, 9, 1, 1);
        assert_eq!(sent(&mut limits, &v6, start, 20), 6);
        assert_eq!(sent(&mut limits, &v6, start + 25_000_000, 20), 1);
        assert!(limits.refused() > 0);
    }

    #[test]
    fn all_together_are_limited_and_the_table_is_bounded() {
        let mut limits = IcmpLimits::new(Settings::default(), 1);
        let start = 100 * Now::SECOND;
        let many = |limits: &mut IcmpLimits, at| {
            let each = 0..2_000;
            each.filter(|to| limits.allow(&error(Family::V4, *to, 11, 0), 32, false, at))
                .count()
        };
        let first = many(&mut limits, start);
        assert!((40..=75).contains(&first), "{first}");
        for to in 0..3 * PEERS as u64 {
            limits.allow(&error(Family::V4, to, 3, 4), 32, false, start);
            limits.peer(Family::V4, Addr { hi: 0, lo: to }, start);
        }
        assert!(limits.peers() <= 2 * PEERS);
    }

    #[test]
    fn missing_routes_have_a_limit_of_their_own_and_none_holds_when_turned_off() {
        let start = 100 * Now::SECOND;
        let no_route = IcmpError {
            lacks_route: true,
            ..error(Family::V4, 1, 3, 0)
        };
        let mut limits = IcmpLimits::new(Settings::default(), 1);
        // Each takes from the bucket twice: as a missing route, and as an error.
        assert_eq!(sent(&mut limits, &no_route, start, 20), 2);
        limits.set(Settings {
            enabled: false,
            ..Settings::default()
        });
        assert_eq!(sent(&mut limits, &no_route, start, 20), 20);
    }
}
