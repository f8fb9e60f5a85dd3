//! `-m tcp` (`net/netfilter/xt_tcpudp.c`).

use fielato_wire::{TcpFlags, number};

use super::{Range, options};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m tcp`: ports, flags, an option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// `--source-port`
    pub sport: Range<u16>,
    /// `--destination-port`
    pub dport: Range<u16>,
    /// `--tcp-flags`, mask: bits that are looked at.
    pub flags_mask: u8,
    /// `--tcp-flags`, comp: which of them are to be set.
    pub flags: u8,
    /// `! --tcp-flags`
    pub flags_negated: bool,
    /// `--tcp-option`; 0 for none.
    pub option: u8,
    /// `! --tcp-option`
    pub option_negated: bool,
}

impl Tcp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("tcp", &[number::TCP])
    }

    /// Whether nothing is asked for but ports and the flags that a flow's path is kept by.
    pub(crate) fn per_flow(&self) -> bool {
        const KEPT: u8 = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::FIN | TcpFlags::RST;
        self.flags_mask & !KEPT == 0 && self.option == 0
    }

    #[inline]
    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        if headers.is_later_fragment() {
            // A fragment that begins within the header would rewrite flags (RFC 1858 §3). The kernel counts IPv4 offsets
            // in units of eight and IPv6 offsets in bytes, so that only IPv4 meets the 1 it looks for.
            cx.hotdrop |= headers.fragment_offset == 8 && headers.family == fielato_wire::Family::V4;
            return false;
        }
        if !headers.l4_whole {
            cx.hotdrop = true;
            return false;
        }
        if !self.sport.holds(headers.sport) || !self.dport.holds(headers.dport) {
            return false;
        }
        if ((headers.tcp_flags.0 & self.flags_mask) == self.flags) == self.flags_negated {
            return false;
        }
        self.option == 0 || self.option_matches(cx)
    }

    fn option_matches(&self, cx: &mut Context<'_>) -> bool {
        let transport = cx.packet.transport();
        let len = usize::from(transport.get(12).map_or(0, |byte| byte >> 4)) * 4;
        let Some(bytes) = transport.get(20..len) else {
            cx.hotdrop = true;
            return false;
        };
        options::find(bytes, self.option).is_some() != self.option_negated
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::TcpFlags;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    const SYN: u8 = TcpFlags::SYN;

    #[test]
    fn ports_flags_and_options_in_both_families() {
        let syn = testkit::tcp(1024, 80, SYN, &[2, 4, 5, 0xb4, 1, 1, 4, 2]);
        let any = Tcp::default();
        let flags = |flags_mask, flags| Tcp {
            flags_mask,
            flags,
            ..any
        };
        let cases = [
            (any, Answer::Yes),
            (
                Tcp {
                    dport: Range::one(80),
                    ..any
                },
                Answer::Yes,
            ),
            (
                Tcp {
                    dport: Range::one(80).not(),
                    ..any
                },
                Answer::No,
            ),
            (
                Tcp {
                    sport: Range::new(1, 1023),
                    ..any
                },
                Answer::No,
            ),
            (
                Tcp {
                    sport: Range::new(1, 1023).not(),
                    ..any
                },
                Answer::Yes,
            ),
            (flags(0x17, SYN), Answer::Yes),
            (flags(0x17, 0x10), Answer::No),
            (
                Tcp {
                    flags_negated: true,
                    ..flags(0x17, SYN)
                },
                Answer::No,
            ),
            (Tcp { option: 4, ..any }, Answer::Yes),
            (Tcp { option: 3, ..any }, Answer::No),
            (
                Tcp {
                    option: 3,
                    option_negated: true,
                    ..any
                },
                Answer::Yes,
            ),
        ];
        for (m, expected) in cases {
            for packet in testkit::both(number::TCP, &syn) {
                assert_eq!(answer(Match::Tcp(m), packet), expected, "{m:?}");
            }
        }
    }

    #[test]
    fn short_headers_are_dropped() {
        for packet in testkit::both(number::TCP, &testkit::tcp(1, 2, SYN, &[])[..19]) {
            assert_eq!(answer(Match::Tcp(Tcp::default()), packet), Answer::Hotdrop);
        }
        // The data offset says 8 bytes of options; they are not there.
        let mut cut = testkit::tcp(1, 2, SYN, &[]);
        cut[12] = 7 << 4;
        let option = Match::Tcp(Tcp {
            option: 2,
            ..Tcp::default()
        });
        for packet in testkit::both(number::TCP, &cut) {
            assert_eq!(answer(option.clone(), packet), Answer::Hotdrop);
        }
        cut[12] = 4 << 4;
        for packet in testkit::both(number::TCP, &cut) {
            assert_eq!(answer(option.clone(), packet), Answer::Hotdrop);
        }
    }

    #[test]
    fn later_fragments_never_match() {
        let m = Match::Tcp(Tcp::default());
        let tail = [0; 24];
        assert_eq!(
            answer(m.clone(), testkit::v4_fragment(number::TCP, 8, false, &tail)),
            Answer::Hotdrop
        );
        assert_eq!(
            answer(m.clone(), testkit::v4_fragment(number::TCP, 16, false, &tail)),
            Answer::No
        );
        assert_eq!(answer(m, testkit::v6_fragment(number::TCP, 8, false, &tail)), Answer::No);
    }
}
