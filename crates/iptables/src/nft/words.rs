//! nft's words: names, quotes, comparisons.

use fielato_netfilter::matches::Range;
use fielato_wire::Family;

use super::Reason;

/// Holds for no packet: no interface can have this name.
pub(super) const NEVER: &str = "iifname \"INVAL/D\"";

/// `"text"`; nft has no escapes, and takes `$` for the start of a variable.
pub(super) fn quoted(text: &str) -> Result<String, Reason> {
    match text.chars().find(|&c| matches!(c, '"' | '$') || c.is_control()) {
        Some(c) => Err(format!("nft can't quote {c:?}")),
        None => Ok(format!("\"{text}\"")),
    }
}

/// The header field of `ttl` and `hl`.
pub(super) const fn ttl(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip ttl",
        Family::V6 => "ip6 hoplimit",
    }
}

/// `!= ` or nothing.
pub(super) const fn not(negated: bool) -> &'static str {
    if negated { "!= " } else { "" }
}

/// `== ` or `!= `.
pub(super) const fn equals(negated: bool) -> &'static str {
    if negated { "!=" } else { "==" }
}

/// `7`, or `7-9`.
pub(super) fn span(min: impl Into<u64>, max: impl Into<u64>) -> String {
    match (min.into(), max.into()) {
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min}-{max}"),
    }
}

/// `KEY 7-9`, `KEY != 7-9`. `top` is the highest value there is. A range that holds for every value still asks that the header be
/// there, as nft reads it.
pub(super) fn within<T: Copy + Into<u64>>(key: &str, range: &Range<T>, top: T) -> String {
    let (min, max, top) = (range.min.into(), range.max.into(), top.into());
    if min > max {
        return if range.negated { String::new() } else { NEVER.to_owned() };
    }
    if range.negated && min == 0 && max == top {
        return NEVER.to_owned();
    }
    format!("{key} {}{}", not(range.negated), span(min, max))
}

/// `KEY & 0xff == 0x1`, without a mask of all ones.
pub(super) fn masked(key: &str, mask: u32, value: u32, negated: bool) -> String {
    if value & !mask != 0 {
        // Bits that the mask clears can't be set.
        return if negated { String::new() } else { NEVER.to_owned() };
    }
    match mask {
        u32::MAX => format!("{key} {}{value:#x}", not(negated)),
        0 if negated => NEVER.to_owned(),
        0 => String::new(),
        mask => format!("{key} & {mask:#x} {} {value:#x}", equals(negated)),
    }
}

/// `KEY set …` for a mark: bits cleared, then others flipped.
pub(super) fn set_mark(key: &str, from: &str, keep: u32, flip: u32) -> String {
    match (keep, flip) {
        (0, flip) => format!("{key} set {flip:#x}"),
        (u32::MAX, 0) => format!("{key} set {from}"),
        (u32::MAX, flip) => format!("{key} set {from} ^ {flip:#x}"),
        (keep, 0) => format!("{key} set {from} & {keep:#x}"),
        (keep, flip) => format!("{key} set {from} & {keep:#x} ^ {flip:#x}"),
    }
}

/// Whether a text that begins with a header field makes nft add this condition itself.
pub(super) fn implies(first: &str, protocol: &str) -> bool {
    let Some(name) = protocol.strip_prefix("meta l4proto ") else {
        return false;
    };
    let header = match name {
        "ipv6-icmp" => "icmpv6",
        name => name,
    };
    let word = first.split(' ').next().unwrap_or("");
    // A first word that is the header's own name; `th` and conditions on other things add nothing.
    word == header
        && matches!(
            word,
            "tcp" | "udp" | "sctp" | "dccp" | "udplite" | "icmp" | "icmpv6" | "esp" | "ah" | "comp"
        )
}

/// A name as nft can read it: itself where it can. Else with what nft can't read written as its number in hexadecimal, so that
/// two names stay two.
pub(super) fn identifier(name: &str) -> String {
    let fits = |at: usize, byte: u8| match at {
        0 => byte.is_ascii_alphabetic() || byte == b'_',
        _ => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'),
    };
    let reserved = KEYWORDS.binary_search(&name).is_ok();
    let mangled = name.starts_with(MANGLED);
    if !name.is_empty() && !reserved && !mangled && name.bytes().enumerate().all(|(at, byte)| fits(at, byte)) {
        return name.to_owned();
    }
    let mut text = MANGLED.to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            text.push(byte.into());
        } else {
            text += &format!("_{byte:02x}");
        }
    }
    text
}

const MANGLED: &str = "xt.";

