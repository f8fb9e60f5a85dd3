//! `-m state`: `-m conntrack --ctstate` under its old name.

use super::conntrack::StateMatch;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State(pub StateMatch);

impl State {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn per_flow(&self) -> bool {
        self.0.per_flow()
    }

    #[inline]
    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.0.holds(cx)
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::PacketCt;
    use crate::matches::conntrack::States;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn a_packet_without_connection_is_invalid_or_untracked() {
        let m = |states, negated| {
            let states = States(states);
            Match::State(State(StateMatch { states, negated }))
        };
        for mut packet in testkit::both(number::UDP, &[0; 8]) {
            assert_eq!(answer(m(States::INVALID, false), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(States::INVALID, true), packet.clone()), Answer::No);
            assert_eq!(
                answer(m(States::NEW | States::ESTABLISHED, false), packet.clone()),
                Answer::No
            );
            packet.ct = PacketCt::Untracked;
            assert_eq!(answer(m(States::INVALID, false), packet.clone()), Answer::No);
            assert_eq!(answer(m(States::UNTRACKED, false), packet), Answer::Yes);
        }
    }
}
