//! Reads the blocks again, of either byte order and any resolution of time.

use std::time::Duration;

use super::*;

/// Longest block that is read, in bytes: a packet of the largest size with room for its comments.
const BLOCK_MAX: usize = 1024 * 1024;
/// Most interfaces of one section.
const INTERFACES_MAX: usize = 4096;

/// Why bytes are no capture file that can be read. Offsets count from the file's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PcapngError {
    /// It starts otherwise.
    #[error("no pcapng file: it starts with 0x{0:08x}; a classic capture file is read by `wire::pcap`")]
    Magic(u32),
    /// A section header names no byte order.
    #[error("the section header at byte {0} names no byte order")]
    ByteOrder(usize),
    /// A version that is not read.
    #[error("the section at byte {at} has version {major}; version 1 is read")]
    Version {
        /// Of the section.
        at: usize,
        /// The version.
        major: u16,
    },
    /// A block's length is below its own fields, beyond the file, not a multiple of 4, or not repeated at its end.
    #[error("the block at byte {at} has the length {len}, which cannot be")]
    Length {
        /// Of the block.
        at: usize,
        /// As it says.
        len: u32,
    },
    /// The file ends in a block, or a block in one of its fields.
    #[error("the block at byte {0} ends too early")]
    Cut(usize),
    /// A packet of an interface that was not described.
    #[error("the block at byte {at} is about interface {interface}, which was not described before")]
    Interface {
        /// Of the block.
        at: usize,
        /// The number.
        interface: u32,
    },
    /// More interfaces than are read.
    #[error("the section has more than {INTERFACES_MAX} interfaces")]
    Interfaces,
}

/// A block of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// A new section; interfaces are counted from 0 again.
    Section {
        /// The program that wrote it.
        application: String,
    },
    /// An interface.
    Interface(Interface),
    /// A packet.
    Packet(Packet<'a>),
    /// Statistics of an interface.
    Statistics(Statistics),
    /// A block of another type.
    Other(u32),
}

/// The blocks of a file. After an error there are no more.
pub fn blocks(file: &[u8]) -> Blocks<'_> {
    Blocks {
        file,
        at: 0,
        big: false,
        resolutions: Vec::new(),
    }
}

/// See [`blocks`].
#[derive(Debug)]
pub struct Blocks<'a> {
    file: &'a [u8],
    at: usize,
    big: bool,
    /// `if_tsresol` of each interface of the section.
    resolutions: Vec<u8>,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, PcapngError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.file.len() {
            return None;
        }
        let block = self.block();
        if block.is_err() {
            self.at = self.file.len();
        }
        Some(block)
    }
}

