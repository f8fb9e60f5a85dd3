//! A packet as a line of the kernel's log (`nf_log_syslog.c`). The closing space is the kernel's.

use std::fmt::Write as _;

use fielato_wire::{Addr, Family, number};

use crate::edit::{read16, read32};
use crate::{Host, Packet};

/// What a line shows beside the usual (`XT_LOG_*`, the kernel's bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFlags(pub u8);

impl LogFlags {
    /// `--log-tcp-sequence`
    pub const TCP_SEQUENCE: u8 = 1 << 0;
    /// `--log-tcp-options`
    pub const TCP_OPTIONS: u8 = 1 << 1;
    /// `--log-ip-options`
    pub const IP_OPTIONS: u8 = 1 << 2;
    /// `--log-uid`
    pub const UID: u8 = 1 << 3;
    /// `--log-macdecode`
    pub const MAC_DECODE: u8 = 1 << 5;

    /// Whether any of `bits` is set.
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// The line of `packet`.
pub(crate) fn line(prefix: &str, packet: &Packet, flags: LogFlags, host: &mut dyn Host) -> String {
    let mut out = format!("{prefix}IN={} OUT={} ", packet.in_interface.name, packet.out_interface.name);
    if !packet.is_local_output() {
        mac(&mut out, packet, flags);
    }
    let mut dump = Dump { out, flags };
    let whole = match packet.headers.family {
        Family::V4 => dump.v4(&packet.data, false),
        Family::V6 => dump.v6(&packet.data, false),
    };
    let mut out = dump.out;
    if whole.is_some() {
        if flags.has(LogFlags::UID)
            && packet.is_local_output()
            && let Some(owner) = host.socket_owner(packet)
        {
            let _ = write!(out, "UID={} GID={} ", owner.uid, owner.gid);
        }
        if packet.mark != 0 {
            let _ = write!(out, "MARK=0x{:x} ", packet.mark);
        }
    }
    out
}

fn mac(out: &mut String, packet: &Packet, flags: LogFlags) {
    let (Some(src), Some(dst)) = (packet.source_mac, packet.destination_mac) else {
        out.push_str("MAC= ");
        return;
    };
    let kind: [u8; 2] = match packet.headers.family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xdd],
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":");
    let _ = if flags.has(LogFlags::MAC_DECODE) {
        write!(
            out,
            "MACSRC={} MACDST={} MACPROTO={:02x}{:02x} ",
            hex(&src),
            hex(&dst),
            kind[0],
            kind[1]
        )
    } else {
        write!(out, "MAC={}:{}:{} ", hex(&dst), hex(&src), hex(&kind))
    };
}

struct Dump {
    out: String,
    flags: LogFlags,
}

/// `None` when the kernel stops writing in the middle.
type Written = Option<()>;

macro_rules! add {
    ($self:ident, $($text:tt)*) => {{ let _ = write!($self.out, $($text)*); }};
}

impl Dump {
    fn stop(&mut self, text: &str) -> Written {
        self.out.push_str(text);
        None
    }

    fn incomplete(&mut self, bytes: &[u8]) {
        add!(self, "INCOMPLETE [{} bytes] ", bytes.len());
    }

    fn hex(&mut self, bytes: &[u8]) {
        self.out.push_str("OPT (");
        for byte in bytes {
            add!(self, "{byte:02X}");
        }
        self.out.push_str(") ");
    }

    fn v4(&mut self, packet: &[u8], inner: bool) -> Written {
        let Some(header) = packet.first_chunk::<20>() else {
            return self.stop("TRUNCATED");
        };
        let address = |at: usize| Addr::read(&header[at..at + 4]).display(Family::V4).to_string();
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        add!(self, "SRC={} DST={} ", address(12), address(16));
        let (tos, fragment) = (header[1], word(6));
        add!(
            self,
            "LEN={} TOS=0x{:02X} PREC=0x{:02X} TTL={} ID={} ",
            word(2),
            tos & 0x1e,
            tos & 0xe0,
            header[8],
            word(4)
        );
        for (bit, name) in [(0x8000, "CE "), (0x4000, "DF "), (0x2000, "MF ")] {
            if fragment & bit != 0 {
                self.out.push_str(name);
            }
        }
        let offset = fragment & 0x1fff;
        if offset != 0 {
            add!(self, "FRAG:{offset} ");
        }
        let len = usize::from(header[0] & 15) * 4;
        if self.flags.has(LogFlags::IP_OPTIONS) && len > 20 {
            match packet.get(20..len) {
                Some(options) => self.hex(options),
                None => return self.stop("TRUNCATED"),
            }
        }
        let body = packet.get(len..).unwrap_or(&[]);
        match header[9] {
            number::TCP => self.tcp(body, offset != 0)?,
            number::UDP | number::UDPLITE => self.udp(header[9], body, offset != 0)?,
            number::ICMP => self.icmp(body, offset != 0, inner),
            number::AH => {
                if offset == 0 {
                    self.out.push_str("PROTO=AH ");
                    self.spi(body, 12, 4);
                }
            }
            number::ESP => {
                self.out.push_str("PROTO=ESP ");
                if offset == 0 {
                    self.spi(body, 8, 0);
                }
            }
            other => add!(self, "PROTO={other} "),
        }
        Some(())
    }

