//! Rules loaded as the nftables text that our renderer makes of them: what is left out because nft or this kernel can't say it,
//! and the counters read back.

use std::collections::BTreeMap;

use fielato_iptables::nft::{self, Options};
use fielato_iptables::{Registry, restore};
use fielato_netfilter::{Ruleset, Target};
use fielato_wire::{Extensions, Family, Headers, TcpFlags, number};

use super::namespace::Namespace;
use super::nfnetlink::{CountedRule, IPV4, IPV6, Nfnetlink};
use crate::error::Error;
use crate::sets;
use crate::subject::{Counter, Setup};

/// Tables of an earlier case go in the same transaction.
const OPTIONS: Options = Options {
    replace: true,
    no_counts: false,
    whole: false,
};

/// Protocol numbers (RFC 6275, RFC 8200).
const MOBILITY: u8 = 135;
const NO_NEXT_HEADER: u8 = 59;
/// TCP's option for the maximum segment size.
const MSS: u8 = 2;

/// Most rounds of leaving rules out: each finds all that nft tells at once.
const ROUNDS: usize = 8;

/// A rule's place: whether in IPv6's rule set, its table, its chain, its index from 0.
type Place = (bool, String, String, usize);

fn parse(family: Family, rules: &str) -> Result<Ruleset, Error> {
    restore::parse(rules, family, &Registry::builtin(), &sets::names()).map_err(|error| refused(error.to_string()))
}

fn refused(reason: String) -> Error {
    Error::Rules { subject: "nft", reason }
}

/// Both families' rules in nft's words.
fn render(setup: &Setup) -> Result<String, Error> {
    let mut text = String::new();
    for family in [Family::V4, Family::V6] {
        let rules = parse(family, setup.rules(family))?;
        text += &nft::ruleset(&rules, OPTIONS).map_err(|error| refused(error.to_string()))?;
    }
    Ok(text)
}

/// Loads them.
pub(super) fn load(namespace: &Namespace, setup: &Setup) -> Result<(), Error> {
    let text = render(setup)?;
    match namespace.run("nft", &["-f", "-"], text) {
        Err(Error::Program { output, .. }) => Err(refused(output)),
        other => other.map(drop),
    }
}

/// Takes out the rules that the renderer names as not expressible, then those that this kernel refuses; with the reasons.
pub(super) fn prune(namespace: &Namespace, setup: &mut Setup) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for _ in 0..ROUNDS {
        // A chain is reached from fewer hooks once a jump is gone, so that one round may not be all.
        let named = not_expressible(setup);
        let reasons = if named.is_empty() {
            not_known_here(namespace, setup)
        } else {
            named
        };
        if reasons.is_empty() {
            break;
        }
        take_out(setup, &reasons, &mut out);
    }
    out
}

fn not_expressible(setup: &Setup) -> BTreeMap<Place, String> {
    let mut reasons = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let Ok(rules) = parse(family, setup.rules(family)) else {
            continue;
        };
        for ((table, chain, index), reason) in known_to_differ(&rules) {
            reasons.insert((family == Family::V6, table, chain, index), reason.to_owned());
        }
        for missing in nft::partial(&rules, OPTIONS).missing {
            if let Some(index) = missing.rule.checked_sub(1) {
                let place = (family == Family::V6, missing.table, missing.chain, index);
                reasons
                    .entry(place)
                    .or_insert(format!("{}: {}", missing.part, missing.reason));
            }
        }
    }
    reasons
}

/// Rules that together with others make packets for which every rule set differs (see `fielato_iptables::nft`): they are left out
/// where those others are.
fn known_to_differ(rules: &Ruleset) -> Vec<((String, String, usize), &'static str)> {
    let all = || {
        rules.tables.iter().flat_map(|table| {
            table.chains.iter().flat_map(move |chain| {
                let numbered = chain.rules.iter().enumerate();
                numbered.map(move |(index, rule)| ((table.name.clone(), chain.name.clone(), index), &rule.target))
            })
        })
    };
    let clamps = all().any(|(_, target)| matches!(target, Target::Tcpmss(_)));
    let rejects = all().any(|(_, target)| matches!(target, Target::Reject(_)));
    let why = |chain: &str, target: &Target| match target {
        Target::Tcpoptstrip(t) if clamps && t.kinds[0] >> MSS & 1 != 0 => {
            Some("it makes SYNs without MSS, to which -j TCPMSS adds one in iptables only")
        }
        Target::Ct(_) if rejects && chain != "PREROUTING" => {
            Some("it may meet what -j REJECT answers to an untracked packet, which iptables leaves as it is")
        }
        _ => None,
    };
    all()
        .filter_map(|(place, target)| why(&place.1, target).map(|why| (place, why)))
        .collect()
}

/// Asks nft, which tells every rule that the kernel refuses by its line: `/dev/stdin:7:3-20: Error: …`.
fn not_known_here(namespace: &Namespace, setup: &Setup) -> BTreeMap<Place, String> {
    let Ok(text) = render(setup) else {
        return BTreeMap::new();
    };
    let said = match namespace.run("nft", &["--check", "-f", "-"], text.clone()) {
        Err(Error::Program { output, .. }) => output,
        _ => return BTreeMap::new(),
    };
    let places = places(&text);
    let mut reasons = BTreeMap::new();
    for line in said.lines() {
        let mut parts = line.splitn(4, ':');
        let (_, number, columns, error) = (parts.next(), parts.next(), parts.next(), parts.next());
        let number = number.and_then(|number| number.parse::<usize>().ok()?.checked_sub(1));
        let (Some(number), Some(columns), Some(error)) = (number, columns, error) else {
            continue;
        };
        if let Some(place) = places.get(&number) {
            let words = text
                .lines()
                .nth(number)
                .and_then(|line| within(line, columns))
                .unwrap_or_default();
            let error = error.trim().trim_start_matches("Error: ");
            reasons.insert(place.clone(), format!("this kernel or nft: {error}: {words}"));
        }
    }
    reasons
}

