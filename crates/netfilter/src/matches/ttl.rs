//! `-m ttl` and `-m hl` (`net/netfilter/xt_hl.c`).

use fielato_wire::Family;

use super::Comparison;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ttl`: the time to live; `-m hl`: the hop limit, as IPv6 calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Which of both.
    pub family: Family,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u8,
}

impl Ttl {
    /// Its name: `ttl` or `hl`.
    pub const fn name(&self) -> &'static str {
        match self.family {
            Family::V4 => "ttl",
            Family::V6 => "hl",
        }
    }

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family(self.name(), self.family)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.comparison.holds(cx.packet.headers.ttl, self.value)
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn compares() {
        // Packets of the kit leave with 64.
        let cases = [
            (Comparison::Equal, 64, Answer::Yes),
            (Comparison::NotEqual, 64, Answer::No),
            (Comparison::Less, 64, Answer::No),
            (Comparison::Less, 65, Answer::Yes),
            (Comparison::Greater, 64, Answer::No),
            (Comparison::Greater, 63, Answer::Yes),
        ];
        for (comparison, value, expected) in cases {
            for packet in testkit::both(number::UDP, &[0; 8]) {
                let family = packet.headers.family;
                let m = Match::Ttl(Ttl {
                    family,
                    comparison,
                    value,
                });
                assert_eq!(answer(m, packet), expected, "{family:?} {comparison:?} {value}");
            }
        }
    }
}
