//! Matches: which words say them.

use fielato_netfilter::Match;
use fielato_netfilter::matches::Comparison;
use fielato_netfilter::matches::addrtype::{AddressTypes, Addrtype, LimitInterface};
use fielato_netfilter::matches::cgroup::Cgroup;
use fielato_netfilter::matches::devgroup::Devgroup;
use fielato_netfilter::matches::iprange::Iprange;
use fielato_netfilter::matches::limit::Limit;
use fielato_netfilter::matches::mac::Mac;
use fielato_netfilter::matches::owner::Owner;
use fielato_netfilter::matches::pkttype::Pkttype;
use fielato_netfilter::matches::policy::{Element, Policy};
use fielato_netfilter::matches::rpfilter::Rpfilter;
use fielato_netfilter::matches::statistic::{Statistic, StatisticMode};
use fielato_netfilter::packet::PacketType;
use fielato_wire::Family;

use super::words::{NEVER, equals, masked, not, quoted, span, ttl, within};
use super::{Reason, RuleContext, connection, family_name, header, port, time};

/// What a match is in nft; nothing for one that always holds.
pub(super) fn words(m: &Match, cx: &mut RuleContext<'_>) -> Result<String, Reason> {
    Ok(match m {
        Match::Addrtype(m) => return addrtype(m, cx),
        Match::Ah(m) => return header::ah(m, cx),
        Match::Cgroup(m) => return cgroup(m),
        Match::Comment(_) => String::new(),
        Match::Connbytes(m) => connection::connbytes(m),
        Match::Connlabel(m) => return connection::connlabel(m),
        Match::Connlimit(m) => return connection::connlimit(m, cx),
        Match::Connmark(m) => cx
            .no_template()
            .map(|()| masked("ct mark", m.0.mask, m.0.mark, m.0.negated))?,
        Match::Conntrack(m) => return connection::conntrack(m, cx),
        Match::Cpu(m) => format!("meta cpu {}{}", not(m.negated), m.number),
        Match::Dccp(m) => return port::dccp(m, cx),
        Match::Devgroup(m) => devgroup(m),
        Match::Dscp(m) => format!("{} dscp {}{:#x}", family_name(cx.family), not(m.negated), m.value),
        Match::Ecn(m) => header::ecn(m, cx),
        Match::Esp(m) => within("esp spi", &m.spi, u32::MAX),
        Match::Frag(m) => header::frag(m),
        Match::Helper(m) => return connection::helper(m),
        Match::Icmp(m) => header::icmp("icmp", m.icmp_type, &m.codes, m.negated, m.icmp_type == 255),
        Match::Icmp6(m) => header::icmp("icmpv6", m.icmp_type, &m.codes, m.negated, false),
        Match::Ipcomp(m) => within("comp cpi", &m.spi, u32::from(u16::MAX)),
        Match::Iprange(m) => iprange(m, cx),
        Match::Ipv6Options(m) => return header::options(m),
        Match::Length(m) => within("meta length", &m.range, u16::MAX),
        Match::Limit(m) => return limit(m),
        Match::Mac(m) => mac(m),
        Match::Mark(m) => masked("meta mark", m.mask, m.mark, m.negated),
        Match::Mh(m) => within("mh type", &m.kind, u8::MAX),
        Match::Multiport(m) => port::multiport(m, cx),
        Match::Owner(m) => return owner(m),
        Match::Pkttype(m) => pkttype(m),
        Match::Policy(m) => return policy(m),
        Match::Quota(m) => format!("quota {}{} bytes", if m.negated { "over " } else { "" }, m.bytes),
        Match::Realm(m) => masked("meta rtclassid", m.mask, m.value, m.negated),
        Match::Rpfilter(m) => return rpfilter(m),
        Match::Rt(m) => return header::rt(&m.0),
        Match::Sctp(m) => return port::sctp(m, cx),
        Match::Socket(m) => return socket(m.transparent, m.no_wildcard, m.restore_mark),
        Match::State(m) => return connection::state(&m.0),
        Match::Statistic(m) => statistic(m),
        Match::Tcp(m) => port::tcp(m, cx),
        Match::Tcpmss(m) if m.mss.negated => {
            return Err("it holds for packets without the option too, which nft passes over".to_owned());
        }
        Match::Tcpmss(m) => within("tcp option maxseg size", &m.mss, u16::MAX),
        Match::Time(m) => return time::time(&m.0),
        Match::Tos(m) => header::tos(m, cx),
        Match::Ttl(m) => compare(ttl(m.family), m.comparison, m.value),
        Match::Udp(m) => port::udp(m, cx),
        Match::Bpf(_)
        | Match::Cluster(_)
        | Match::Eui64(_)
        | Match::Hashlimit(_)
        | Match::Ipv6Header(_)
        | Match::Nfacct(_)
        | Match::Osf(_)
        | Match::Physdev(_)
        | Match::Rateest(_)
        | Match::Recent(_)
        | Match::Set(_)
        | Match::Srh(_)
        | Match::String(_)
        | Match::U32(_)
        | Match::Ext(_) => return Err(unknown(m).to_owned()),
    })
}

