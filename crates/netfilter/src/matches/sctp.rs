//! `-m sctp` (`net/netfilter/xt_sctp.c`).

use fielato_wire::number;

use super::Range;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// How a packet's chunks are compared with the rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkMode {
    /// One of the rule's is there.
    Any,
    /// All of the rule's are there.
    All,
    /// Nothing but the rule's is there.
    Only,
}

/// Flags that chunks of a type are to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkFlags {
    /// The chunk type.
    pub chunk: u8,
    /// Flags that are looked at.
    pub mask: u8,
    /// Which of them are to be set.
    pub flags: u8,
}

/// `--chunk-types`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// How they are compared.
    pub mode: ChunkMode,
    /// Bit `n` of the 256 is type `n`; the low half first.
    pub types: [u128; 2],
    /// Flags, at most [`Chunks::MAX_FLAGS`].
    pub flags: Vec<ChunkFlags>,
    /// `!`
    pub negated: bool,
}

/// `-m sctp`: ports and chunks (RFC 9260 §3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sctp {
    /// `--source-port`
    pub sport: Option<Range<u16>>,
    /// `--destination-port`
    pub dport: Option<Range<u16>>,
    /// `--chunk-types`
    pub chunks: Option<Box<Chunks>>,
}

impl Sctp {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("sctp", &[number::SCTP])
    }

    pub(crate) fn per_flow(&self) -> bool {
        self.chunks.is_none()
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        if headers.is_later_fragment() {
            return false;
        }
        if !headers.l4_whole {
            cx.hotdrop = true;
            return false;
        }
        if !self.sport.is_none_or(|range| range.holds(headers.sport))
            || !self.dport.is_none_or(|range| range.holds(headers.dport))
        {
            return false;
        }
        let Some(chunks) = &self.chunks else {
            return true;
        };
        match chunks.hold(cx.packet.transport()) {
            Some(hold) => hold != chunks.negated,
            // As the kernel does: a broken packet is one that doesn't have the chunks, so that the negation holds for it
            // before it is dropped.
            None => {
                cx.hotdrop = true;
                chunks.negated
            }
        }
    }
}

impl Chunks {
    /// Most types with flags in one match.
    pub const MAX_FLAGS: usize = 4;

    /// Whether type `chunk` is one of the rule's.
    pub const fn has(&self, chunk: u8) -> bool {
        self.types[(chunk >> 7) as usize] & 1 << (chunk & 127) != 0
    }

    /// Adds a type.
    pub const fn add(&mut self, chunk: u8) {
        self.types[(chunk >> 7) as usize] |= 1 << (chunk & 127);
    }

    /// `None` for a packet with a broken chunk.
    fn hold(&self, transport: &[u8]) -> Option<bool> {
        let mut missing = self.types;
        let mut at = 12;
        loop {
            let &[chunk, flags, high, low] = transport.get(at..)?.first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 {
                return None;
            }
            at += length.next_multiple_of(4);
            let named = self.has(chunk);
            let fits = named && self.flags_fit(chunk, flags);
            match self.mode {
                ChunkMode::Any if fits => return Some(true),
                ChunkMode::Only if !fits => return Some(false),
                ChunkMode::All if fits => missing[usize::from(chunk >> 7)] &= !(1 << (chunk & 127)),
                _ => {}
            }
            if at >= transport.len() {
                break;
            }
        }
        Some(match self.mode {
            ChunkMode::Any => false,
            ChunkMode::Only => true,
            ChunkMode::All => missing == [0, 0],
        })
    }

    fn flags_fit(&self, chunk: u8, flags: u8) -> bool {
        let wanted = self.flags.iter().find(|wanted| wanted.chunk == chunk);
        wanted.is_none_or(|wanted| flags & wanted.mask == wanted.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, answer};

    const DATA: u8 = 0;
    const INIT: u8 = 1;
    const SACK: u8 = 3;

    /// Ports 1 and 2, a SACK and a DATA chunk (flags B and E) of 5 bytes, padded to 8.
    fn packet() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&[SACK, 0, 0, 4, DATA, 3, 0, 5, 9, 0, 0, 0]);
        bytes
    }

    fn chunks(mode: ChunkMode, types: &[u8]) -> Chunks {
        let mut chunks = Chunks {
            mode,
            types: [0; 2],
            flags: Vec::new(),
            negated: false,
        };
        types.iter().for_each(|&chunk| chunks.add(chunk));
        chunks
    }

    #[test]
    fn chunks_any_all_only() {
        use ChunkMode::{All, Any, Only};
        let flags = |mask, flags| {
            vec![ChunkFlags {
                chunk: DATA,
                mask,
                flags,
            }]
        };
        let cases = [
            (chunks(Any, &[DATA, INIT]), Answer::Yes),
            (chunks(Any, &[INIT]), Answer::No),
            (chunks(All, &[DATA, SACK]), Answer::Yes),
            (chunks(All, &[DATA, INIT]), Answer::No),
            (chunks(Only, &[DATA, SACK, INIT]), Answer::Yes),
            (chunks(Only, &[DATA]), Answer::No),
            (
                Chunks {
                    negated: true,
                    ..chunks(Only, &[DATA])
                },
                Answer::Yes,
            ),
            (
                Chunks {
                    flags: flags(3, 3),
                    ..chunks(Any, &[DATA])
                },
                Answer::Yes,
            ),
            (
                Chunks {
                    flags: flags(4, 4),
                    ..chunks(Any, &[DATA])
                },
                Answer::No,
            ),
        ];
        for (chunks, expected) in cases {
            for packet in testkit::both(number::SCTP, &packet()) {
                let m = Sctp {
                    chunks: Some(Box::new(chunks.clone())),
                    ..Sctp::default()
                };
                assert_eq!(answer(Match::Sctp(m), packet), expected, "{chunks:?}");
            }
        }
    }

    #[test]
    fn ports_and_broken_packets() {
        let ports = |sport| {
            Match::Sctp(Sctp {
                sport: Some(sport),
                ..Sctp::default()
            })
        };
        for packet in testkit::both(number::SCTP, &packet()) {
            assert_eq!(answer(ports(Range::one(1)), packet.clone()), Answer::Yes);
            assert_eq!(answer(ports(Range::one(1).not()), packet), Answer::No);
        }
        for packet in testkit::both(number::SCTP, &[0; 11]) {
            assert_eq!(answer(ports(Range::<u16>::ANY), packet), Answer::Hotdrop);
        }
        let init = Match::Sctp(Sctp {
            chunks: Some(Box::new(chunks(ChunkMode::Any, &[INIT]))),
            ..Sctp::default()
        });
        for packet in testkit::both(number::SCTP, &[0; 16]) {
            assert_eq!(answer(init.clone(), packet), Answer::Hotdrop, "a chunk of length 0");
        }
        for packet in testkit::both(number::SCTP, &[0; 12]) {
            assert_eq!(answer(init.clone(), packet), Answer::Hotdrop, "no chunk");
        }
    }
}