    fn spi(&mut self, body: &[u8], need: usize, at: usize) {
        match read32(body, at) {
            Some(spi) if body.len() >= need => add!(self, "SPI=0x{spi:x} "),
            _ => self.incomplete(body),
        }
    }

    fn tcp(&mut self, body: &[u8], fragment: bool) -> Written {
        self.out.push_str("PROTO=TCP ");
        if fragment {
            return Some(());
        }
        let Some(header) = body.first_chunk::<20>() else {
            self.incomplete(body);
            return None;
        };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        add!(self, "SPT={} DPT={} ", word(0), word(2));
        if self.flags.has(LogFlags::TCP_SEQUENCE) {
            let long = |at: usize| read32(header, at).unwrap_or(0);
            add!(self, "SEQ={} ACK={} ", long(4), long(8));
        }
        add!(self, "WINDOW={} RES=0x{:02x} ", word(14), (header[12] & 0x0f) << 2);
        let names = ["CWR ", "ECE ", "URG ", "ACK ", "PSH ", "RST ", "SYN ", "FIN "];
        for (place, name) in names.iter().enumerate() {
            if header[13] & (0x80 >> place) != 0 {
                self.out.push_str(name);
            }
        }
        add!(self, "URGP={} ", word(18));
        let len = usize::from(header[12] >> 4) * 4;
        if self.flags.has(LogFlags::TCP_OPTIONS) && len > 20 {
            match body.get(20..len) {
                Some(options) => self.hex(options),
                None => return self.stop("OPT (TRUNCATED)"),
            }
        }
        Some(())
    }

    fn udp(&mut self, protocol: u8, body: &[u8], fragment: bool) -> Written {
        self.out.push_str(if protocol == number::UDP {
            "PROTO=UDP "
        } else {
            "PROTO=UDPLITE "
        });
        if fragment {
            return Some(());
        }
        let Some(header) = body.first_chunk::<8>() else {
            self.incomplete(body);
            return None;
        };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        add!(self, "SPT={} DPT={} LEN={} ", word(0), word(2), word(4));
        Some(())
    }

    fn icmp(&mut self, body: &[u8], fragment: bool, inner: bool) {
        self.out.push_str("PROTO=ICMP ");
        if fragment {
            return;
        }
        let Some(header) = body.first_chunk::<8>() else {
            return self.incomplete(body);
        };
        let (kind, code) = (header[0], header[1]);
        add!(self, "TYPE={kind} CODE={code} ");
        let required = match kind {
            0 | 8 => 4,
            3 | 4 | 5 | 11 | 12 => 28,
            13 | 14 => 20,
            17 | 18 => 12,
            _ => 0,
        };
        if body.len() < required {
            return self.incomplete(body);
        }
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        match kind {
            0 | 8 => add!(self, "ID={} SEQ={} ", word(4), word(6)),
            12 => add!(self, "PARAMETER={} ", header[4]),
            3 | 4 | 5 | 11 => {
                if kind == 5 {
                    add!(self, "GATEWAY={} ", Addr::read(&header[4..8]).display(Family::V4));
                }
                if !inner {
                    self.out.push('[');
                    let _ = self.v4(&body[8..], true);
                    self.out.push_str("] ");
                }
                if kind == 3 && code == 4 {
                    add!(self, "MTU={} ", word(6));
                }
            }
            _ => {}
        }
    }

