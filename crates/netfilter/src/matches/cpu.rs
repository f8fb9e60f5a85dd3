//! `-m cpu` (`net/netfilter/xt_cpu.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m cpu`: the processor at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub number: u32,
    /// `!`
    pub negated: bool,
}

impl Cpu {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        (cx.host.cpu() == self.number) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn asks_the_host() {
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            kit.host.cpu = 3;
            let m = |number, negated| Match::Cpu(Cpu { number, negated });
            assert_eq!(kit.answer(&m(3, false)), Answer::Yes);
            assert_eq!(kit.answer(&m(0, false)), Answer::No);
            assert_eq!(kit.answer(&m(0, true)), Answer::Yes);
        }
    }
}
