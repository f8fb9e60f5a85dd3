//! What stands before the costly part of a handshake: every initiation and response passes here first.
//!
//! In order of cost:
//! 1. mac1: the sender knows our public key. Without it nothing happens.
//! 2. Not under load: pass.
//! 3. mac2: the sender gets what is sent to its address. Then only its own rate counts.
//! 4. A few messages a second without mac2, a few a second of one source: who comes new while few others make noise is
//!    answered at once, and not at its second try, five seconds later.
//! 5. A cookie, smaller than what it answers; limited, too.
//!
//! Steps 4 and 5 have tables of their own: an address can be forged there, and nobody may use up what the address's
//! owner, who has a cookie, is allowed in step 3.

use std::net::SocketAddr;
use std::time::Instant;

use crate::cookie::Checker;
use crate::drops::DropReason;
use crate::key::PublicKey;
use crate::limiter::{Bucket, Limiter, Rate, nanos_since};
use crate::message::COOKIE_REPLY;
use crate::random::Random;

/// More handshake messages than this begin a time of load. An initiation costs one multiplication on the curve (some
/// 80 µs) when forged, and three times as much when it is a peer's: 500 forged ones a second take a twentieth of a core.
/// A hub whose 50,000 peers renew their keys every two minutes stays below.
const CALM: Rate = Rate::new(500, 500);

/// A time of load lasts this long after the last message too many (as in the kernel's `receive.c`).
const LOAD_LINGERS: u64 = 1_000_000_000;

/// Messages with a cookie, per source (the kernel's `ratelimiter.c`).
const PROVEN: Rate = Rate::new(20, 5);
const PROVEN_SOURCES: usize = 65_536;

/// Messages without a cookie that pass, per source and of all together. A peer tries every five seconds, so the first
/// figure can be small, and then it takes many sources to use up the second.
const UNPROVEN: Rate = Rate::new(4, 2);
const UNPROVEN_ALL: Rate = Rate::new(200, 100);
const UNPROVEN_SOURCES: usize = 4_096;

/// Cookies, per source and to all together: about 3 µs each and a system call. Sources that are all forged
/// cannot be told from a peer's, so a peer gets its cookie at its first try only while there is one for everybody: the
/// second figure is the flood up to which one retry is enough. Above it, tries share what there is.
const COOKIES: Rate = Rate::new(100, 100);
const COOKIES_ALL: Rate = Rate::new(120_000, 12_000);
const COOKIES_SOURCES: usize = 65_536;

/// What to do with a handshake message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Go on with it.
    Pass,
    /// Send this cookie to where it came from, and count [`DropReason::UnderLoad`].
    Reply([u8; COOKIE_REPLY]),
    /// Nothing.
    Drop(DropReason),
}

/// The guard of one private key's handshakes.
pub struct Gate {
    checker: Checker,
    random: Random,
    start: Instant,
    calm: Bucket,
    loaded_until: u64,
    busy: bool,
    proven: Limiter,
    unproven: Limiter,
    unproven_all: Bucket,
    cookies: Limiter,
    cookies_all: Bucket,
}

impl Gate {
    /// `own` is the public key that mac1 is made with.
    pub fn new(own: &PublicKey, mut random: Random, now: Instant) -> Self {
        Self {
            checker: Checker::new(own),
            start: now,
            calm: Bucket::default(),
            loaded_until: 0,
            busy: false,
            proven: Limiter::new(PROVEN, PROVEN_SOURCES, &mut random, now),
            unproven: Limiter::new(UNPROVEN, UNPROVEN_SOURCES, &mut random, now),
            unproven_all: Bucket::default(),
            cookies: Limiter::new(COOKIES, COOKIES_SOURCES, &mut random, now),
            cookies_all: Bucket::default(),
            random,
        }
    }

    /// Makes this a time of load whatever the rate is, until called with false: for a caller with a long queue.
    pub fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Whether messages without a cookie are held back.
    pub fn is_under_load(&self, now: Instant) -> bool {
        self.busy || nanos_since(self.start, now) < self.loaded_until
    }

    /// Decides on an initiation or a response, of which only the shape was checked.
    pub fn check(&mut self, message: &[u8], from: SocketAddr, now: Instant) -> Admission {
        if !self.checker.mac1_is_valid(message) {
            return Admission::Drop(DropReason::BadMac);
        }
        let nanos = nanos_since(self.start, now);
        if !self.calm.take(CALM, nanos) {
            self.loaded_until = nanos + LOAD_LINGERS;
        }
        if !self.is_under_load(now) {
            return Admission::Pass;
        }
        if self.checker.mac2_is_valid(message, from, now) {
            return match self.proven.take(from.ip(), now) {
                true => Admission::Pass,
                false => Admission::Drop(DropReason::RateLimited),
            };
        }
        // The total is asked before the source and paid after it: neither pays for what the other refuses.
        if self.unproven_all.has(UNPROVEN_ALL, nanos) && self.unproven.take(from.ip(), now) {
            self.unproven_all.take(UNPROVEN_ALL, nanos);
            return Admission::Pass;
        }
        if !self.cookies_all.has(COOKIES_ALL, nanos) {
            return Admission::Drop(DropReason::UnderLoad);
        }
        if !self.cookies.take(from.ip(), now) {
            return Admission::Drop(DropReason::RateLimited);
        }
        self.cookies_all.take(COOKIES_ALL, nanos);
        Admission::Reply(self.checker.reply(message, from, now, &mut self.random))
    }
}

#[cfg(test)]
mod tests;
