//! `-m ipcomp` (`net/netfilter/xt_ipcomp.c`).

use fielato_wire::number;

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ipcomp`: the compression parameter index (RFC 3173 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipcomp {
    /// `--ipcompspi`
    pub spi: Range<u32>,
    /// `--compres`; the kernel doesn't look at it.
    pub reserved: bool,
}

impl Ipcomp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("ipcomp", &[number::COMP])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        if cx.packet.headers.is_later_fragment() {
            return false;
        }
        let Some(header) = cx.packet.transport().first_chunk::<4>() else {
            cx.hotdrop = true;
            return false;
        };
        self.spi.holds(u16::from_be_bytes([header[2], header[3]]).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn reads_the_index() {
        let m = |spi| Match::Ipcomp(Ipcomp { spi, reserved: false });
        for packet in testkit::both(number::COMP, &[6, 0, 0, 18]) {
            assert_eq!(answer(m(Range::one(18)), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(Range::one(18).not()), packet), Answer::No);
        }
        for packet in testkit::both(number::COMP, &[6, 0, 0]) {
            assert_eq!(answer(m(Range::one(18)), packet), Answer::Hotdrop);
        }
    }
}
