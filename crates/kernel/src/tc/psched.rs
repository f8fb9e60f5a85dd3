//! The packet scheduler's clock: bursts are told to the kernel as the time that they take, in its ticks.

use std::io;

/// What `/proc/net/psched` says.
#[derive(Debug, Clone, Copy)]
pub struct Psched {
    ticks_per_microsecond: f64,
    /// Timer interrupts per second, as far as the scheduler's precision goes.
    hertz: u64,
}

impl Psched {
    pub fn read() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/net/psched")?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("unexpected content {text:?}")))
    }

    /// Four hexadecimal numbers (`psched_show` in net/sched/sch_api.c): nanoseconds per microsecond, nanoseconds per tick,
    /// the clock's steps per second, and the timer's.
    fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u32>> = text
            .split_whitespace()
            .map(|word| u32::from_str_radix(word, 16).ok())
            .collect();
        let &[microsecond, tick, steps, hertz] = numbers?.as_slice() else {
            return None;
        };
        if tick == 0 || steps == 0 || hertz == 0 {
            return None;
        }
        Some(Psched {
            ticks_per_microsecond: f64::from(microsecond) / f64::from(tick) * (f64::from(steps) / 1e6),
            hertz: u64::from(hertz),
        })
    }

    /// Ticks that `microseconds` last.
    pub fn ticks(&self, microseconds: f64) -> u32 {
        (microseconds * self.ticks_per_microsecond) as u32
    }

    /// Ticks that `size` bytes take at `rate`. As in tc, fractions of a microsecond are cut off, so that the same words leave
    /// the same thing. The cast saturates: more than the kernel can be told becomes the most it can.
    pub fn transmit_ticks(&self, rate: u64, size: u32) -> u32 {
        self.ticks((1e6 * (f64::from(size) / rate as f64)).trunc())
    }

    /// Whole microseconds that `ticks` last: tc cuts off the rest, so its sizes look a little smaller than what was set.
    pub fn microseconds(&self, ticks: u32) -> f64 {
        (f64::from(ticks) / self.ticks_per_microsecond).trunc()
    }

    /// Bytes sent at `rate` in `ticks`.
    pub fn transmit_size(&self, rate: u64, ticks: u32) -> u32 {
        (rate as f64 * self.microseconds(ticks) / 1e6) as u32
    }

    /// The smallest bucket that keeps the rate when it is filled once per timer interrupt, and takes one packet of `mtu`.
    pub fn least_burst(&self, rate: u64, mtu: u32) -> u32 {
        u32::try_from(rate / self.hertz).unwrap_or(u32::MAX).saturating_add(mtu)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What every kernel with high resolution timers says.
    pub fn usual() -> Psched {
        Psched::parse("000003e8 00000040 000f4240 3b9aca00\n").unwrap()
    }

    #[test]
    fn a_burst_takes_its_time() {
        let psched = usual();
        // 1600 bytes at 10 Mbit/s last 1.28 ms, a tick 64 ns.
        assert_eq!(psched.transmit_ticks(1_250_000, 1600), 20_000);
        assert_eq!(psched.transmit_size(1_250_000, 20_000), 1600);
        assert_eq!(psched.least_burst(1_250_000, 1600), 1600);
        let coarse = Psched::parse("000003e8 00000040 000f4240 00000064").unwrap();
        assert_eq!(coarse.least_burst(1_250_000, 1600), 14_100, "100 interrupts per second");
    }

    #[test]
    fn nonsense_is_no_clock() {
        for text in ["", "1 2 3", "1 0 1 1", "x 1 1 1", "1 1 1 1 1"] {
            assert!(Psched::parse(text).is_none(), "{text}");
        }
    }
}
