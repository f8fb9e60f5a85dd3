//! `-m tcpmss` (`net/netfilter/xt_tcpmss.c`).

use fielato_wire::number;

use super::{Range, options};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m tcpmss`: the maximum segment size that a SYN announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcpmss {
    /// `--mss`
    pub mss: Range<u16>,
}

impl Tcpmss {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("tcpmss", &[number::TCP])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        // A later fragment is read as if it had a header.
        let transport = cx.packet.assumed_transport();
        let len = usize::from(transport.get(12).map_or(0, |byte| byte >> 4)) * 4;
        let Some(options) = transport.get(20..len) else {
            cx.hotdrop = true;
            return false;
        };
        match find(options) {
            Some(mss) => self.mss.holds(mss),
            None => self.mss.negated,
        }
    }
}

/// The value of the first option of kind 2 whose length is 4.
fn find(options: &[u8]) -> Option<u16> {
    options::walk(options).find_map(|option| match *option {
        [2, 4, high, low, ..] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use fielato_wire::TcpFlags;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn reads_the_option() {
        let syn = testkit::tcp(1, 2, TcpFlags::SYN, &[1, 1, 4, 2, 2, 4, 0x05, 0xb4]);
        let m = |mss| Match::Tcpmss(Tcpmss { mss });
        for packet in testkit::both(number::TCP, &syn) {
            assert_eq!(answer(m(Range::one(1460)), packet.clone()), Answer::Yes);
            assert_eq!(answer(m(Range::new(0, 1459)), packet.clone()), Answer::No);
            assert_eq!(answer(m(Range::new(0, 1459).not()), packet), Answer::Yes);
        }
        for packet in testkit::both(number::TCP, &testkit::tcp(1, 2, 0, &[])) {
            assert_eq!(answer(m(Range::one(1460)), packet.clone()), Answer::No);
            assert_eq!(answer(m(Range::one(1460).not()), packet), Answer::Yes);
        }
        for packet in testkit::both(number::TCP, &syn[..24]) {
            assert_eq!(answer(m(Range::one(1460)), packet), Answer::Hotdrop);
        }
        for packet in testkit::both(number::TCP, &syn[..12]) {
            assert_eq!(answer(m(Range::one(1460)), packet), Answer::Hotdrop);
        }
    }
}