/// Why nft has nothing for it.
fn unknown(m: &Match) -> &'static str {
    match m {
        Match::Bpf(_) => "nft runs no BPF programs of a rule's own",
        Match::Cluster(_) => "nft hashes the connection itself where iptables hashes the one it belongs to",
        Match::Eui64(_) => "nft can't compare an address with the sender's MAC address",
        Match::Hashlimit(_) => "nft's meters refill and expire otherwise, and don't share a table by its name",
        Match::Ipv6Header(_) => "nft can't ask for a whole set of extension headers",
        Match::Nfacct(_) => "nft can't use nfacct's objects",
        Match::Osf(_) => "nft reads fingerprints of its own",
        Match::Physdev(_) => "nft's ip and ip6 tables don't know bridge ports",
        Match::Rateest(_) => "nft has no rate estimators",
        Match::Recent(_) => "nft has no lists of recent addresses with times and hits",
        Match::Set(_) => "nft can't use ipset's sets",
        Match::Srh(_) => "nft compares only few fields of a segment routing header",
        Match::String(_) => "nft can't search a payload",
        Match::U32(_) => "nft can't follow offsets that a packet holds",
        _ => "nft doesn't know it",
    }
}

fn compare(key: &str, comparison: Comparison, value: u8) -> String {
    let sign = match comparison {
        Comparison::Equal => "",
        Comparison::NotEqual => "!= ",
        Comparison::Less => "< ",
        Comparison::Greater => "> ",
    };
    match (comparison, value) {
        // nft refuses comparisons that can't hold.
        (Comparison::Less, 0) | (Comparison::Greater, u8::MAX) => NEVER.to_owned(),
        _ => format!("{key} {sign}{value}"),
    }
}

/// Kinds of addresses by their bits.
const ADDRESS_TYPES: [&str; 9] = [
    "unspec",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
];

fn addrtype(m: &Addrtype, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let interface = match m.limit {
        None => "",
        Some(LimitInterface::In) => " . iif",
        Some(LimitInterface::Out) => " . oif",
    };
    let mut words = Vec::new();
    for (side, types) in [("saddr", m.source), ("daddr", m.destination)] {
        if types.mask != 0 {
            words.push(address_types(&format!("fib {side}{interface} type"), types, cx)?);
        }
    }
    Ok(words.join(" "))
}

fn address_types(key: &str, types: AddressTypes, cx: &RuleContext<'_>) -> Result<String, Reason> {
    if u32::from(types.mask) >> ADDRESS_TYPES.len() != 0 {
        return Err("nft knows no THROW, NAT and XRESOLVE".to_owned());
    }
    let names = ADDRESS_TYPES.iter().enumerate().filter(|(bit, _)| types.mask >> bit & 1 != 0);
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    // iptables asks IPv6 addresses for all of the kinds that they tell themselves, nft for one (match_type6).
    if cx.family == Family::V6 && (names.len() > 1 || names.iter().any(|name| matches!(*name, "unicast" | "unspec"))) {
        return Err("nft's kinds of IPv6 addresses exclude each other, iptables' don't".to_owned());
    }
    Ok(format!("{key} {}", one_of(&names, types.negated)))
}

/// `a`, `!= a`, `{ a, b }`, `!= { a, b }`
fn one_of(names: &[&str], negated: bool) -> String {
    match names {
        [name] => format!("{}{name}", not(negated)),
        names => format!("{}{{ {} }}", not(negated), names.join(", ")),
    }
}

fn cgroup(m: &Cgroup) -> Result<String, Reason> {
    match (&m.path, m.by_path, m.by_class) {
        (_, true, true) => Err("nft can't ask for a class or a path in one rule".to_owned()),
        (path, true, false) => cgroup_path(path, m.negated),
        _ => Ok(format!("meta cgroup {}{}", not(m.negated), m.class)),
    }
}

fn cgroup_path(path: &str, negated: bool) -> Result<String, Reason> {
    if negated {
        return Err("it holds for packets without a socket too, which nft passes over".to_owned());
    }
    let path = path.trim_matches('/');
    let level = path.split('/').filter(|part| !part.is_empty()).count();
    if level == 0 {
        return Err("nft can't name the root group".to_owned());
    }
    Ok(format!("socket cgroupv2 level {level} {}", quoted(path)?))
}

