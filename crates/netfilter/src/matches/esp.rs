//! `-m esp` (`net/netfilter/xt_esp.c`).

use fielato_wire::number;

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m esp`: the security parameters index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Esp {
    /// `--espspi`
    pub spi: Range<u32>,
}

impl Esp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("esp", &[number::ESP])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        if cx.packet.headers.is_later_fragment() {
            return false;
        }
        let Some(header) = cx.packet.transport().first_chunk::<8>() else {
            cx.hotdrop = true;
            return false;
        };
        self.spi
            .holds(u32::from_be_bytes([header[0], header[1], header[2], header[3]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn reads_the_index() {
        let m = |spi| Match::Esp(Esp { spi });
        for packet in testkit::both(number::ESP, &[0, 0, 1, 0, 0, 0, 0, 1]) {
            assert_eq!(answer(m(Range::one(256)), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(Range::one(256).not()), packet.clone()), Answer::No);
            assert_eq!(answer(m(Range::new(0, 255)), packet), Answer::No);
        }
        for packet in testkit::both(number::ESP, &[0; 7]) {
            assert_eq!(answer(m(Range::<u32>::ANY), packet), Answer::Hotdrop);
        }
        assert_eq!(
            answer(m(Range::<u32>::ANY), testkit::v4_fragment(number::ESP, 8, false, &[0; 8])),
            Answer::No
        );
    }
}
