//! netem's random numbers: each may depend on the one before it.

use crate::spec::Distribution;
use crate::spec::distribution::{SCALE, cumulative};

/// A percentage as a fraction of all 32 bits, as tc tells it to the kernel.
pub(super) fn fraction(percent: f64) -> u32 {
    (percent / 100.0 * f64::from(u32::MAX)).round_ties_even() as u32
}

/// Numbers that depend on the last one by a share (`get_crandom`).
#[derive(Debug)]
pub(super) struct Correlated {
    last: u32,
    share: u32,
}

impl Correlated {
    pub fn new(percent: f64, rng: &mut fastrand::Rng) -> Self {
        Correlated {
            last: rng.u32(..),
            share: fraction(percent),
        }
    }

    pub fn next(&mut self, rng: &mut fastrand::Rng) -> u32 {
        let value = rng.u32(..);
        if self.share == 0 {
            return value;
        }
        let share = u64::from(self.share) + 1;
        let sum = u128::from(value) * u128::from((1u64 << 32) - share) + u128::from(self.last) * u128::from(share);
        self.last = (sum >> 32) as u32;
        self.last
    }
}

/// Numbers for delays, each of which depends on the last by a share.
///
/// The kernel uses only the remainder of a correlated number, and so nothing is left of the correlation. These are even over
/// all 32 bits whatever the share is, and follow each other as asked: steps of a normal process, seen through the normal
/// distribution function.
#[derive(Debug)]
pub(super) struct Delays {
    last: f64,
    share: f64,
}

impl Delays {
    pub fn new(percent: f64, rng: &mut fastrand::Rng) -> Self {
        Delays {
            last: normal(rng),
            share: percent / 100.0,
        }
    }

    pub fn next(&mut self, rng: &mut fastrand::Rng) -> u32 {
        if self.share == 0.0 {
            return rng.u32(..);
        }
        let new = (1.0 - self.share * self.share).max(0.0).sqrt();
        self.last = self.share * self.last + new * normal(rng);
        // The function's series holds between -6 and 6; the cast saturates.
        (cumulative(self.last.clamp(-6.0, 6.0)) * f64::from(u32::MAX)) as u32
    }
}

/// A number of the normal distribution, by Box and Muller.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Something that happens to a share of all packets.
#[derive(Debug)]
pub(super) struct Chance {
    share: u32,
    correlated: Correlated,
}

impl Chance {
    pub fn new(percent: f64, correlation: f64, rng: &mut fastrand::Rng) -> Self {
        Chance {
            share: fraction(percent),
            correlated: Correlated::new(correlation, rng),
        }
    }

    pub fn happens(&mut self, rng: &mut fastrand::Rng) -> bool {
        self.share != 0 && self.share >= self.correlated.next(rng)
    }
}

/// A random value around `middle`, from a random number: the larger the number, the larger the value (`tabledist`). The kernel
/// cuts `width` to 2.1 s, which is not done here.
pub(super) fn spread(middle: i64, width: i64, distribution: &Distribution, random: u32) -> i64 {
    if width == 0 {
        return middle;
    }
    let Some(table) = distribution.table() else {
        let offset = (i128::from(random) * i128::from(width) * 2) >> 32;
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        return offset.saturating_sub(width).saturating_add(middle);
    };
    let entry = table.pick(random);
    let product = i128::from(width) * i128::from(entry);
    let half = i128::from(SCALE / 2) * if product < 0 { -1 } else { 1 };
    middle.saturating_add(((product + half) / i128::from(SCALE)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlated_numbers_stay_near_the_last() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut mean_step = |percent| {
            let mut numbers = Correlated::new(percent, &mut rng);
            let mut last = numbers.next(&mut rng);
            let steps: f64 = (0..10_000)
                .map(|_| {
                    let next = numbers.next(&mut rng);
                    f64::from(next.abs_diff(std::mem::replace(&mut last, next)))
                })
                .sum();
            steps / 10_000.0 / f64::from(u32::MAX)
        };
        // Two independent numbers are a third of the range apart.
        let free = mean_step(0.0);
        assert!((free - 1.0 / 3.0).abs() < 0.02, "{free}");
        assert!(mean_step(90.0) < 0.1);
        assert_eq!(mean_step(100.0), 0.0);
    }

    #[test]
    fn values_spread_as_far_as_asked() {
        for random in [0, 1, 12_345, u32::MAX / 2, u32::MAX] {
            let value = spread(1_000_000, 100_000, &Distribution::Uniform, random);
            assert!((900_000..1_100_000).contains(&value), "{value}");
            let wide = spread(10_000_000_000, 5_000_000_000, &Distribution::Uniform, random);
            assert!((5_000_000_000..15_000_000_000).contains(&wide), "{wide}");
            assert_eq!(spread(7, 0, &Distribution::Normal, random), 7);
        }
        assert_eq!(spread(0, 8192, &Distribution::Normal, 0), -32_768, "four deviations below");
        assert_eq!(
            spread(1000, 1_000_000, &Distribution::Normal, 1 << 31),
            1000,
            "the middle entry"
        );
    }
}
