//! `-m dscp` (`net/netfilter/xt_dscp.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m dscp`: the upper six bits of type of service or traffic class (RFC 2474 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp {
    /// Code point, 0 to 63.
    pub value: u8,
    /// `!`
    pub negated: bool,
}

impl Dscp {
    /// Highest code point.
    pub const MAX: u8 = 63;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.value > Dscp::MAX {
            return Err(CheckError(format!("dscp: {} is above {}", self.value, Dscp::MAX)));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        (cx.packet.headers.tos >> 2 == self.value) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn leaves_ecn_out() {
        let m = |value, negated| Match::Dscp(Dscp { value, negated });
        for mut packet in testkit::both(number::UDP, &[0; 8]) {
            packet.headers.tos = 0x2e << 2 | 3;
            assert_eq!(answer(m(0x2e, false), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(0x2e, true), packet.clone()), Answer::No);
            assert_eq!(answer(m(0x2f, false), packet), Answer::No);
        }
    }
}
