//! `-m ecn` (`net/netfilter/xt_ecn.c`).

use fielato_wire::{TcpFlags, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m ecn`: congestion notification in the IP header and in TCP's (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ecn {
    /// `--ecn-ip-ect`: the code point, 0 to 3.
    pub ip: Option<u8>,
    /// `! --ecn-ip-ect`
    pub ip_negated: bool,
    /// `--ecn-tcp-ece`: whether the flag is to be set.
    pub ece: Option<bool>,
    /// `--ecn-tcp-cwr`: whether the flag is to be set.
    pub cwr: Option<bool>,
}

impl Ecn {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.ece.is_some() || self.cwr.is_some() {
            cx.only_protocols("ecn", &[number::TCP])?;
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let ect = cx.packet.headers.tos & 3;
        if self.ip.is_some_and(|wanted| (wanted == ect) == self.ip_negated) {
            return false;
        }
        if self.ece.is_none() && self.cwr.is_none() {
            return true;
        }
        // A later fragment is read as if it had a header.
        let Some(header) = cx.packet.assumed_transport().first_chunk::<20>() else {
            return false;
        };
        let flags = TcpFlags(header[13]);
        self.ece.is_none_or(|wanted| wanted == flags.has(TcpFlags::ECE))
            && self.cwr.is_none_or(|wanted| wanted == flags.has(TcpFlags::CWR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    #[test]
    fn code_point_and_flags() {
        let any = Ecn::default();
        let cases = [
            (Ecn { ip: Some(2), ..any }, Answer::Yes),
            (
                Ecn {
                    ip: Some(2),
                    ip_negated: true,
                    ..any
                },
                Answer::No,
            ),
            (Ecn { ip: Some(1), ..any }, Answer::No),
            (Ecn { ece: Some(true), ..any }, Answer::Yes),
            (Ecn { ece: Some(false), ..any }, Answer::No),
            (
                Ecn {
                    ece: Some(true),
                    cwr: Some(true),
                    ..any
                },
                Answer::No,
            ),
            (Ecn { cwr: Some(false), ..any }, Answer::Yes),
        ];
        for (m, expected) in cases {
            for mut packet in testkit::both(number::TCP, &testkit::tcp(1, 2, TcpFlags::ECE, &[])) {
                packet.headers.tos = 0xba;
                assert_eq!(answer(Match::Ecn(m), packet), expected, "{m:?}");
            }
        }
        let ece = Match::Ecn(Ecn { ece: Some(false), ..any });
        for packet in testkit::both(number::TCP, &[0; 19]) {
            assert_eq!(answer(ece.clone(), packet), Answer::No);
        }
    }
}
