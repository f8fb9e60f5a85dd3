//! `-m hbh` and `-m dst` (`net/ipv6/netfilter/ip6t_hbh.c`).

use fielato_wire::{Family, number};

use super::extension_header::{self, Missing};
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// Which header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsHeader {
    /// Hop-by-hop options.
    HopByHop,
    /// Destination options.
    Destination,
}

/// An option that is to stand next in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionPattern {
    /// Its type.
    pub kind: u8,
    /// Its length; 255 for any.
    pub length: u8,
}

impl OptionPattern {
    /// The length that stands for any.
    pub const ANY_LENGTH: u8 = 255;
}

/// `-m hbh` or `-m dst`: an IPv6 options header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6Options {
    /// Which one.
    pub header: OptionsHeader,
    /// `--hbh-len`, `--dst-len`: its length in bytes.
    pub length: Option<u32>,
    /// `! --hbh-len`, `! --dst-len`
    pub length_negated: bool,
    /// `--hbh-opts`, `--dst-opts`: it begins with these, at most [`Ipv6Options::MAX`].
    pub options: Option<Box<[OptionPattern]>>,
}

impl Ipv6Options {
    /// Most options in one match.
    pub const MAX: usize = 16;

    /// Its name: `hbh` or `dst`.
    pub const fn name(&self) -> &'static str {
        match self.header {
            OptionsHeader::HopByHop => "hbh",
            OptionsHeader::Destination => "dst",
        }
    }

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family(self.name(), Family::V6)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let wanted = match self.header {
            OptionsHeader::HopByHop => number::HOP_BY_HOP,
            OptionsHeader::Destination => number::DESTINATION,
        };
        let at = match extension_header::find(&cx.packet.data, wanted) {
            Ok(at) => at,
            Err(missing) => {
                cx.hotdrop |= missing == Missing::Truncated;
                return false;
            }
        };
        let header = cx.packet.data.get(at..).unwrap_or(&[]);
        let length = (usize::from(header.get(1).copied().unwrap_or(0)) + 1) * 8;
        let Some(header) = header.get(..length) else {
            cx.hotdrop = true;
            return false;
        };
        if self
            .length
            .is_some_and(|wanted| (wanted as usize == length) == self.length_negated)
        {
            return false;
        }
        self.options
            .as_ref()
            .is_none_or(|patterns| begins_with(&header[2..], patterns))
    }
}

fn begins_with(mut options: &[u8], patterns: &[OptionPattern]) -> bool {
    patterns.iter().all(|pattern| {
        let (Some(&kind), length) = (options.first(), options.get(1)) else {
            return false;
        };
        if kind != pattern.kind {
            return false;
        }
        // Pad1 is a single byte (RFC 8200 §4.2).
        let step = match (kind, length) {
            (0, _) => 1,
            (_, None) => return false,
            (_, Some(&length)) if pattern.length != OptionPattern::ANY_LENGTH && length != pattern.length => return false,
            (_, Some(&length)) => usize::from(length) + 2,
        };
        // The last option asked for may reach beyond the header; nothing can follow it then.
        options = options.get(step..).unwrap_or(&[]);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    fn m(header: OptionsHeader, length: Option<u32>, options: &[(u8, u8)]) -> Ipv6Options {
        let patterns = options.iter().map(|&(kind, length)| OptionPattern { kind, length });
        Ipv6Options {
            header,
            length,
            length_negated: false,
            options: (!options.is_empty()).then(|| patterns.collect()),
        }
    }

    #[test]
    fn length_and_options_of_both_headers() {
        // Router alert (RFC 2711), then two Pad1.
        let header = [number::UDP, 0, 5, 2, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0];
        let kinds = [
            (OptionsHeader::HopByHop, number::HOP_BY_HOP),
            (OptionsHeader::Destination, number::DESTINATION),
        ];
        for (kind, next) in kinds {
            let cases = [
                (m(kind, None, &[]), Answer::Yes),
                (m(kind, Some(8), &[]), Answer::Yes),
                (m(kind, Some(16), &[]), Answer::No),
                (
                    Ipv6Options {
                        length_negated: true,
                        ..m(kind, Some(16), &[])
                    },
                    Answer::Yes,
                ),
                (m(kind, None, &[(5, 2)]), Answer::Yes),
                (m(kind, None, &[(5, 255), (0, 255)]), Answer::Yes),
                (m(kind, None, &[(5, 4)]), Answer::No),
                (m(kind, None, &[(0, 255)]), Answer::No),
                (m(kind, None, &[(5, 2), (0, 255), (0, 255), (0, 255)]), Answer::No),
            ];
            for (m, expected) in cases {
                let packet = testkit::v6(next, &header);
                assert_eq!(answer(Match::Ipv6Options(m.clone()), packet), expected, "{m:?}");
            }
            let any = Match::Ipv6Options(m(kind, None, &[]));
            assert_eq!(answer(any.clone(), testkit::v6(number::UDP, &[0; 8])), Answer::No);
            assert_eq!(answer(any.clone(), testkit::v6(next, &[17])), Answer::Hotdrop);
            assert_eq!(answer(any, testkit::v6(next, &[17, 3, 0, 0, 0, 0, 0, 0])), Answer::Hotdrop);
        }
    }
}
