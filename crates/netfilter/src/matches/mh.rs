//! `-m mh` (`net/ipv6/netfilter/ip6t_mh.c`).

use fielato_wire::{Family, number};

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m mh`: the type of a mobility header (RFC 6275 §6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mh {
    /// `--mh-type`
    pub kind: Range<u8>,
}

impl Mh {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("mh", Family::V6)?;
        cx.only_protocols("mh", &[number::MOBILITY])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        if cx.packet.headers.is_later_fragment() {
            return false;
        }
        // Nothing may follow a mobility header (RFC 6275 §6.1.1).
        match cx.packet.transport().first_chunk::<6>() {
            Some(&[number::NO_NEXT, _, kind, ..]) => self.kind.holds(kind),
            _ => {
                cx.hotdrop = true;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn types() {
        let m = |kind| Match::Mh(Mh { kind });
        let packet = || testkit::v6(number::MOBILITY, &[number::NO_NEXT, 0, 5, 0, 0, 0, 0, 0]);
        assert_eq!(answer(m(Range::one(5)), packet()), Answer::Yes);
        assert_eq!(answer(m(Range::one(5).not()), packet()), Answer::No);
        assert_eq!(answer(m(Range::new(0, 4)), packet()), Answer::No);
        let any = m(Range::<u8>::ANY);
        assert_eq!(
            answer(any.clone(), testkit::v6(number::MOBILITY, &[number::NO_NEXT, 0, 5])),
            Answer::Hotdrop
        );
        assert_eq!(
            answer(any, testkit::v6(number::MOBILITY, &[number::UDP, 0, 5, 0, 0, 0, 0, 0])),
            Answer::Hotdrop
        );
    }
}
