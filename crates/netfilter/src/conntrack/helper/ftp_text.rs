//! Where FTP's lines announce a data connection: `PORT` and `227` (RFC 959), `EPRT` and `229` (RFC 2428). Numbers are read as
//! `nf_conntrack_ftp.c` reads them, which is not always how a server would.

use std::net::Ipv6Addr;
use std::ops::Range;

use fielato_wire::{Addr, Family};

use crate::conntrack::Direction;

/// The form of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `PORT h1,h2,h3,h4,p1,p2`
    Port,
    /// `227 Entering Passive Mode (h1,h2,h3,h4,p1,p2)`
    Passive,
    /// `EPRT |1|address|port|`
    ExtendedPort,
    /// `229 Entering Extended Passive Mode (|||port|)`
    ExtendedPassive,
}

/// An announcement in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub form: Form,
    /// The bytes that say where to.
    pub place: Range<usize>,
    pub addr: Addr,
    pub port: u16,
}

/// What a payload holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The beginning of an announcement, or one that can't be read.
    Partial,
    Whole(Announcement),
}

/// Looks for an announcement at the beginning of a payload. `own` is the sender's address: some forms leave it out.
pub(super) fn find(payload: &[u8], direction: Direction, family: Family, own: Addr) -> Found {
    let forms = match direction {
        Direction::Original => [Form::Port, Form::ExtendedPort],
        Direction::Reply => [Form::Passive, Form::ExtendedPassive],
    };
    for form in forms {
        match find_form(payload, form, family, own) {
            Found::Nothing => {}
            found => return found,
        }
    }
    Found::Nothing
}

fn find_form(payload: &[u8], form: Form, family: Family, own: Addr) -> Found {
    let (pattern, skip): (&[u8], Option<u8>) = match form {
        Form::Port => (b"PORT", Some(b' ')),
        Form::ExtendedPort => (b"EPRT", Some(b' ')),
        Form::Passive => (b"227 ", None),
        Form::ExtendedPassive => (b"229 ", Some(b'(')),
    };
    let shared = payload.len().min(pattern.len());
    if !payload[..shared].eq_ignore_ascii_case(&pattern[..shared]) {
        return Found::Nothing;
    }
    if payload.len() <= pattern.len() {
        return Found::Partial;
    }
    let mut at = pattern.len();
    if let Some(skip) = skip {
        match payload[at..].iter().position(|&byte| byte == skip) {
            Some(before) => at += before + 1,
            None => return Found::Partial,
        }
    }
    let text = &payload[at..];
    let read = match form {
        Form::Port => read_comma(text, Some(b'\r'), family, own),
        Form::Passive => {
            // RFC 1123 §4.1.2.6: there may be no parentheses; the first digit counts.
            let digit = text.iter().position(u8::is_ascii_digit);
            digit.and_then(|skipped| {
                at += skipped;
                read_comma(&text[skipped..], None, family, own)
            })
        }
        Form::ExtendedPort => read_extended(text, family, own),
        Form::ExtendedPassive => read_port_only(text, own),
    };
    match read {
        Some((len, addr, port)) if len > 0 => Found::Whole(Announcement {
            form,
            place: at..at + len,
            addr,
            port,
        }),
        _ => Found::Partial,
    }
}

/// Numbers with a separator between them, up to `end` (any other byte when there is none), after the length of it all
/// (`try_number`). Numbers too large wrap.
fn numbers<const N: usize>(text: &[u8], separator: u8, end: Option<u8>) -> Option<(usize, [u32; N])> {
    let mut values = [0u32; N];
    let mut index = 0;
    for (len, &byte) in text.iter().enumerate() {
        let value = values.get_mut(index)?;
        if byte.is_ascii_digit() {
            *value = value.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
        } else if byte == separator {
            index += 1;
        } else {
            let ends = end.is_none_or(|end| end == byte) && index + 1 == N;
            return ends.then_some((len, values));
        }
    }
    None
}

