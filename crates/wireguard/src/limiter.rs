//! How many messages one source, and all of them together, may have answered: token buckets.

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Instant;

use siphasher::sip::SipHasher13;

use crate::random::Random;

/// So many messages a second, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds that one message costs.
    cost: u64,
    /// Nanoseconds that a full bucket holds.
    capacity: u64,
}

impl Rate {
    /// `burst` of 0 is taken as 1: a bucket that never lets anything pass has no use.
    pub(crate) const fn new(per_second: u32, burst: u32) -> Self {
        let cost = 1_000_000_000 / if per_second == 0 { 1 } else { per_second as u64 };
        Self {
            cost,
            capacity: cost * if burst == 0 { 1 } else { burst as u64 },
        }
    }
}

/// A token bucket in one number: the time at which it is full again. A time that passed means a full bucket, so
/// that a new bucket, one long unused and none at all are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// In nanoseconds after the owner's beginning.
    full_at: u64,
}

impl Bucket {
    /// Whether [`Bucket::take`] would succeed.
    #[inline]
    pub(crate) fn has(&self, rate: Rate, now: u64) -> bool {
        self.full_at.max(now) + rate.cost <= now + rate.capacity
    }

    /// Pays for one message; false, and nothing is paid, when there is not enough left.
    #[inline]
    pub(crate) fn take(&mut self, rate: Rate, now: u64) -> bool {
        let has = self.has(rate, now);
        if has {
            self.full_at = self.full_at.max(now) + rate.cost;
        }
        has
    }
}

/// Nanoseconds from `start` to `now`; the 584 years of a `u64` are not run over.
#[inline]
pub(crate) fn nanos_since(start: Instant, now: Instant) -> u64 {
    // Half the range at most, so that costs can be added without care.
    u64::try_from(now.saturating_duration_since(start).as_nanos())
        .unwrap_or(u64::MAX)
        .min(u64::MAX / 2)
}

/// What counts as one source: an IPv4 address, or an IPv6 network of 64 bits, as the kernel's `ratelimiter.c` has it.
fn source(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No IPv6 network has this number: what begins with eight zero bits is not given out (RFC 4291 section 2.4).
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    source: u64,
    bucket: Bucket,
}

/// Sources that share a hash; two cache lines.
const WAYS: usize = 8;

/// A token bucket per source, in a table of fixed size.
///
/// A source finds its bucket among the eight places that a keyed hash gives it, so a message costs at most eight
/// looks, and nobody can aim at another's places. Nothing needs to be swept up: a bucket that is full again says no more
/// than none, and its place is free from that moment on.
///
/// When all eight places hold buckets that are not full, the one that lacks least is given up for the new source.
/// The given-up source wins at most what it lacked; a new source is never refused because others are many.
/// (The kernel refuses new sources when its table is full, which lets a flood from many addresses lock them out.)
pub(crate) struct Limiter {
    rate: Rate,
    hash: SipHasher13,
    start: Instant,
    /// Empty until the first message: most limiters never see one.
    sets: Vec<[Entry; WAYS]>,
    mask: usize,
}

impl Limiter {
    /// Room for at least `sources` sources, 65,536 at most.
    pub(crate) fn new(rate: Rate, sources: usize, rng: &mut Random, now: Instant) -> Self {
        let sets = sources.clamp(1, 65_536).div_ceil(WAYS).next_power_of_two();
        Self {
            rate,
            hash: SipHasher13::new_with_keys(rng.u64(), rng.u64()),
            start: now,
            sets: Vec::new(),
            mask: sets - 1,
        }
    }

    /// Pays for one message of the address's source; false when the source has nothing left.
    pub(crate) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let (source, now) = (source(address), nanos_since(self.start, now));
        if self.sets.is_empty() {
            self.sets = vec![[Entry::default(); WAYS]; self.mask + 1];
        }
        let at = self.set_of(source);
        let Some(set) = self.sets.get_mut(at) else {
            return false;
        };
        if let Some(entry) = set.iter_mut().find(|entry| entry.source == source) {
            return entry.bucket.take(self.rate, now);
        }
        // Full buckets are the smallest: free places come first.
        let Some(entry) = set.iter_mut().min_by_key(|entry| entry.bucket.full_at) else {
            return false;
        };
        *entry = Entry {
            source,
            bucket: Bucket::default(),
        };
        entry.bucket.take(self.rate, now)
    }

    fn set_of(&self, source: u64) -> usize {
        let mut hash = self.hash;
        hash.write_u64(source);
        hash.finish() as usize & self.mask
    }
}

#[cfg(test)]
mod tests;