/// The columns `3-20` of a line, from 1.
fn within<'a>(line: &'a str, columns: &str) -> Option<&'a str> {
    let (from, to) = columns.split_once('-')?;
    line.get(from.parse::<usize>().ok()?.checked_sub(1)?..to.parse().ok()?)
}

/// Which line of a rendered text is which rule, lines counted from 0.
fn places(text: &str) -> BTreeMap<usize, Place> {
    let mut places = BTreeMap::new();
    let (mut v6, mut table, mut chain, mut rule) = (false, "", "", 0);
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("\tchain ") {
            (chain, rule) = (name.trim_end_matches(" {"), 0);
        } else if let Some((family, name)) = line.strip_prefix("table ").and_then(|rest| rest.split_once(' ')) {
            (v6, table) = (family == "ip6", name.trim_end_matches(" {"));
        } else if line.starts_with("\t\t") && line.contains("counter") {
            places.insert(number, (v6, table.to_owned(), chain.to_owned(), rule));
            rule += 1;
        }
    }
    places
}

fn take_out(setup: &mut Setup, reasons: &BTreeMap<Place, String>, out: &mut Vec<(String, String)>) {
    for (v6, rules) in [(false, &mut setup.rules_v4), (true, &mut setup.rules_v6)] {
        let (mut kept, mut table) = (String::new(), "");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in rules.lines() {
            if let Some(name) = line.strip_prefix('*') {
                (table, counts) = (name, BTreeMap::new());
            }
            if let Some((_, rest)) = line.split_once("-A ") {
                let chain = rest.split(' ').next().unwrap_or_default();
                let index = counts.entry(chain).or_default();
                let place = (v6, table.to_owned(), chain.to_owned(), *index);
                *index += 1;
                if let Some(reason) = reasons.get(&place) {
                    out.push((line.to_owned(), reason.clone()));
                    continue;
                }
            }
            kept += line;
            kept.push('\n');
        }
        *rules = kept;
    }
}

/// See [`super::Kernel::nft`].
pub(super) fn is_comparable(packet: &[u8]) -> bool {
    let Ok(headers) = Headers::parse(packet) else {
        return false;
    };
    let authenticated = headers.extensions.0 & Extensions::AH != 0 || headers.protocol == number::AH;
    if headers.family == Family::V6 && authenticated {
        return false;
    }
    let bytes = headers.transport(packet);
    if headers.is_later_fragment() {
        // `-m tcp` drops what could be the second half of a TCP header.
        return headers.fragment_offset > 8 && !(headers.family == Family::V6 && is_extension(headers.protocol));
    }
    match headers.protocol {
        number::TCP => {
            let length = bytes.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
            let opens = headers.tcp_flags.0 & (TcpFlags::SYN | TcpFlags::RST) == TcpFlags::SYN;
            (20..=bytes.len()).contains(&length) && (!opens || has_mss(&bytes[20..length]))
        }
        number::SCTP => headers.l4_whole && are_whole_chunks(&bytes[12..]),
        number::UDP | number::UDPLITE | number::DCCP | number::ICMP | number::ICMPV6 | number::GRE => headers.l4_whole,
        // A chain of IPv6 headers that ends too soon.
        protocol if headers.family == Family::V6 && is_extension(protocol) => false,
        // Nothing follows a mobility header.
        MOBILITY => bytes.first() == Some(&NO_NEXT_HEADER),
        // Security headers with their index, IPComp.
        _ => bytes.len() >= 12,
    }
}

/// A sum of zero in IPv4's header is all ones after nft changed a field of it (`nft_csum_replace`), which is as right.
pub(super) fn settle_sum(packet: &mut [u8]) {
    if packet.first().is_some_and(|first| first >> 4 == 4)
        && let Some(sum @ [0xff, 0xff]) = packet.get_mut(10..12)
    {
        sum.fill(0);
    }
}

fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        number::HOP_BY_HOP | number::ROUTING | number::DESTINATION | number::FRAGMENT
    )
}

/// Whether SCTP's chunks have lengths that lead from one to the next.
fn are_whole_chunks(mut chunks: &[u8]) -> bool {
    while !chunks.is_empty() {
        let length = chunks
            .get(2..4)
            .map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        if length < 4 {
            return false;
        }
        chunks = chunks.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    true
}

/// Whether TCP's options have the maximum segment size, and none ends beyond the header.
fn has_mss(mut options: &[u8]) -> bool {
    let mut found = false;
    while let Some(kind) = options.first() {
        let length = match kind {
            0 | 1 => 1,
            _ => usize::from(options.get(1).copied().unwrap_or(0)),
        };
        found |= (*kind, length) == (MSS, 4);
        match options.get(length..) {
            Some(rest) if length > 0 => options = rest,
            _ => return false,
        }
    }
    found
}

/// Reads the counter that each rule has. nft keeps none for policies.
pub(super) fn counters(netlink: &mut Nfnetlink) -> Result<Vec<Counter>, Error> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        let mut next: BTreeMap<(String, String), usize> = BTreeMap::new();
        netlink.rules(if v6 { IPV6 } else { IPV4 }, |message| {
            let Some(CountedRule {
                table,
                chain,
                packets,
                bytes,
                ..
            }) = CountedRule::read(message)
            else {
                return;
            };
            let index = next.entry((table.clone(), chain.clone())).or_default();
            all.push(Counter {
                v6,
                table,
                chain,
                rule: Some(*index),
                packets,
                bytes,
            });
            *index += 1;
        })?;
    }
    all.sort();
    Ok(all)
}
