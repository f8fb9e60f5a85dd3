//! `-m tos` (`net/netfilter/xt_dscp.c`, revision 1).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m tos`: type of service or traffic class under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tos {
    /// What the masked byte is to be.
    pub value: u8,
    /// Bits that are looked at.
    pub mask: u8,
    /// `!`
    pub negated: bool,
}

impl Tos {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        (cx.packet.headers.tos & self.mask == self.value) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn masks_the_packet() {
        let m = |value, mask, negated| Match::Tos(Tos { value, mask, negated });
        let cases = [
            (m(0x10, 0x3f, false), Answer::Yes),
            (m(0x10, 0xff, false), Answer::No),
            (m(0x10, 0xff, true), Answer::Yes),
            (m(0x90, 0x3f, false), Answer::No),
        ];
        for (m, expected) in cases {
            for mut packet in testkit::both(number::UDP, &[0; 8]) {
                packet.headers.tos = 0x90;
                assert_eq!(answer(m.clone(), packet), expected, "{m:?}");
            }
        }
    }
}
