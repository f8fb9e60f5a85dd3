//! One block at a time, little-endian.

use std::time::Duration;

use super::*;

/// Longest text of an option, in bytes; longer ones are cut.
const TEXT_MAX: usize = 4096;
/// Most bytes of one packet, as in the classic format's readers (`MAXIMUM_SNAPLEN` of libpcap).
const PACKET_MAX: usize = 256 * 1024;

/// What a file begins with. `application` names the program that writes it.
pub fn section(application: &str) -> Vec<u8> {
    let mut body = Body::new();
    body.word(BYTE_ORDER_MAGIC);
    // Version 1.0.
    body.half(1);
    body.half(0);
    body.long(LENGTH_UNKNOWN);
    body.text(SHB_OS, "Linux");
    body.text(SHB_USERAPPL, application);
    body.block(SECTION_HEADER)
}

/// Describes an interface; to be written before its first packet.
pub fn interface(interface: &Interface) -> Vec<u8> {
    let Interface {
        name,
        description,
        link,
        snaplen,
        filter,
    } = interface;
    let mut body = Body::new();
    body.half(link.number());
    body.half(0);
    body.word(*snaplen);
    body.text(IF_NAME, name);
    body.text(IF_DESCRIPTION, description);
    body.option(IF_TSRESOL, &[NANOSECONDS]);
    if !filter.is_empty() {
        // Its first byte says that the filter is text.
        body.option(IF_FILTER, &[&[0], cut(filter).as_bytes()].concat());
    }
    body.block(INTERFACE_DESCRIPTION)
}

/// A packet with its options.
pub fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let Packet {
        interface,
        at,
        bytes,
        original_len,
        direction,
        verdict,
        lost,
        comments,
    } = packet;
    let bytes = &bytes[..bytes.len().min(PACKET_MAX)];
    let mut body = Body::new();
    body.word(*interface);
    body.time(*at);
    body.word(bytes.len() as u32);
    body.word((*original_len).max(bytes.len() as u32));
    body.padded(bytes);
    for comment in comments {
        body.text(OPT_COMMENT, comment);
    }
    if let Some(direction) = direction {
        let flags: u32 = match direction {
            Direction::Inbound => 0b01,
            Direction::Outbound => 0b10,
        };
        body.option(EPB_FLAGS, &flags.to_le_bytes());
    }
    if *lost > 0 {
        body.option(EPB_DROPCOUNT, &lost.to_le_bytes());
    }
    if let Some(verdict) = verdict {
        let action = match verdict {
            Verdict::Passed => TC_ACT_OK,
            Verdict::Dropped => TC_ACT_SHOT,
        };
        body.option(EPB_VERDICT, &[&[VERDICT_TC][..], &action.to_le_bytes()].concat());
    }
    body.block(ENHANCED_PACKET)
}

/// What was counted on an interface, usually at the end.
pub fn statistics(statistics: &Statistics) -> Vec<u8> {
    let Statistics {
        interface,
        started,
        ended,
        received,
        accepted,
        lost,
        delivered,
    } = statistics;
    let mut body = Body::new();
    body.word(*interface);
    body.time(*ended);
    for (code, at) in [(ISB_STARTTIME, started), (ISB_ENDTIME, ended)] {
        let (high, low) = stamp(*at);
        body.option(code, &[high.to_le_bytes(), low.to_le_bytes()].concat());
    }
    for (code, count) in [
        (ISB_IFRECV, received),
        (ISB_FILTERACCEPT, accepted),
        (ISB_OSDROP, lost),
        (ISB_USRDELIV, delivered),
    ] {
        body.option(code, &count.to_le_bytes());
    }
    body.block(INTERFACE_STATISTICS)
}

/// Upper and lower half of the nanoseconds since 1970; they last until 2554.
fn stamp(at: Duration) -> (u32, u32) {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    ((nanos >> 32) as u32, nanos as u32)
}

/// As much of a text as an option may hold.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// A block while it is being made: its own fields, then its options.
struct Body {
    bytes: Vec<u8>,
    has_options: bool,
}

impl Body {
    fn new() -> Self {
        // Type and length come in front.
        Self {
            bytes: vec![0; 8],
            has_options: false,
        }
    }

    fn half(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn time(&mut self, at: Duration) {
        let (high, low) = stamp(at);
        self.word(high);
        self.word(low);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.half(code);
        self.half(value.len() as u16);
        self.padded(value);
        self.has_options = true;
    }

    fn text(&mut self, code: u16, text: &str) {
        if !text.is_empty() {
            self.option(code, cut(text).as_bytes());
        }
    }

    fn block(mut self, kind: u32) -> Vec<u8> {
        if self.has_options {
            self.half(OPT_END);
            self.half(0);
        }
        let len = self.bytes.len() as u32 + 4;
        self.word(len);
        self.bytes[..4].copy_from_slice(&kind.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&len.to_le_bytes());
        self.bytes
    }
}
