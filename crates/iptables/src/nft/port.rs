//! Matches on transport headers with ports.

use fielato_netfilter::Match;
use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::dccp::Dccp;
use fielato_netfilter::matches::multiport::{Multiport, PortSide};
use fielato_netfilter::matches::sctp::{ChunkMode, Chunks, Sctp};
use fielato_netfilter::matches::tcp::Tcp;
use fielato_netfilter::matches::udp::Udp;

use super::matches::list;
use super::words::{NEVER, equals, not, span, within};
use super::{Reason, RuleContext};

/// A source port's condition, if it asks for something.
fn source(words: &mut Vec<String>, protocol: &str, range: &Range<u16>) {
    if *range != Range::<u16>::ANY {
        words.push(within(&format!("{protocol} sport"), range, u16::MAX));
    }
}

/// A destination port's condition, if it asks for something.
fn destination(words: &mut Vec<String>, protocol: &str, range: &Range<u16>, cx: &RuleContext<'_>) {
    if *range == Range::<u16>::ANY {
        return;
    }
    let key = format!("{protocol} dport");
    words.push(match range.negated && range.min == range.max {
        true => format!("{key} != {}", other_than(range.min, cx)),
        false => within(&key, range, u16::MAX),
    });
}

/// What a destination port may not be. nft 1.0 makes one comparison of `sport != 1` and `dport != 2` in the same rule, which
/// holds where either does; not so of ranges, be they of one port.
fn other_than(port: u16, cx: &RuleContext<'_>) -> String {
    let without_source = |m: &Match| match m {
        Match::Dccp(m) => m.sport.is_some_and(|range| range.negated),
        Match::Multiport(m) => m.negated && m.side != PortSide::Destination,
        Match::Sctp(m) => m.sport.is_some_and(|range| range.negated),
        Match::Tcp(m) => m.sport.negated,
        Match::Udp(m) => m.sport.negated,
        _ => false,
    };
    match cx.matches.iter().any(without_source) {
        true => format!("{port}-{port}"),
        false => port.to_string(),
    }
}

/// A match without a condition holds only where there is a header: not in later fragments. nft asks for one by reading it; but
/// what is "missing" it finds missing there, too.
fn header(words: &mut Vec<String>, protocol: &str) {
    words.retain(|word| !word.is_empty());
    if words.iter().all(|word| word.ends_with(" missing")) {
        words.insert(0, format!("{protocol} sport 0-65535"));
    }
}

pub(super) fn tcp(m: &Tcp, cx: &RuleContext<'_>) -> String {
    let mut words = Vec::new();
    source(&mut words, "tcp", &m.sport);
    destination(&mut words, "tcp", &m.dport, cx);
    if m.flags_mask != 0 || m.flags != 0 || m.flags_negated {
        words.push(flags(m));
    }
    if m.option != 0 {
        let there = if m.option_negated { "missing" } else { "exists" };
        words.push(format!("tcp option {} {there}", m.option));
    }
    header(&mut words, "tcp");
    words.join(" ")
}

fn flags(m: &Tcp) -> String {
    if m.flags & !m.flags_mask != 0 {
        return if m.flags_negated { String::new() } else { NEVER.to_owned() };
    }
    if m.flags_mask == 0 {
        return if m.flags_negated { NEVER.to_owned() } else { String::new() };
    }
    let compared = match flag_names(m.flags) {
        names if names.is_empty() => "0x0".to_owned(),
        names => names,
    };
    format!(
        "tcp flags & ({}) {} {}",
        flag_names(m.flags_mask),
        equals(m.flags_negated),
        compared
    )
}

fn flag_names(bits: u8) -> String {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let names = NAMES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0);
    names.map(|(_, name)| *name).collect::<Vec<_>>().join(" | ")
}

pub(super) fn udp(m: &Udp, cx: &RuleContext<'_>) -> String {
    let name = if cx.only_protocol() == Some(136) { "udplite" } else { "udp" };
    let mut words = Vec::new();
    source(&mut words, name, &m.sport);
    destination(&mut words, name, &m.dport, cx);
    header(&mut words, name);
    words.join(" ")
}

pub(super) fn dccp(m: &Dccp, cx: &RuleContext<'_>) -> Result<String, Reason> {
    const NAMES: [&str; 10] = [
        "request", "response", "data", "ack", "dataack", "closereq", "close", "reset", "sync", "syncack",
    ];
    if m.option.is_some() {
        return Err("nft 1.0 has no DCCP options".to_owned());
    }
    let mut words = Vec::new();
    if let Some(range) = &m.sport {
        source(&mut words, "dccp", range);
    }
    if let Some(range) = &m.dport {
        destination(&mut words, "dccp", range, cx);
    }
    if let Some(types) = m.types {
        let known = NAMES.iter().enumerate().filter(|(bit, _)| types >> bit & 1 != 0);
        let mut names: Vec<String> = known.map(|(_, name)| (*name).to_owned()).collect();
        let others = (10..16u32).filter(|bit| types >> bit & 1 != 0);
        names.extend(others.map(|bit| bit.to_string()));
        words.push(match (names.as_slice(), m.types_negated) {
            ([], false) => NEVER.to_owned(),
            ([], true) => String::new(),
            ([one], negated) => format!("dccp type {}{one}", not(negated)),
            (_, negated) => format!("dccp type {}{{ {} }}", not(negated), names.join(", ")),
        });
    }
    header(&mut words, "dccp");
    Ok(words.join(" "))
}

