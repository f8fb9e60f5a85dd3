//! `-m limit` (`net/netfilter/xt_limit.c`): a bucket of credit that fills with time.

use crate::Now;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m limit`: so many packets in a time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Time between two packets, in 1/10,000 s ([`Limit::SCALE`]).
    pub interval: u32,
    /// `--limit-burst`
    pub burst: u32,
}

impl Limit {
    /// Units of [`Limit::interval`] in a second (`XT_LIMIT_SCALE`).
    pub const SCALE: u32 = 10_000;

    /// Credit that a second brings: the kernel's ticks times credit per tick, which is the same at 250 and 1,000 ticks.
    const CREDIT_PER_SECOND: u32 = 32_000;
    /// The clock's tick in nanoseconds: time counts in whole ticks.
    const TICK: u64 = 1_000_000;
    const CREDIT_PER_TICK: u64 = 32;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.burst == 0 || self.capacity() < self.cost() {
            return Err(CheckError(format!(
                "limit: a burst of {} packets at this rate overflows, try a lower one",
                self.burst
            )));
        }
        Ok(())
    }

    /// A full bucket at first.
    pub(crate) fn slot(&self, now: Now) -> Slot {
        Slot::Bucket {
            credit: u64::from(self.capacity()),
            last: now.mono / Limit::TICK,
        }
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, slot: &mut Slot) -> bool {
        if !matches!(slot, Slot::Bucket { .. }) {
            *slot = self.slot(cx.now);
        }
        let Slot::Bucket { credit, last } = slot else {
            return false;
        };
        let tick = cx.now.mono / Limit::TICK;
        let gained = tick.saturating_sub(*last).saturating_mul(Limit::CREDIT_PER_TICK);
        *last = tick.max(*last);
        *credit = credit.saturating_add(gained).min(u64::from(self.capacity()));
        let cost = u64::from(self.cost());
        let holds = *credit >= cost;
        if holds {
            *credit -= cost;
        }
        holds
    }

    fn cost(&self) -> u32 {
        Limit::credits(self.interval)
    }

    fn capacity(&self) -> u32 {
        Limit::credits(self.interval.wrapping_mul(self.burst))
    }

    /// `user2credits`, with its way around the overflow of 32 bits.
    const fn credits(interval: u32) -> u32 {
        if interval > u32::MAX / Limit::CREDIT_PER_SECOND {
            (interval / Limit::SCALE).wrapping_mul(Limit::CREDIT_PER_SECOND)
        } else {
            interval * Limit::CREDIT_PER_SECOND / Limit::SCALE
        }
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn a_burst_then_the_rate() {
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            let m = Match::Limit(Limit {
                interval: Limit::SCALE,
                burst: 3,
            });
            let mut slot = m.slot(kit.now);
            let mut count =
                |kit: &mut Kit, tries: usize| (0..tries).filter(|_| kit.answer_with(&m, &mut slot) == Answer::Yes).count();
            assert_eq!(count(&mut kit, 10), 3, "the burst");
            kit.now = kit.now.plus(999_000_000);
            assert_eq!(count(&mut kit, 10), 0, "not yet");
            kit.now = kit.now.plus(1_000_000);
            assert_eq!(count(&mut kit, 10), 1, "one a second");
            kit.now = kit.now.plus(1000 * Now::SECOND);
            assert_eq!(count(&mut kit, 10), 3, "never more than the burst");
        }
    }

    #[test]
    fn refuses_what_overflows() {
        let ip = crate::rule::IpMatch::default();
        let cx = CheckContext {
            family: fielato_wire::Family::V4,
            table: "filter",
            hooks: crate::HookMask::ALL,
            ip: &ip,
            matches: &[],
        };
        let limit = |interval, burst| Limit { interval, burst };
        assert!(limit(Limit::SCALE, 5).check(&cx).is_ok());
        assert!(limit(Limit::SCALE * 86_400, 1).check(&cx).is_ok());
        assert!(limit(Limit::SCALE, 0).check(&cx).is_err());
        assert!(limit(Limit::SCALE * 86_400, 5).check(&cx).is_err());
    }
}
