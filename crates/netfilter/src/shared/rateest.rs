//! Rate estimators (`xt_RATEEST.c`, `net/core/gen_estimator.c`): exponentially weighted averages, by name.

use std::collections::HashMap;

use super::MAX_NAMES;
use crate::Now;

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes per second.
    pub bytes: u64,
    /// Packets per second.
    pub packets: u64,
}

/// An estimator. The averages are kept as the kernel keeps them: fixed point, 8 bits of fraction.
#[derive(Debug)]
pub struct Estimator {
    /// Samples are taken each `250 ms << interval`, -2 to 3.
    interval: i8,
    /// A sample weighs `2^-ewma_log`.
    ewma_log: u8,
    bytes: u64,
    packets: u64,
    last_bytes: u64,
    last_packets: u64,
    average_bytes: u64,
    average_packets: u64,
    next: u64,
}

/// After so many intervals without a packet the average has long been zero.
const MOST_SAMPLES: u64 = 4096;

impl Estimator {
    fn new(interval: i8, ewma_log: u8, now: u64) -> Estimator {
        let mut estimator = Estimator {
            interval: interval.clamp(-2, 3),
            ewma_log: ewma_log.clamp(1, 30),
            bytes: 0,
            packets: 0,
            last_bytes: 0,
            last_packets: 0,
            average_bytes: 0,
            average_packets: 0,
            next: 0,
        };
        estimator.next = now.saturating_add(estimator.period());
        estimator
    }

    /// `250 ms << interval` less two steps: -2 is 250 ms.
    fn period(&self) -> u64 {
        (Now::SECOND / 4) << (self.interval + 2)
    }

    /// Takes the samples that are due.
    fn advance(&mut self, now: u64) {
        if now < self.next {
            return;
        }
        let due = (now - self.next) / self.period() + 1;
        for _ in 0..due.min(MOST_SAMPLES) {
            self.sample();
        }
        self.next = self.next.saturating_add(due.saturating_mul(self.period()));
    }

    fn sample(&mut self) {
        // est_timer: (new << (10 - interval)) >> log less old >> log, with intervals counted from -2 and rates scaled by 2^8.
        let shift = (10 - u32::from((self.interval + 2) as u8)).min(10);
        let fresh = |now: u64, last: u64| (u128::from(now.wrapping_sub(last)) << shift) as u64;
        let (bytes, packets) = (fresh(self.bytes, self.last_bytes), fresh(self.packets, self.last_packets));
        (self.last_bytes, self.last_packets) = (self.bytes, self.packets);
        let blend = |average: u64, sample: u64| {
            average
                .saturating_add(sample >> self.ewma_log)
                .saturating_sub(average >> self.ewma_log)
        };
        self.average_bytes = blend(self.average_bytes, bytes);
        self.average_packets = blend(self.average_packets, packets);
    }

    fn rates(&self) -> Rates {
        Rates {
            bytes: self.average_bytes.saturating_add(0x80) >> 8,
            packets: self.average_packets.saturating_add(0x80) >> 8,
        }
    }
}

/// All estimators by name.
#[derive(Debug, Default)]
pub struct Estimators(HashMap<Box<str>, Estimator>);

impl Estimators {
    /// Counts a packet. The estimator is made when it is not there; beyond [`MAX_NAMES`] nothing is.
    pub(crate) fn count(&mut self, name: &str, interval: i8, ewma_log: u8, bytes: u64, now: u64) {
        if !self.0.contains_key(name) {
            if self.0.len() >= MAX_NAMES {
                return;
            }
            self.0.insert(name.into(), Estimator::new(interval, ewma_log, now));
        }
        if let Some(estimator) = self.0.get_mut(name) {
            estimator.advance(now);
            estimator.bytes = estimator.bytes.wrapping_add(bytes);
            estimator.packets = estimator.packets.wrapping_add(1);
        }
    }

    /// The rates of an estimator now; `None` when no packet met its RATEEST rule.
    pub fn rates(&mut self, name: &str, now: u64) -> Option<Rates> {
        let estimator = self.0.get_mut(name)?;
        estimator.advance(now);
        Some(estimator.rates())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_near_a_steady_rate() {
        for (interval, log) in [(-2, 1), (0, 2), (1, 3)] {
            let mut all = Estimators::default();
            // 100 packets of 500 bytes a second, for a minute.
            for tick in 0..6000u64 {
                all.count("a", interval, log, 500, tick * Now::SECOND / 100);
            }
            let rates = all.rates("a", 60 * Now::SECOND).unwrap();
            assert!((95..=105).contains(&rates.packets), "{interval} {log}: {rates:?}");
            assert!((47_500..=52_500).contains(&rates.bytes), "{interval} {log}: {rates:?}");
            let later = all.rates("a", 600 * Now::SECOND).unwrap();
            assert!(later.packets < 5, "{later:?}");
        }
    }
}
