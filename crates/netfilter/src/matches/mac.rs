//! `-m mac` (`net/netfilter/xt_mac.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m mac`: the source MAC address of a packet that came in by Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac {
    /// `--mac-source`
    pub source: [u8; 6],
    /// `!`
    pub negated: bool,
}

impl Mac {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_hooks("mac", &[Hook::Prerouting, Hook::Input, Hook::Forward])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        // Without a MAC address it holds neither plain nor negated.
        cx.packet.source_mac.is_some_and(|mac| (mac == self.source) != self.negated)
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn needs_an_address() {
        let m = |source, negated| Match::Mac(Mac { source, negated });
        for mut packet in testkit::both(number::UDP, &[0; 8]) {
            assert_eq!(answer(m([2; 6], true), packet.clone()), Answer::No);
            packet.source_mac = Some([2; 6]);
            assert_eq!(answer(m([2; 6], false), packet.clone()), Answer::Yes);
            assert_eq!(answer(m([3; 6], false), packet.clone()), Answer::No);
            assert_eq!(answer(m([3; 6], true), packet), Answer::Yes);
        }
    }
}
