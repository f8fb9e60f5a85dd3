//! The time in an initiation: what makes a recorded one worthless later (WireGuard paper, section 5.1).

use std::time::{Duration, SystemTime};

/// TAI64N (<https://cr.yp.to/libtai/tai64.html>): seconds and nanoseconds, both big-endian, so that bytes compare as
/// times do. Receivers only compare; ten seconds between TAI and UTC are what the kernel driver assumes, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tai64n(pub(crate) [u8; 12]);

const EPOCH: u64 = 0x4000_0000_0000_000a;

/// Times are rounded down to this, so that they tell little about our clock: 2^24 ns, the largest power of two
/// that still lets 50 initiations a second differ (the kernel's `tai64n_now`).
const GRAIN: u32 = 1 << 24;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

impl Tai64n {
    /// Before every time: what a peer is at that never sent one.
    pub(crate) const ZERO: Self = Self([0; 12]);

    /// The time rounded down. A clock before 1970 counts as 1970.
    pub(crate) fn new(time: SystemTime) -> Self {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::join(EPOCH.wrapping_add(time.as_secs()), time.subsec_nanos() & !(GRAIN - 1))
    }

    /// The time, or the next one after `last` when the clock stands still, went back or ticks too fast: receivers
    /// drop an initiation that is not later than the one before.
    pub(crate) fn strictly_after(last: Self, time: SystemTime) -> Self {
        let now = Self::new(time);
        if now > last { now } else { last.next() }
    }

    fn next(self) -> Self {
        let (seconds, nanos) = self.split();
        // The grain does not divide a second: its last step is a short one.
        match nanos.saturating_add(GRAIN) {
            nanos if nanos < NANOS_PER_SECOND => Self::join(seconds, nanos),
            _ => Self::join(seconds.saturating_add(1), 0),
        }
    }

    fn join(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }

    fn split(self) -> (u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn layout_and_rounding() {
        for (seconds, nanos, rounded) in [
            (0, 0, 0),
            (1, GRAIN - 1, 0),
            (2, GRAIN, GRAIN),
            (1_700_000_000, 999_999_999, 59 * GRAIN),
        ] {
            let stamp = Tai64n::new(at(seconds, nanos));
            assert_eq!(stamp.split(), (0x4000_0000_0000_000a + seconds, rounded));
        }
        assert_eq!(Tai64n::new(at(0, 0)).0, [0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0]);
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(Tai64n::new(before), Tai64n::new(at(0, 0)));
    }

    #[test]
    fn stamps_never_repeat_nor_go_back() {
        let mut last = Tai64n::ZERO;
        // A clock that stands still, goes back, and jumps ahead again.
        for (time, times) in [(at(100, 500_000_000), 200), (at(50, 0), 100), (at(1_000, 1), 3)] {
            for _ in 0..times {
                let stamp = Tai64n::strictly_after(last, time);
                assert!(stamp > last);
                let (_, nanos) = stamp.split();
                assert!(nanos < NANOS_PER_SECOND && nanos % GRAIN == 0);
                last = stamp;
            }
        }
        assert_eq!(last.split().0, EPOCH + 1_000);
        assert_eq!(
            Tai64n::strictly_after(Tai64n::new(at(9, 0)), at(10, 0)),
            Tai64n::new(at(10, 0))
        );
    }
}
