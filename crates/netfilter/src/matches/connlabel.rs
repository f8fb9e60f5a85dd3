//! `-m connlabel` (`net/netfilter/xt_connlabel.c`).

use crate::PacketCt;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m connlabel`: a label of the packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connlabel {
    /// Its number, up to [`Connlabel::MAX`].
    pub label: u16,
    /// `!`
    pub negated: bool,
    /// `--set`: give it to the connection when it hasn't it.
    pub set: bool,
}

impl Connlabel {
    /// Highest label.
    pub const MAX: u16 = 127;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.label > Connlabel::MAX {
            return Err(CheckError(format!("connlabel: {} is above {}", self.label, Connlabel::MAX)));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let PacketCt::Tracked { id, .. } = cx.packet.ct else {
            return self.negated;
        };
        let Some(conn) = cx.conntrack.get_mut(id) else {
            return self.negated;
        };
        let bit = 1u128 << (self.label & Connlabel::MAX);
        let there = conn.extra.as_ref().is_some_and(|extra| extra.labels & bit != 0);
        if !there && self.set {
            conn.extra_mut().labels |= bit;
        }
        // A label just set counts as there.
        (there || self.set) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn without_connection_only_the_negation_holds() {
        let m = |negated, set| Match::Connlabel(Connlabel { label: 1, negated, set });
        for packet in testkit::both(number::UDP, &[0; 8]) {
            assert_eq!(answer(m(false, true), packet.clone()), Answer::No);
            assert_eq!(answer(m(true, false), packet), Answer::Yes);
        }
    }
}
