//! `-m pkttype` (`net/netfilter/xt_pkttype.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::packet::PacketType;

/// `-m pkttype`: the link-layer kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pkttype {
    /// The kind; `None` for packets to another host, which never come this far.
    pub kind: Option<PacketType>,
    /// `!`
    pub negated: bool,
}

impl Pkttype {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        (self.kind == Some(cx.packet.packet_type)) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn kinds() {
        let m = |kind, negated| Match::Pkttype(Pkttype { kind, negated });
        for mut packet in testkit::both(number::UDP, &[0; 8]) {
            packet.packet_type = PacketType::Multicast;
            assert_eq!(answer(m(Some(PacketType::Multicast), false), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(Some(PacketType::Unicast), false), packet.clone()), Answer::No);
            assert_eq!(answer(m(Some(PacketType::Unicast), true), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(None, false), packet), Answer::No);
        }
    }
}
