//! `-m mark` (`net/netfilter/xt_mark.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m mark`: the packet's mark under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What the masked mark is to be. Not masked itself: bits outside the mask make it hold never.
    pub mark: u32,
    /// Bits that are looked at.
    pub mask: u32,
    /// `!`
    pub negated: bool,
}

impl Mark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.holds(cx.packet.mark)
    }

    /// Whether it holds for this mark.
    pub(crate) const fn holds(&self, mark: u32) -> bool {
        (mark & self.mask == self.mark) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_the_packet_not_the_rule() {
        let m = |mark, mask, negated| Mark { mark, mask, negated };
        let cases = [
            (m(0x12, 0xff, false), true),
            (m(0x12, u32::MAX, false), false),
            (m(0x12, u32::MAX, true), true),
            (m(0, 0, false), true),
            (m(1, 0, false), false),
            (m(1, 0, true), true),
        ];
        for (m, expected) in cases {
            assert_eq!(m.holds(0xab12), expected, "{m:?}");
        }
    }
}
