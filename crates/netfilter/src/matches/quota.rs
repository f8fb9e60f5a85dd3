//! `-m quota` (`net/netfilter/xt_quota.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m quota`: holds until so many bytes have passed the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes.
    pub bytes: u64,
    /// `!`
    pub negated: bool,
}

impl Quota {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) const fn slot(&self) -> Slot {
        Slot::Count(self.bytes)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, slot: &mut Slot) -> bool {
        if !matches!(slot, Slot::Count(_)) {
            *slot = self.slot();
        }
        let Slot::Count(left) = slot else {
            return false;
        };
        let within = left.checked_sub(u64::from(cx.packet.headers.len));
        // One packet too long ends the quota for the shorter ones behind it too.
        *left = within.unwrap_or(0);
        within.is_some() != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn ends_for_good() {
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let len = u64::from(packet.headers.len);
            let mut kit = Kit::new(packet);
            for (negated, before, after) in [(false, Answer::Yes, Answer::No), (true, Answer::No, Answer::Yes)] {
                let m = Match::Quota(Quota {
                    bytes: 2 * len + len / 2,
                    negated,
                });
                let mut slot = m.slot(kit.now);
                let answers: Vec<_> = (0..4).map(|_| kit.answer_with(&m, &mut slot)).collect();
                assert_eq!(answers, [before, before, after, after]);
                assert!(matches!(slot, Slot::Count(0)));
            }
        }
    }
}