impl<'a> Blocks<'a> {
    fn block(&mut self) -> Result<Block<'a>, PcapngError> {
        let at = self.at;
        let rest = self.file.get(at..).unwrap_or_default();
        let raw = rest.first_chunk::<4>().ok_or(PcapngError::Cut(at))?;
        // A section header's type reads the same in both orders; its next field but one tells which is used.
        if u32::from_le_bytes(*raw) == SECTION_HEADER {
            let magic = rest.get(8..).and_then(<[u8]>::first_chunk).ok_or(PcapngError::Cut(at))?;
            self.big = match (u32::from_le_bytes(*magic), u32::from_be_bytes(*magic)) {
                (BYTE_ORDER_MAGIC, _) => false,
                (_, BYTE_ORDER_MAGIC) => true,
                _ => return Err(PcapngError::ByteOrder(at)),
            };
        } else if at == 0 {
            return Err(PcapngError::Magic(u32::from_le_bytes(*raw)));
        }
        let big = self.big;
        let mut fields = Fields { bytes: rest, big };
        let kind = fields.word().ok_or(PcapngError::Cut(at))?;
        let len = fields.word().ok_or(PcapngError::Cut(at))?;
        let wrong = PcapngError::Length { at, len };
        let size = usize::try_from(len).map_err(|_| wrong)?;
        if size < 12 || size % 4 != 0 || size > BLOCK_MAX {
            return Err(wrong);
        }
        let block = rest.get(..size).ok_or(PcapngError::Cut(at))?;
        let (body, trailer) = (block.get(8..size - 4).ok_or(wrong)?, block.get(size - 4..).ok_or(wrong)?);
        if (Fields { bytes: trailer, big }).word() != Some(len) {
            return Err(wrong);
        }
        let body = Fields { bytes: body, big };
        let block = match kind {
            SECTION_HEADER => self.section(body),
            INTERFACE_DESCRIPTION => self.interface(body),
            ENHANCED_PACKET => self.packet(body),
            INTERFACE_STATISTICS => self.statistics(body),
            kind => Ok(Block::Other(kind)),
        }?;
        self.at = at + size;
        Ok(block)
    }

    fn section(&mut self, mut body: Fields<'a>) -> Result<Block<'a>, PcapngError> {
        let at = self.at;
        let fixed = |body: &mut Fields<'a>| {
            let (_, major, _, _) = (body.word()?, body.half()?, body.half()?, body.long()?);
            Some(major)
        };
        let major = fixed(&mut body).ok_or(PcapngError::Cut(at))?;
        if major != 1 {
            return Err(PcapngError::Version { at, major });
        }
        self.resolutions.clear();
        let mut application = String::new();
        body.options(|code, value| {
            if code == SHB_USERAPPL {
                application = text(value);
            }
        })
        .ok_or(PcapngError::Cut(at))?;
        Ok(Block::Section { application })
    }

    fn interface(&mut self, mut body: Fields<'a>) -> Result<Block<'a>, PcapngError> {
        let cut = PcapngError::Cut(self.at);
        if self.resolutions.len() == INTERFACES_MAX {
            return Err(PcapngError::Interfaces);
        }
        let link = LinkType::of(body.half().ok_or(cut)?);
        body.half().ok_or(cut)?;
        let snaplen = body.word().ok_or(cut)?;
        // Microseconds unless said otherwise.
        let mut resolution = 6;
        let mut interface = Interface {
            name: String::new(),
            description: String::new(),
            link,
            snaplen,
            filter: String::new(),
        };
        body.options(|code, value| match code {
            IF_NAME => interface.name = text(value),
            IF_DESCRIPTION => interface.description = text(value),
            IF_TSRESOL => resolution = value.first().copied().unwrap_or(resolution),
            IF_FILTER if value.first() == Some(&0) => interface.filter = text(value.get(1..).unwrap_or_default()),
            _ => {}
        })
        .ok_or(cut)?;
        self.resolutions.push(resolution);
        Ok(Block::Interface(interface))
    }

    fn packet(&self, mut body: Fields<'a>) -> Result<Block<'a>, PcapngError> {
        let cut = PcapngError::Cut(self.at);
        let interface = body.word().ok_or(cut)?;
        let resolution = self.resolution(interface)?;
        let stamp = body.stamp().ok_or(cut)?;
        let (captured, original_len) = (body.word().ok_or(cut)?, body.word().ok_or(cut)?);
        let bytes = body.padded(captured as usize).ok_or(cut)?;
        let mut packet = Packet {
            interface,
            at: time(stamp, resolution),
            bytes,
            original_len,
            direction: None,
            verdict: None,
            lost: 0,
            comments: Vec::new(),
        };
        let big = self.big;
        body.options(|code, value| match code {
            OPT_COMMENT => packet.comments.push(text(value)),
            EPB_FLAGS => {
                packet.direction = match (Fields { bytes: value, big }).word().map(|flags| flags & 0b11) {
                    Some(0b01) => Some(Direction::Inbound),
                    Some(0b10) => Some(Direction::Outbound),
                    _ => None,
                };
            }
            EPB_DROPCOUNT => packet.lost = Fields { bytes: value, big }.long().unwrap_or(0),
            EPB_VERDICT if value.first() == Some(&VERDICT_TC) => {
                let action = value.get(1..).unwrap_or_default();
                packet.verdict = match (Fields { bytes: action, big }).long() {
                    Some(TC_ACT_OK) => Some(Verdict::Passed),
                    Some(TC_ACT_SHOT) => Some(Verdict::Dropped),
                    _ => None,
                };
            }
            _ => {}
        })
        .ok_or(cut)?;
        Ok(Block::Packet(packet))
    }

    fn statistics(&self, mut body: Fields<'a>) -> Result<Block<'a>, PcapngError> {
        let cut = PcapngError::Cut(self.at);
        let interface = body.word().ok_or(cut)?;
        let resolution = self.resolution(interface)?;
        let ended = time(body.stamp().ok_or(cut)?, resolution);
        let mut statistics = Statistics {
            interface,
            started: ended,
            ended,
            ..Statistics::default()
        };
        let big = self.big;
        body.options(|code, value| {
            let mut value = Fields { bytes: value, big };
            let place = match code {
                ISB_STARTTIME | ISB_ENDTIME => {
                    let at = value.stamp().map(|stamp| time(stamp, resolution));
                    match (code, at) {
                        (ISB_STARTTIME, Some(at)) => statistics.started = at,
                        (_, Some(at)) => statistics.ended = at,
                        (_, None) => {}
                    }
                    return;
                }
                ISB_IFRECV => &mut statistics.received,
                ISB_FILTERACCEPT => &mut statistics.accepted,
                // Lost by the hardware, or by the system: lost.
                ISB_IFDROP | ISB_OSDROP => &mut statistics.lost,
                ISB_USRDELIV => &mut statistics.delivered,
                _ => return,
            };
            *place = place.saturating_add(value.long().unwrap_or(0));
        })
        .ok_or(cut)?;
        Ok(Block::Statistics(statistics))
    }

    fn resolution(&self, interface: u32) -> Result<u8, PcapngError> {
        let known = usize::try_from(interface).ok().and_then(|index| self.resolutions.get(index));
        known.copied().ok_or(PcapngError::Interface { at: self.at, interface })
    }
}

/// A time in units of 10^-n seconds, or of 2^-n with the upper bit set. What is out of reach of a `Duration` saturates.
fn time(stamp: u64, resolution: u8) -> Duration {
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let nanos = match base.checked_pow(exponent) {
        Some(units) => u128::from(stamp).saturating_mul(1_000_000_000) / units,
        // Units so small that no stamp reaches a nanosecond.
        None => 0,
    };
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, (nanos % 1_000_000_000) as u32)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// What is left of a block.
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*value)
    }

    fn half(&mut self) -> Option<u16> {
        let value = self.take()?;
        Some(if self.big {
            u16::from_be_bytes(value)
        } else {
            u16::from_le_bytes(value)
        })
    }

    fn word(&mut self) -> Option<u32> {
        let value = self.take()?;
        Some(if self.big {
            u32::from_be_bytes(value)
        } else {
            u32::from_le_bytes(value)
        })
    }

    fn long(&mut self) -> Option<u64> {
        let value = self.take()?;
        Some(if self.big {
            u64::from_be_bytes(value)
        } else {
            u64::from_le_bytes(value)
        })
    }

    /// A time: its upper half comes first in either order.
    fn stamp(&mut self) -> Option<u64> {
        let (high, low) = (self.word()?, self.word()?);
        Some(u64::from(high) << 32 | u64::from(low))
    }

    fn padded(&mut self, len: usize) -> Option<&'a [u8]> {
        let value = self.bytes.get(..len)?;
        self.bytes = self.bytes.get(len.checked_next_multiple_of(4)?..)?;
        Some(value)
    }

    /// Calls `each` with every option; `None` when one of them is cut short.
    fn options(mut self, mut each: impl FnMut(u16, &'a [u8])) -> Option<()> {
        while !self.bytes.is_empty() {
            let (code, len) = (self.half()?, self.half()?);
            if code == OPT_END {
                break;
            }
            each(code, self.padded(usize::from(len))?);
        }
        Some(())
    }
}
