//! Matches on IP, ICMP, IPsec and IPv6 extension headers.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::ah::Ah;
use fielato_netfilter::matches::ecn::Ecn;
use fielato_netfilter::matches::frag::Frag;
use fielato_netfilter::matches::ipv6opts::Ipv6Options;
use fielato_netfilter::matches::rt::RoutingHeader;
use fielato_netfilter::matches::tos::Tos;
use fielato_wire::Family;

use super::words::{NEVER, equals, not, span, within};
use super::{Reason, RuleContext, family_name};

/// A header's length in bytes, as nft counts it: in units of `unit` bytes, without the first `first` units.
fn length(key: &str, bytes: u32, negated: bool, unit: u32, first: u32) -> String {
    let units = bytes.is_multiple_of(unit).then_some(bytes / unit);
    match units.and_then(|units| units.checked_sub(first)).filter(|&units| units <= 255) {
        Some(units) => format!("{key} hdrlength {}{units}", not(negated)),
        // No header has this length.
        None if negated => format!("{key} hdrlength 0-255"),
        None => NEVER.to_owned(),
    }
}

pub(super) fn ah(m: &Ah, cx: &RuleContext<'_>) -> Result<String, Reason> {
    if cx.family == Family::V6 {
        return Err("nft looks for the header only at the end of the chain of headers".to_owned());
    }
    // The kernel's IPv4 match has no other condition.
    Ok(within("ah spi", &m.spi, u32::MAX))
}

pub(super) fn ecn(m: &Ecn, cx: &RuleContext<'_>) -> String {
    let mut words = Vec::new();
    if let Some(bits) = m.ip {
        words.push(format!("{} ecn {}{bits}", family_name(cx.family), not(m.ip_negated)));
    }
    for (flag, wanted) in [("ecn", m.ece), ("cwr", m.cwr)] {
        if let Some(set) = wanted {
            words.push(format!("tcp flags & {flag} {} {flag}", equals(!set)));
        }
    }
    words.join(" ")
}

pub(super) fn tos(m: &Tos, cx: &RuleContext<'_>) -> String {
    if m.value & !m.mask != 0 {
        return if m.negated { String::new() } else { NEVER.to_owned() };
    }
    // In IPv6 the byte begins in the middle of one; nft 1.0 loses a mask on such a field, so two bytes are read.
    let (field, shift) = match cx.family {
        Family::V4 => ("@nh,8,8", 0),
        Family::V6 => ("@nh,0,16", 4),
    };
    let (mask, value) = (u16::from(m.mask) << shift, u16::from(m.value) << shift);
    match (m.mask, cx.family) {
        (0, _) if m.negated => NEVER.to_owned(),
        (0, _) => String::new(),
        (0xff, Family::V4) => format!("{field} {}{value:#x}", not(m.negated)),
        _ => format!("{field} & {mask:#x} {} {value:#x}", equals(m.negated)),
    }
}

/// `--icmp-type` and `--icmpv6-type`.
pub(super) fn icmp(name: &str, kind: u8, codes: &Range<u8>, negated: bool, any: bool) -> String {
    let all_codes = codes.min == 0 && codes.max == u8::MAX;
    match (any, negated) {
        (true, true) => return NEVER.to_owned(),
        (true, false) => return format!("{name} type 0-255"),
        _ => {}
    }
    match (all_codes, negated) {
        (true, _) => format!("{name} type {}{kind}", not(negated)),
        (false, _) if codes.min > codes.max => {
            if negated {
                String::new()
            } else {
                NEVER.to_owned()
            }
        }
        (false, false) => format!("{name} type {kind} {name} code {}", span(codes.min, codes.max)),
        (false, true) => format!("{name} type . {name} code != {{ {kind} . {} }}", span(codes.min, codes.max)),
    }
}

pub(super) fn frag(m: &Frag) -> String {
    let mut words = vec![within("frag id", &m.id, u32::MAX)];
    if m.reserved {
        words.push("frag reserved 0 frag reserved2 0".to_owned());
    }
    if m.first {
        words.push("frag frag-off 0".to_owned());
    }
    if let Some(more) = m.more {
        words.push(format!("frag more-fragments {}", u8::from(more)));
    }
    words.join(" ")
}

pub(super) fn rt(m: &RoutingHeader) -> Result<String, Reason> {
    if m.addresses.is_some() || m.reserved {
        return Err("nft can't read what a routing header of type 0 holds".to_owned());
    }
    let mut words = vec![within("rt seg-left", &widest(&m.segments_left), u32::from(u8::MAX))];
    if let Some(kind) = m.kind {
        words.push(match u8::try_from(kind) {
            Ok(kind) => format!("rt type {}{kind}", not(m.kind_negated)),
            Err(_) if m.kind_negated => String::new(),
            Err(_) => NEVER.to_owned(),
        });
    }
    if let Some(bytes) = m.length {
        words.push(length("rt", bytes, m.length_negated, 8, 1));
    }
    words.retain(|word| !word.is_empty());
    Ok(words.join(" "))
}

/// A range of numbers as far as a byte goes.
fn widest(range: &Range<u32>) -> Range<u32> {
    Range {
        max: range.max.min(u8::MAX.into()),
        ..*range
    }
}

/// `-m hbh`, `-m dst`.
pub(super) fn options(m: &Ipv6Options) -> Result<String, Reason> {
    if m.options.is_some() {
        return Err("nft can't read IPv6 options".to_owned());
    }
    let key = m.name();
    Ok(match m.length {
        Some(bytes) => length(key, bytes, m.length_negated, 8, 1),
        None => format!("exthdr {key} exists"),
    })
}
