//! `-m realm` (`net/netfilter/xt_realm.c`).

use fielato_wire::Family;

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m realm`: the realm of the packet's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Realm {
    /// What the masked realm is to be.
    pub value: u32,
    /// Bits that are looked at.
    pub mask: u32,
    /// `!`
    pub negated: bool,
}

impl Realm {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("realm", Family::V4)?;
        cx.only_hooks("realm", &[Hook::Postrouting, Hook::Forward, Hook::Output, Hook::Input])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        (cx.packet.realm & self.mask == self.value) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn masks_the_route_s_realm() {
        let m = |value, mask, negated| Match::Realm(Realm { value, mask, negated });
        let mut packet = testkit::v4(number::UDP, &[0; 8]);
        packet.realm = 0x12;
        assert_eq!(answer(m(0x12, u32::MAX, false), packet.clone()), Answer::Yes);
        assert_eq!(answer(m(2, 15, false), packet.clone()), Answer::Yes);
        assert_eq!(answer(m(2, 15, true), packet.clone()), Answer::No);
        assert_eq!(answer(m(0x12, 15, false), packet), Answer::No);
    }
}
