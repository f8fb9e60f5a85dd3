//! Exact arithmetic of rates: how long a number of bytes takes.

/// 1/1024 of a nanosecond: at 10 Gbit/s a whole nanosecond is 1.25 bytes, too coarse to keep a rate of small packets within
/// half a percent.
pub(crate) type Ticks = i64;

const TICK_BITS: u32 = 10;

/// The most that any bucket or debt counts: about 100 days, so that sums of two don't overflow.
const MOST: Ticks = i64::MAX >> 2;

/// How much lateness of the caller is made up for, ns. A process wakes up some ten or hundred microseconds after the time that it
/// asked for; with small buckets, which overflow meanwhile, that would cost much of a high rate.
pub(crate) const MOST_LATENESS: u64 = 20_000_000;

/// What a bucket may hold beyond its size because the caller, who was to come at `due`, comes at `now`.
pub(crate) fn lateness(now: u64, due: u64) -> Ticks {
    elapsed(now.min(due.saturating_add(MOST_LATENESS)), due)
}

/// A rate, prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Bytes per second, at least 1.
    pub bytes_per_second: u64,
    /// Nanoseconds per byte, times 2^32.
    per_byte: u64,
}

impl Rate {
    pub fn new(bytes_per_second: u64) -> Rate {
        let bytes_per_second = bytes_per_second.max(1);
        Rate {
            bytes_per_second,
            per_byte: (1_000_000_000 << 32) / bytes_per_second,
        }
    }

    /// How long `bytes` take.
    pub fn time(&self, bytes: u32) -> Ticks {
        let ticks = (u128::from(bytes) * u128::from(self.per_byte)) >> (32 - TICK_BITS);
        Ticks::try_from(ticks).unwrap_or(MOST).min(MOST)
    }
}

/// Ticks from `earlier` to `now`, both in ns; never negative.
pub(crate) fn elapsed(now: u64, earlier: u64) -> Ticks {
    Ticks::try_from(u128::from(now.saturating_sub(earlier)) << TICK_BITS)
        .unwrap_or(MOST)
        .min(MOST)
}

/// The first whole nanosecond at which `ticks` more have passed after `now`.
pub(crate) fn after(now: u64, ticks: Ticks) -> u64 {
    let ticks = u64::try_from(ticks).unwrap_or(0);
    now.saturating_add(ticks.div_ceil(1 << TICK_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_to_a_tick() {
        for (mbit, bytes, ns) in [(1_u64, 1500_u32, 12_000_000_u64), (500, 1500, 24_000), (10_000, 64, 51)] {
            let rate = Rate::new(mbit * 125_000);
            let exact = f64::from(bytes) * 8e3 / mbit as f64 * 1024.0;
            assert!((rate.time(bytes) as f64 - exact).abs() <= 1.0 + exact * 1e-9, "{mbit} Mbit/s");
            assert!(after(0, rate.time(bytes)).abs_diff(ns) <= 1, "{mbit} Mbit/s");
        }
    }

    #[test]
    fn nothing_overflows() {
        let slow = Rate::new(0);
        assert_eq!(slow.bytes_per_second, 1);
        assert!(slow.time(u32::MAX) > 0 && slow.time(u32::MAX) <= MOST);
        assert_eq!(elapsed(u64::MAX, 0), MOST);
        assert_eq!(elapsed(0, 5), 0);
        assert_eq!(after(u64::MAX, MOST), u64::MAX);
        assert_eq!(after(7, -3), 7);
    }
}