fn devgroup(m: &Devgroup) -> String {
    let sides = [("meta iifgroup", &m.source), ("meta oifgroup", &m.destination)];
    let words = sides.iter().filter_map(|(key, group)| {
        group
            .as_ref()
            .map(|group| masked(key, group.mask, group.value, group.negated))
    });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn iprange(m: &Iprange, cx: &RuleContext<'_>) -> String {
    let family = family_name(cx.family);
    let sides = [("saddr", &m.ranges.source), ("daddr", &m.ranges.destination)];
    let words = sides.iter().filter_map(|(side, range)| {
        let range = range.as_ref()?;
        let (min, max) = (range.min, range.max);
        if min.to_bits() > max.to_bits() {
            return (!range.negated).then(|| NEVER.to_owned());
        }
        let (first, last) = (min.display(cx.family), max.display(cx.family));
        Some(match min == max {
            true => format!("{family} {side} {}{first}", not(range.negated)),
            false => format!("{family} {side} {}{first}-{last}", not(range.negated)),
        })
    });
    words.collect::<Vec<_>>().join(" ")
}

fn limit(m: &Limit) -> Result<String, Reason> {
    const UNITS: [(&str, u32); 4] = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];
    for (unit, seconds) in UNITS {
        let scale = Limit::SCALE.saturating_mul(seconds);
        let Some(rate) = scale.checked_div(m.interval).filter(|&rate| rate != 0) else {
            continue;
        };
        if scale / rate == m.interval {
            let burst = match m.burst {
                0 => return Err("nft lets at least one packet through at once".to_owned()),
                burst => format!(" burst {burst} packets"),
            };
            return Ok(format!("limit rate {rate}/{unit}{burst}"));
        }
    }
    Err("no rate of nft's has this interval".to_owned())
}

fn mac(m: &Mac) -> String {
    let bytes: Vec<String> = m.source.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ether saddr {}{}", not(m.negated), bytes.join(":"))
}

fn owner(m: &Owner) -> Result<String, Reason> {
    if m.supplementary {
        return Err("nft has no supplementary groups".to_owned());
    }
    if m.socket.is_some() {
        return Err("nft can't ask whether there is a socket".to_owned());
    }
    let sides = [("meta skuid", &m.uid), ("meta skgid", &m.gid)];
    let words = sides
        .iter()
        .filter_map(|(key, range)| range.as_ref().map(|range| within(key, range, u32::MAX)));
    Ok(words.collect::<Vec<_>>().join(" "))
}

fn pkttype(m: &Pkttype) -> String {
    let kind = match m.kind {
        Some(PacketType::Unicast) => "host",
        Some(PacketType::Broadcast) => "broadcast",
        Some(PacketType::Multicast) => "multicast",
        None => "other",
    };
    format!("meta pkttype {}{kind}", not(m.negated))
}

fn policy(m: &Policy) -> Result<String, Reason> {
    let asks = m.0.elements.iter().any(|element| *element != Element::default());
    if asks || m.0.strict {
        return Err("nft compares a state at a known place in the path, iptables looks for one".to_owned());
    }
    let key = if m.0.incoming { "meta secpath" } else { "rt ipsec" };
    Ok(format!("{key} {}", if m.0.none { "missing" } else { "exists" }))
}

fn rpfilter(m: &Rpfilter) -> Result<String, Reason> {
    if m.accept_local {
        return Err("nft's fib doesn't take local addresses for reachable".to_owned());
    }
    let mark = if m.valid_mark { " . mark" } else { "" };
    let interface = if m.loose { "" } else { " . iif" };
    Ok(format!("fib saddr{mark}{interface} oif {} 0", equals(!m.negated)))
}

fn socket(transparent: bool, no_wildcard: bool, restore_mark: bool) -> Result<String, Reason> {
    if restore_mark {
        return Err("nft can't give a packet its socket's mark in a condition".to_owned());
    }
    let mut words = Vec::new();
    if !no_wildcard {
        words.push("socket wildcard 0");
    }
    if transparent {
        words.push("socket transparent 1");
    }
    if words.is_empty() {
        return Err("nft can't ask whether there is a socket".to_owned());
    }
    Ok(words.join(" "))
}

fn statistic(m: &Statistic) -> String {
    match m.mode {
        StatisticMode::Nth { every, packet } => {
            format!("numgen inc mod {} {} {packet}", every.max(1), equals(m.negated))
        }
        // 31 bits are compared; a probability of one is one above them.
        StatisticMode::Random { probability } => match (probability, m.negated) {
            (0x8000_0000.., false) | (0, true) => String::new(),
            (0x8000_0000.., true) | (0, false) => NEVER.to_owned(),
            (probability, false) => format!("meta random & 0x7fffffff < {probability}"),
            (probability, true) => format!("meta random & 0x7fffffff >= {probability}"),
        },
    }
}

/// Ports and the like as the inside of a set.
pub(super) fn list(spans: &[(u16, u16)]) -> String {
    match spans {
        [(min, max)] => span(*min, *max),
        spans => {
            let spans: Vec<String> = spans.iter().map(|&(min, max)| span(min, max)).collect();
            format!("{{ {} }}", spans.join(", "))
        }
    }
}