    fn v6(&mut self, packet: &[u8], inner: bool) -> Written {
        let Some(header) = packet.first_chunk::<40>() else {
            return self.stop("TRUNCATED");
        };
        // %pI6: eight groups of four digits, none left out.
        let address = |at: usize| {
            let groups = header[at..at + 16].chunks(2).map(|g| format!("{:02x}{:02x}", g[0], g[1]));
            groups.collect::<Vec<_>>().join(":")
        };
        let first = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        add!(self, "SRC={} DST={} ", address(8), address(24));
        add!(
            self,
            "LEN={} TC={} HOPLIMIT={} FLOWLBL={} ",
            u32::from(u16::from_be_bytes([header[4], header[5]])) + 40,
            first >> 20 & 0xff,
            header[7],
            first & 0xf_ffff
        );
        let (mut next, mut at, mut fragment) = (header[6], 40, false);
        while is_extension(next) {
            let rest = packet.get(at..).unwrap_or(&[]);
            (next, at) = self.extension(next, at, rest, &mut fragment)?;
        }
        let body = packet.get(at..).unwrap_or(&[]);
        match next {
            number::TCP => self.tcp(body, fragment)?,
            number::UDP | number::UDPLITE => self.udp(next, body, fragment)?,
            number::ICMPV6 => self.icmpv6(body, fragment, inner)?,
            other => add!(self, "PROTO={other} "),
        }
        Some(())
    }

    /// One extension header; answers what follows it and where.
    fn extension(&mut self, kind: u8, at: usize, rest: &[u8], fragment: &mut bool) -> Option<(u8, usize)> {
        let Some(&[next, length]) = rest.first_chunk::<2>() else {
            self.stop("TRUNCATED")?;
            return None;
        };
        let options = self.flags.has(LogFlags::IP_OPTIONS);
        if options {
            self.out.push_str("OPT ( ");
        }
        let len = match kind {
            number::FRAGMENT => {
                self.out.push_str("FRAG:");
                let (Some(word), Some(id)) = (read16(rest, 2), read32(rest, 4)) else {
                    self.stop("TRUNCATED ")?;
                    return None;
                };
                add!(self, "{} ", word & 0xfff8);
                if word & 1 != 0 {
                    self.out.push_str("INCOMPLETE ");
                }
                add!(self, "ID:{id:08x} ");
                *fragment |= word & 0xfff8 != 0;
                8
            }
            number::AH | number::ESP => {
                if options {
                    // ip_auth_hdr has its SPI at 4, ip_esp_hdr at 0.
                    let (name, need, place) = if kind == number::AH { ("AH ", 12, 4) } else { ("ESP ", 8, 0) };
                    self.out.push_str(name);
                    if *fragment {
                        self.stop(")")?;
                    }
                    match read32(rest, place) {
                        Some(spi) if rest.len() >= need => add!(self, "SPI=0x{spi:x} "),
                        _ => {
                            self.incomplete(rest);
                            self.stop(")")?;
                        }
                    }
                }
                if kind == number::ESP {
                    self.stop(if options { ")" } else { "" })?;
                }
                (usize::from(length) + 2) * 4
            }
            _ => {
                if *fragment {
                    self.stop(if options { ")" } else { "" })?;
                }
                (usize::from(length) + 1) * 8
            }
        };
        if options {
            self.out.push_str(") ");
        }
        Some((next, at + len))
    }

    fn icmpv6(&mut self, body: &[u8], fragment: bool, inner: bool) -> Written {
        self.out.push_str("PROTO=ICMPv6 ");
        if fragment {
            return Some(());
        }
        let Some(header) = body.first_chunk::<8>() else {
            self.incomplete(body);
            return None;
        };
        let (kind, code) = (header[0], header[1]);
        add!(self, "TYPE={kind} CODE={code} ");
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let long = read32(header, 4).unwrap_or(0);
        match kind {
            128 | 129 => add!(self, "ID={} SEQ={} ", word(4), word(6)),
            1..=4 => {
                if kind == 4 {
                    add!(self, "POINTER={long:08x} ");
                }
                if !inner {
                    self.out.push('[');
                    let _ = self.v6(&body[8..], true);
                    self.out.push_str("] ");
                }
                if kind == 2 {
                    add!(self, "MTU={long} ");
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// `nf_ip6_ext_hdr`, less "no next header".
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        number::HOP_BY_HOP | number::ROUTING | number::FRAGMENT | number::ESP | number::AH | number::DESTINATION
    )
}
