//! `-m statistic` (`net/netfilter/xt_statistic.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// Which packets it holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticMode {
    /// `--mode random`
    Random {
        /// In units of 2⁻³¹; 2³¹ is always.
        probability: u32,
    },
    /// `--mode nth`
    Nth {
        /// One of so many packets.
        every: u32,
        /// Where the count begins: below `every`.
        packet: u32,
    },
}

/// `-m statistic`: a share of the packets, by chance or by count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// Which.
    pub mode: StatisticMode,
    /// `!`
    pub negated: bool,
}

impl Statistic {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn slot(&self) -> Slot {
        match self.mode {
            StatisticMode::Random { .. } => Slot::None,
            // The count at which the packet number `packet`, from 0, is the first.
            StatisticMode::Nth { every, packet } => Slot::Count(every.saturating_sub(1).saturating_sub(packet).into()),
        }
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, slot: &mut Slot) -> bool {
        let chosen = match self.mode {
            StatisticMode::Random { probability } => cx.rng.u32(..) & 0x7fff_ffff < probability,
            StatisticMode::Nth { every, .. } => {
                if !matches!(slot, Slot::Count(_)) {
                    *slot = self.slot();
                }
                let Slot::Count(count) = slot else {
                    return false;
                };
                *count = if *count == u64::from(every.saturating_sub(1)) {
                    0
                } else {
                    *count + 1
                };
                *count == 0
            }
        };
        chosen != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    fn count(m: &Match, kit: &mut Kit, tries: usize) -> Vec<usize> {
        let mut slot = m.slot(kit.now);
        (0..tries).filter(|_| kit.answer_with(m, &mut slot) == Answer::Yes).collect()
    }

    #[test]
    fn every_nth() {
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            let m = |every, packet, negated| {
                let mode = StatisticMode::Nth { every, packet };
                Match::Statistic(Statistic { mode, negated })
            };
            assert_eq!(count(&m(3, 0, false), &mut kit, 9), [0, 3, 6]);
            assert_eq!(count(&m(3, 2, false), &mut kit, 9), [2, 5, 8]);
            assert_eq!(count(&m(3, 0, true), &mut kit, 6), [1, 2, 4, 5]);
            assert_eq!(count(&m(1, 0, false), &mut kit, 3), [0, 1, 2]);
        }
    }

    #[test]
    fn by_chance() {
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            let m = |probability, negated| {
                let mode = StatisticMode::Random { probability };
                Match::Statistic(Statistic { mode, negated })
            };
            assert_eq!(count(&m(0, false), &mut kit, 100).len(), 0);
            assert_eq!(count(&m(1 << 31, false), &mut kit, 100).len(), 100);
            let quarter = count(&m(1 << 29, false), &mut kit, 10_000).len();
            assert!((2300..2700).contains(&quarter), "{quarter} of 10,000");
            let rest = count(&m(1 << 29, true), &mut kit, 10_000).len();
            assert!((7300..7700).contains(&rest), "{rest} of 10,000");
        }
    }
}
