//! `-m helper` (`net/netfilter/xt_helper.c`).

use crate::check::{CheckContext, CheckError};
use crate::conntrack::Conn;
use crate::context::{Context, Slot};

/// `-m helper`: the connection was announced by one that this helper reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Helper {
    /// The helper's name, at most 29 bytes; empty for any.
    pub name: Box<str>,
    /// `!`
    pub negated: bool,
}

impl Helper {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let master = cx.conntrack.of(cx.packet).and_then(Conn::known_master);
        let helper = master.and_then(|master| master.helper);
        // As the kernel does: the name may go on, as in `ftp-2121`.
        let holds = helper.is_some_and(|helper| self.name.is_empty() || self.name.starts_with(helper.name()));
        holds != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn without_a_master_only_the_negation_holds() {
        let m = |negated| {
            Match::Helper(Helper {
                name: "ftp".into(),
                negated,
            })
        };
        for packet in testkit::both(number::TCP, &testkit::tcp(20, 4000, 2, &[])) {
            assert_eq!(answer(m(false), packet.clone()), Answer::No);
            assert_eq!(answer(m(true), packet), Answer::Yes);
        }
    }
}