/// Chunks that nft has words for.
const CHUNKS: [(u8, &str); 22] = [
    (0, "data"),
    (1, "init"),
    (2, "init-ack"),
    (3, "sack"),
    (4, "heartbeat"),
    (5, "heartbeat-ack"),
    (6, "abort"),
    (7, "shutdown"),
    (8, "shutdown-ack"),
    (9, "error"),
    (10, "cookie-echo"),
    (11, "cookie-ack"),
    (12, "ecne"),
    (13, "cwr"),
    (14, "shutdown-complete"),
    (64, "i-data"),
    (128, "asconf-ack"),
    (130, "re-config"),
    (132, "pad"),
    (192, "forward-tsn"),
    (193, "asconf"),
    (194, "i-forward-tsn"),
];

pub(super) fn sctp(m: &Sctp, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let mut words = Vec::new();
    if let Some(range) = &m.sport {
        source(&mut words, "sctp", range);
    }
    if let Some(range) = &m.dport {
        destination(&mut words, "sctp", range, cx);
    }
    if let Some(chunks) = &m.chunks {
        words.extend(self::chunks(chunks)?);
    }
    header(&mut words, "sctp");
    Ok(words.join(" "))
}

fn chunks(m: &Chunks) -> Result<Vec<String>, Reason> {
    let mut wanted = Vec::new();
    for chunk in (0..=u8::MAX).filter(|&chunk| m.has(chunk)) {
        let known = CHUNKS.iter().find(|(number, _)| *number == chunk);
        let (_, name) = known.ok_or_else(|| format!("nft has no name for chunk type {chunk}"))?;
        wanted.push((chunk, *name));
    }
    // Each one for itself must be there, or none of them.
    let each = match (m.mode, m.negated, wanted.len()) {
        (ChunkMode::Only, ..) => return Err("nft can't ask that there be no other chunk".to_owned()),
        (_, _, 0) => return Err("it names no chunk".to_owned()),
        (ChunkMode::All, false, _) | (_, false, 1) => true,
        (ChunkMode::Any, true, _) | (_, true, 1) => false,
        (ChunkMode::Any, false, _) => return Err("nft can't ask for any of several chunks in one rule".to_owned()),
        (ChunkMode::All, true, _) => return Err("nft can't ask that one of several chunks be missing in one rule".to_owned()),
    };
    let mut words = Vec::new();
    for (chunk, name) in wanted {
        words.push(match m.flags.iter().find(|flags| flags.chunk == chunk) {
            Some(flags) if each => {
                format!("sctp chunk {name} flags & {:#x} == {:#x}", flags.mask, flags.flags)
            }
            Some(_) => return Err("nft can't ask that no chunk have flags".to_owned()),
            None => format!("sctp chunk {name} {}", if each { "exists" } else { "missing" }),
        });
    }
    Ok(words)
}

pub(super) fn multiport(m: &Multiport, cx: &RuleContext<'_>) -> String {
    let ports = merged(&m.ports);
    if ports.is_empty() {
        return if m.negated { String::new() } else { NEVER.to_owned() };
    }
    let one = |side: &str| {
        let ports = match (ports.as_slice(), m.negated && side == "dport") {
            ([(min, max)], true) if min == max => other_than(*min, cx),
            (ports, _) => list(ports),
        };
        format!("th {side} {}{ports}", not(m.negated))
    };
    match (m.side, m.negated) {
        (PortSide::Source, _) => one("sport"),
        (PortSide::Destination, _) => one("dport"),
        (PortSide::Either, true) => format!("{} {}", one("sport"), one("dport")),
        (PortSide::Either, false) => {
            // The source is one of them; or it is another and the destination is one of them. No pair is in both, which sets need.
            let mut pairs: Vec<String> = ports
                .iter()
                .map(|&(min, max)| format!("{} . 0-65535", span(min, max)))
                .collect();
            for (min, max) in others(&ports) {
                pairs.extend(
                    ports
                        .iter()
                        .map(|&(from, to)| format!("{} . {}", span(min, max), span(from, to))),
                );
            }
            format!("th sport . th dport {{ {} }}", pairs.join(", "))
        }
    }
}

/// Ranges in order, with those that touch or overlap made one: nft's sets take no overlaps.
fn merged(ranges: &[Range<u16>]) -> Vec<(u16, u16)> {
    let mut spans: Vec<(u16, u16)> = ranges
        .iter()
        .filter(|range| range.min <= range.max)
        .map(|range| (range.min, range.max))
        .collect();
    spans.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (min, max) in spans {
        match merged.last_mut() {
            Some(last) if u32::from(min) <= u32::from(last.1) + 1 => last.1 = last.1.max(max),
            _ => merged.push((min, max)),
        }
    }
    merged
}

/// What lies between and around merged ranges.
fn others(spans: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut gaps = Vec::new();
    let mut next = Some(0);
    for &(min, max) in spans {
        if let (Some(start), Some(end)) = (next, min.checked_sub(1))
            && start <= end
        {
            gaps.push((start, end));
        }
        next = max.checked_add(1);
    }
    if let Some(start) = next {
        gaps.push((start, u16::MAX));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_and_what_is_left_is_the_rest() {
        let ranges = [
            Range::new(10, 20),
            Range::one(80),
            Range::new(15, 30),
            Range::new(31, 40),
            Range::one(65535),
        ];
        let spans = merged(&ranges);
        assert_eq!(spans, [(10, 40), (80, 80), (65535, 65535)]);
        assert_eq!(others(&spans), [(0, 9), (41, 79), (81, 65534)]);
        assert_eq!(others(&[(0, 65535)]), []);
        assert_eq!(others(&[]), [(0, 65535)]);
    }
}