/// Words that nft reads as its own where a name may stand (1.0.6), in order.
const KEYWORDS: &[&str] = &[
    "accept",
    "add",
    "addrtype",
    "adtcp",
    "ah",
    "all",
    "allmulti",
    "and",
    "arp",
    "at",
    "auth",
    "auto-merge",
    "bytes",
    "cgroup",
    "cgroupv2",
    "chain",
    "chains",
    "charset",
    "checksum",
    "code",
    "comment",
    "comp",
    "constant",
    "continue",
    "counter",
    "counters",
    "cpi",
    "cpu",
    "create",
    "ct",
    "daddr",
    "day",
    "dccp",
    "define",
    "delete",
    "describe",
    "destroy",
    "device",
    "devices",
    "dnat",
    "dport",
    "drop",
    "dscp",
    "dst",
    "dup",
    "dynamic",
    "ecn",
    "element",
    "elements",
    "eq",
    "esp",
    "ether",
    "exists",
    "exp",
    "expectation",
    "expiration",
    "export",
    "exthdr",
    "fib",
    "flags",
    "flow",
    "flowtable",
    "flowtables",
    "flush",
    "for",
    "frag",
    "frag-off",
    "fwd",
    "gateway",
    "ge",
    "goto",
    "gre",
    "group",
    "gt",
    "handle",
    "hash",
    "hbh",
    "hdrlength",
    "helper",
    "helpers",
    "hook",
    "hop",
    "hop-limit",
    "hoplimit",
    "hour",
    "ibriport",
    "ibrname",
    "ibrvproto",
    "icmp",
    "icmpv6",
    "id",
    "igmp",
    "iif",
    "iifgroup",
    "iifname",
    "iiftype",
    "import",
    "include",
    "index",
    "insert",
    "interval",
    "ip",
    "ip6",
    "ipsec",
    "jhash",
    "jump",
    "l4proto",
    "last",
    "le",
    "length",
    "level",
    "limit",
    "limits",
    "list",
    "log",
    "lt",
    "map",
    "maps",
    "mark",
    "masquerade",
    "meta",
    "meter",
    "meters",
    "mh",
    "mod",
    "monitor",
    "mss",
    "ne",
    "netdev",
    "nexthdr",
    "nfproto",
    "nftrace",
    "not",
    "notrack",
    "num",
    "numgen",
    "obrname",
    "offset",
    "oif",
    "oifgroup",
    "oifname",
    "oiftype",
    "option",
    "options",
    "or",
    "original",
    "osf",
    "over",
    "packets",
    "performance",
    "persistent",
    "pkttype",
    "policy",
    "position",
    "prefix",
    "priority",
    "proto",
    "proto-dst",
    "proto-src",
    "protocol",
    "queue",
    "quota",
    "quotas",
    "random",
    "rate",
    "redefine",
    "redirect",
    "reject",
    "rename",
    "replace",
    "reply",
    "reset",
    "return",
    "rt",
    "rtclassid",
    "rule",
    "rules",
    "ruleset",
    "saddr",
    "sctp",
    "secmark",
    "secmarks",
    "secpath",
    "seq",
    "set",
    "sets",
    "size",
    "skgid",
    "skuid",
    "snaplen",
    "snat",
    "socket",
    "spi",
    "sport",
    "state",
    "status",
    "synproxy",
    "synproxys",
    "table",
    "tables",
    "tcp",
    "th",
    "time",
    "timeout",
    "timestamp",
    "to",
    "tproxy",
    "trace",
    "transparent",
    "ttl",
    "type",
    "typeof",
    "udp",
    "udplite",
    "undefine",
    "until",
    "update",
    "used",
    "vlan",
    "vmap",
    "wildcard",
    "window",
    "wscale",
    "xml",
    "xor",
    "xt",
    "zone",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_or_mangled() {
        assert!(KEYWORDS.is_sorted());
        for (name, expected) in [
            ("FORWARD", "FORWARD"),
            ("f2b-ssh", "f2b-ssh"),
            ("drop", "xt.drop"),
            ("zone", "xt.zone"),
            ("a b", "xt.a_20b"),
            ("xt.drop", "xt.xt_2edrop"),
            ("", "xt."),
        ] {
            assert_eq!(identifier(name), expected);
        }
    }

    #[test]
    fn what_always_holds_and_what_never_does() {
        assert_eq!(within("k", &Range::new(1u8, 5).not(), 255), "k != 1-5");
        assert_eq!(within("k", &Range::new(0u8, 255).not(), 255), NEVER);
        assert_eq!(within("k", &Range::new(5u8, 1), 255), NEVER);
        assert_eq!(masked("k", 0xf, 0x10, true), "");
        assert_eq!(masked("k", 0xf, 0x10, false), NEVER);
        assert_eq!(masked("k", 0, 0, false), "");
    }
}
