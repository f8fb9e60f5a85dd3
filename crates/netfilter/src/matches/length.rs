//! `-m length` (`net/netfilter/xt_length.c`).

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m length`: the whole packet's length, from the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Bytes.
    pub range: Range<u16>,
}

impl Length {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.range.holds(cx.packet.headers.len)
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn counts_the_ip_header() {
        let m = |range| Match::Length(Length { range });
        for packet in testkit::both(number::UDP, &testkit::udp(1, 2, &[0; 12])) {
            let len = packet.headers.len;
            assert_eq!(answer(m(Range::one(len)), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(Range::new(0, len - 1)), packet.clone()), Answer::No);
            assert_eq!(answer(m(Range::new(0, len - 1).not()), packet), Answer::Yes);
        }
        assert_eq!(answer(m(Range::one(40)), testkit::v4(number::UDP, &[0; 20])), Answer::Yes);
        assert_eq!(answer(m(Range::one(60)), testkit::v6(number::UDP, &[0; 20])), Answer::Yes);
    }
}