fn quad(a: u32, b: u32, c: u32, d: u32) -> u32 {
    a << 24 | b << 16 | c << 8 | d
}

type Read = (usize, Addr, u16);

/// `h1,h2,h3,h4,p1,p2` (`try_rfc959`).
fn read_comma(text: &[u8], end: Option<u8>, family: Family, own: Addr) -> Option<Read> {
    let (len, [a, b, c, d, high, low]) = numbers::<6>(text, b',', end)?;
    let v4 = u64::from(quad(a, b, c, d));
    let addr = match family {
        Family::V4 => Addr { hi: 0, lo: v4 },
        // The kernel writes it over the first four bytes of the IPv6 address, which makes it another one.
        Family::V6 => Addr {
            hi: v4 << 32 | own.hi & 0xffff_ffff,
            lo: own.lo,
        },
    };
    Some((len, addr, (high << 8 | low) as u16))
}

/// `|1|address|port|` (`try_eprt`).
fn read_extended(text: &[u8], family: Family, _own: Addr) -> Option<Read> {
    let &[delimiter, protocol, second, ref rest @ ..] = text else {
        return None;
    };
    let expected = match family {
        Family::V4 => b'1',
        Family::V6 => b'2',
    };
    if rest.is_empty() || !is_delimiter(delimiter) || second != delimiter || protocol != expected {
        return None;
    }
    let (len, addr) = match family {
        Family::V4 => {
            let (len, [a, b, c, d]) = numbers::<4>(rest, b'.', Some(delimiter))?;
            let lo = u64::from(quad(a, b, c, d));
            (len, Addr { hi: 0, lo })
        }
        Family::V6 => {
            let len = rest.iter().position(|&byte| byte == delimiter)?;
            let address: Ipv6Addr = std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?;
            (len, Addr::v6(address))
        }
    };
    let (end, port) = read_port(text, 3 + len + 1, delimiter)?;
    Some((end, addr, port))
}

/// `|||port|` (`try_epsv_response`).
fn read_port_only(text: &[u8], own: Addr) -> Option<Read> {
    let &[delimiter, second, third, _, ..] = text else {
        return None;
    };
    if !is_delimiter(delimiter) || second != delimiter || third != delimiter {
        return None;
    }
    let (end, port) = read_port(text, 3, delimiter)?;
    Some((end, own, port))
}

/// RFC 2428 §2: any printable character but a digit.
const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_digit()
}

/// A port and its delimiter, after where they end (`get_port`).
fn read_port(text: &[u8], start: usize, delimiter: u8) -> Option<(usize, u16)> {
    let mut port = 0u16;
    for (at, &byte) in text.iter().enumerate().skip(start) {
        if byte == delimiter {
            return (port != 0).then_some((at + 1, port));
        }
        if !byte.is_ascii_digit() {
            return None;
        }
        port = port.wrapping_mul(10).wrapping_add(u16::from(byte - b'0'));
    }
    None
}

/// The text that announces another place (`nf_nat_ftp_fmt_cmd`).
pub(super) fn write(form: Form, family: Family, addr: Addr, port: u16) -> String {
    let [.., a, b, c, d] = addr.lo.to_be_bytes();
    match form {
        Form::Port | Form::Passive if family == Family::V4 => format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff),
        Form::Port | Form::Passive => {
            let [a, b, c, d, ..] = addr.hi.to_be_bytes();
            format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
        }
        Form::ExtendedPort if family == Family::V4 => format!("|1|{}|{port}|", addr.display(family)),
        // `%pI6`: all eight groups of four digits.
        Form::ExtendedPort => {
            let groups = Ipv6Addr::from_bits(addr.to_bits())
                .segments()
                .map(|group| format!("{group:04x}"));
            format!("|2|{}|{port}|", groups.join(":"))
        }
        Form::ExtendedPassive => format!("|||{port}|"),
    }
}
