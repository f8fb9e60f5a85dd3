//! Capture files in the newer format (draft-ietf-opsawg-pcapng), as bytes: several interfaces in one file, and comments.
//!
//! A writer makes one block at a time, so that whoever writes may stop after any of them and leave a whole file.
//! Times are nanoseconds since 1970-01-01 UTC.

mod read;
mod write;

pub use read::{Block, Blocks, PcapngError, blocks};
pub use write::{interface, packet, section, statistics};

use std::time::Duration;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// A section whose length was not known when it began.
const LENGTH_UNKNOWN: u64 = u64::MAX;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const IF_FILTER: u16 = 11;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const EPB_VERDICT: u16 = 7;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

/// `if_tsresol` of nanoseconds: 10 to the power of -9.
const NANOSECONDS: u8 = 9;
/// The kind of verdict that is a return value of a classifier of Linux' traffic control.
const VERDICT_TC: u8 = 1;
/// `TC_ACT_OK` and `TC_ACT_SHOT` (linux/pkt_cls.h).
const TC_ACT_OK: u64 = 0;
const TC_ACT_SHOT: u64 = 2;

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// The IP header, of either version (`LINKTYPE_RAW`).
    Raw,
    /// An Ethernet header.
    Ethernet,
    /// Anything else, by its number.
    Other(u16),
}

impl LinkType {
    /// Its number in capture files.
    pub const fn number(self) -> u16 {
        match self {
            Self::Raw => 101,
            Self::Ethernet => 1,
            Self::Other(number) => number,
        }
    }

    /// By its number in capture files.
    pub const fn of(number: u16) -> Self {
        match number {
            101 => Self::Raw,
            1 => Self::Ethernet,
            number => Self::Other(number),
        }
    }
}

/// Where a packet was going, as seen from the machine that captured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// Whether a packet went on. The format knows verdicts of Linux' hooks for BPF only; the nearest is traffic control's
/// (`TC_ACT_OK`, `TC_ACT_SHOT`), which is what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Verdict {
    Passed,
    Dropped,
}

/// A place where packets were captured. The first of a section has number 0, the next 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as `wg0 (clear)`.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// What its packets begin with.
    pub link: LinkType,
    /// No more bytes of a packet than these are captured; 0 for no limit.
    pub snaplen: u32,
    /// Which packets were captured, in the words of the filter; empty for all.
    pub filter: String,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Number of its interface.
    pub interface: u32,
    /// When, since 1970.
    pub at: Duration,
    /// As many bytes of it as were captured.
    pub bytes: &'a [u8],
    /// How many bytes it had.
    pub original_len: u32,
    /// Where it was going.
    pub direction: Option<Direction>,
    /// Whether it went on.
    pub verdict: Option<Verdict>,
    /// Packets lost between the one before on this interface and this one.
    pub lost: u64,
    /// What there is to say about it, one text for each comment.
    pub comments: Vec<String>,
}

/// What was counted on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of the interface.
    pub interface: u32,
    /// When the capture began, since 1970.
    pub started: Duration,
    /// When it ended, since 1970.
    pub ended: Duration,
    /// Packets seen.
    pub received: u64,
    /// Packets that the filter wanted.
    pub accepted: u64,
    /// Packets lost because nobody took them in time.
    pub lost: u64,
    /// Packets written.
    pub delivered: u64,
}

#[cfg(test)]
mod tests;
