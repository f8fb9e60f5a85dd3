//! Addresses and ports of the NAT targets (`libxt_NAT.c`).

use std::fmt::Write as _;

use fielato_netfilter::nat::{NatFlags, NatRange};
use fielato_netfilter::syntax::{Given, ParseContext, SyntaxError};
use fielato_wire::{Addr, Family, number};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// `--random`, `--random-fully`, `--persistent`, in the order in which they are shown.
const FLAGS: [(u32, &str); 3] = [
    (NatFlags::PROTO_RANDOM, "random"),
    (NatFlags::PROTO_RANDOM_FULLY, "random-fully"),
    (NatFlags::PERSISTENT, "persistent"),
];

/// The flags that were given.
pub(super) fn flags(options: &Options<'_>) -> u32 {
    let given = FLAGS.iter().filter(|(_, name)| options.has(name));
    given.fold(0, |flags, (bit, _)| flags | bit)
}

/// The flags as they are shown, after dashes or not.
fn show_flags(flags: NatFlags, dashes: &str) -> String {
    let mut out = String::new();
    for (bit, name) in FLAGS {
        if flags.has(bit) {
            let _ = write!(out, " {dashes}{name}");
        }
    }
    out
}

/// What MASQUERADE and REDIRECT take: `--to-ports` and flags.
pub(super) fn own_address(extension: &'static str, given: &[Given], cx: &ParseContext<'_>) -> Result<NatRange, SyntaxError> {
    let options = Options::new(extension, given);
    let mut range = NatRange::default();
    if let Some(text) = options.text("to-ports") {
        ports(text, cx, &mut range)?;
        no_base(&range)?;
    }
    range.flags.0 |= flags(&options);
    Ok(range)
}

/// As [`own_address`] read it.
pub(super) fn show_own_address(flags: NatFlags, min_port: u16, max_port: u16, option: &str, dashes: &str) -> String {
    let range = NatRange {
        flags,
        min_port,
        max_port,
        ..NatRange::default()
    };
    let ports = match flags.has(NatFlags::PROTO_SPECIFIED) {
        true => format!(" {option}{}", show_ports(&range)),
        false => String::new(),
    };
    ports + &show_flags(flags, dashes)
}

/// `[ADDRESS[-ADDRESS]][:PORT[-PORT[/BASE]]]`, IPv6 addresses in brackets when ports follow.
pub(super) fn range(text: &str, cx: &ParseContext<'_>) -> Result<NatRange, SyntaxError> {
    let mut range = NatRange::default();
    let (addresses, port_text) = split(text, cx.family)?;
    if let Some(text) = port_text {
        ports(text, cx, &mut range)?;
        if addresses.is_empty() {
            return Ok(range);
        }
    }
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let parse =
        |text: &str| values::address(text, cx.family).ok_or_else(|| SyntaxError::new(format!("Bad IP address \"{text}\"")));
    (range.min_addr, range.max_addr) = (parse(first)?, parse(last)?);
    range.flags.0 |= NatFlags::MAP_IPS;
    Ok(range)
}

/// The addresses and what follows the colon.
fn split(text: &str, family: Family) -> Result<(&str, Option<&str>), SyntaxError> {
    if let Some((before, rest)) = text.split_once('[') {
        let (inner, after) = rest
            .split_once(']')
            .filter(|_| before.is_empty() && family == Family::V6)
            .ok_or_else(|| SyntaxError::new("Invalid address format"))?;
        return Ok((inner, after.split_once(':').map(|(_, ports)| ports)));
    }
    // One colon is a port's; more are an IPv6 address's.
    Ok(match text.split_once(':') {
        Some((addresses, ports)) if !ports.contains(':') => (addresses, Some(ports)),
        _ => (text, None),
    })
}

/// `PORT[-PORT[/BASE]]`. The first and the base may be names.
fn ports(text: &str, cx: &ParseContext<'_>, range: &mut NatRange) -> Result<(), SyntaxError> {
    // The kernel looks at the number only, so `! -p tcp` passes too.
    let with_ports = [number::TCP, number::UDP, number::SCTP, number::DCCP, number::ICMP];
    if !with_ports.contains(&cx.ip.protocol.number) {
        return Err(SyntaxError::new("Need TCP, UDP, SCTP or DCCP with port specification"));
    }
    let invalid = |text: &str| SyntaxError::new(format!("Port `{text}' not valid"));
    let as_number = |text| values::leading_number(text, 0xffff);
    range.flags.0 |= NatFlags::PROTO_SPECIFIED;
    let (first, rest) = match as_number(text) {
        Some(found) => found,
        None => (words::port(text, cx.names).ok_or_else(|| invalid(text))?.into(), ""),
    };
    (range.min_port, range.max_port) = (first as u16, first as u16);
    if rest.is_empty() {
        return Ok(());
    }
    let Some(text) = rest.strip_prefix('-') else {
        return Err(SyntaxError::new(match rest.starts_with(':') {
            true => "Invalid port:port syntax - use dash".to_owned(),
            false => format!("Garbage after port value: `{rest}'"),
        }));
    };
    let (last, rest) = as_number(text).ok_or_else(|| invalid(text))?;
    if last < first {
        return Err(SyntaxError::new(format!("Port range `{text}' funky")));
    }
    range.max_port = last as u16;
    if rest.is_empty() {
        return Ok(());
    }
    let Some(base) = rest.strip_prefix('/') else {
        return Err(SyntaxError::new(format!("Garbage after port range: `{rest}'")));
    };
    range.base_port = words::port(base, cx.names)
        .filter(|&port| port != 0)
        .ok_or_else(|| invalid(base))?;
    range.flags.0 |= NatFlags::PROTO_OFFSET;
    Ok(())
}

/// Refuses `/BASE` where it means nothing.
pub(super) fn no_base(range: &NatRange) -> Result<(), SyntaxError> {
    if range.flags.has(NatFlags::PROTO_OFFSET) {
        return Err(SyntaxError::new("Shifted portmap ranges not supported with this kernel"));
    }
    Ok(())
}

/// What SNAT and DNAT take: `ADDRESS[-ADDRESS][:PORTS]`, and flags.
pub(super) fn show(range: &NatRange, family: Family, option: &str, dashes: &str) -> String {
    let flags = show_flags(range.flags, dashes);
    match show_range(range, family) {
        shown if shown.is_empty() => flags,
        shown => format!(" {option}{shown}{flags}"),
    }
}

fn show_range(range: &NatRange, family: Family) -> String {
    let with_ports = range.flags.has(NatFlags::PROTO_SPECIFIED);
    let mut out = String::new();
    if range.flags.has(NatFlags::MAP_IPS) {
        out += &addresses(range.min_addr, range.max_addr, family);
        if family == Family::V6 && with_ports {
            out = format!("[{out}]");
        }
    }
    if with_ports {
        out += ":";
        out += &show_ports(range);
    }
    out
}

fn addresses(first: Addr, last: Addr, family: Family) -> String {
    match first == last {
        true => first.display(family).to_string(),
        false => format!("{}-{}", first.display(family), last.display(family)),
    }
}

/// `PORT[-PORT[/BASE]]`.
fn show_ports(range: &NatRange) -> String {
    let mut out = range.min_port.to_string();
    if range.max_port != range.min_port {
        let _ = write!(out, "-{}", range.max_port);
    }
    if range.flags.has(NatFlags::PROTO_OFFSET) {
        let _ = write!(out, "/{}", range.base_port);
    }
    out
}
