//! One connection of a host.

use std::net::IpAddr;
use std::time::Instant;

use crate::line::Lines;
use crate::{Digest, REQUEST_LINE_MAX};

use super::{Limits, Refusal};

#[derive(Debug)]
pub struct Connection {
    /// Whose overlay address it comes from.
    pub host: String,
    pub from: IpAddr,
    pub lines: Lines,
    pub greeted: bool,
    pub enrolling: bool,
    /// The revision from which differences are counted: it has been acknowledged here, or named in the greeting with its digest.
    pub base: Option<u64>,
    /// What was sent and not yet acknowledged.
    pub in_flight: Option<(u64, Digest)>,
    /// The revision that the host could not apply.
    pub stuck: Option<u64>,
    pub outgoing: Vec<u8>,
    /// When the last of the bytes to be sent could be.
    progress: Instant,
    opened: Instant,
    /// When a line came last.
    pub heard: Instant,
    asked: bool,
    allowance: Allowance,
}

/// So many at once, and so many a second on average.
#[derive(Debug, Default)]
pub struct Allowance {
    /// In thousandths.
    left: u64,
    refilled: Option<Instant>,
}

impl Allowance {
    /// Takes one out.
    pub fn take(&mut self, burst: u32, per_second: u32, now: Instant) -> bool {
        let full = u64::from(burst) * 1000;
        let more = self.refilled.map_or(full, |last| {
            let passed = u64::try_from(now.saturating_duration_since(last).as_millis()).unwrap_or(u64::MAX);
            passed.saturating_mul(u64::from(per_second))
        });
        self.refilled = Some(now);
        self.left = self.left.saturating_add(more).min(full);
        let taken = self.left.checked_sub(1000);
        self.left = taken.unwrap_or(self.left);
        taken.is_some()
    }
}

impl Connection {
    pub fn new(host: String, from: IpAddr, now: Instant) -> Self {
        Self {
            host,
            from,
            lines: Lines::new(REQUEST_LINE_MAX),
            greeted: false,
            enrolling: false,
            base: None,
            in_flight: None,
            stuck: None,
            outgoing: Vec::new(),
            progress: now,
            opened: now,
            heard: now,
            asked: false,
            allowance: Allowance::default(),
        }
    }

    /// Takes one line out of the allowance.
    pub fn may_say(&mut self, limits: &Limits, now: Instant) -> bool {
        self.asked = false;
        self.allowance.take(limits.burst, limits.lines_per_second, now)
    }

    pub fn send(&mut self, line: &[u8], now: Instant) {
        if self.outgoing.is_empty() {
            self.progress = now;
        }
        self.outgoing.extend_from_slice(line);
    }

    pub fn sent(&mut self, len: usize, now: Instant) {
        let len = len.min(self.outgoing.len());
        if len == self.outgoing.len() {
            // A whole plan may have been there; it need not stay reserved.
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..len);
        }
        if len > 0 {
            self.progress = now;
        }
    }

    /// Why the connection must end now.
    pub fn overdue(&self, limits: &Limits, now: Instant) -> Option<Refusal> {
        let passed = |since: Instant| now.saturating_duration_since(since);
        if !self.outgoing.is_empty() && passed(self.progress) >= limits.patience {
            Some(Refusal::SlowReader)
        } else if self
            .lines
            .unfinished_since()
            .is_some_and(|since| passed(since) >= limits.patience)
        {
            Some(Refusal::SlowLine)
        } else if !self.greeted && !self.enrolling && passed(self.opened) >= limits.patience {
            Some(Refusal::NoGreeting)
        } else if passed(self.heard) >= limits.silence {
            Some(Refusal::Silent)
        } else {
            None
        }
    }

    /// Whether a ping is due; says so once.
    pub fn is_to_be_asked(&mut self, limits: &Limits, now: Instant) -> bool {
        let due = self.greeted && !self.asked && now.saturating_duration_since(self.heard) >= limits.ask_after;
        self.asked |= due;
        due
    }
}
