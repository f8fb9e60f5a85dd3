//! Names of ICMP and ICMPv6 types and codes, as iptables knows them.

use fielato_netfilter::matches::Range;
use fielato_netfilter::syntax::SyntaxError;

use crate::extensions::values;

/// A name, its type, its only code; `None` for every code.
type Named = (&'static str, u8, Option<u8>);

/// Types and codes of one protocol.
pub(super) struct Types {
    /// How messages call the protocol.
    pub protocol: &'static str,
    names: &'static [Named],
}

/// ICMP.
pub(super) const ICMP: Types = Types {
    protocol: "ICMP",
    names: &[
        ("any", 255, None),
        ("echo-reply", 0, None),
        ("pong", 0, None),
        ("destination-unreachable", 3, None),
        ("network-unreachable", 3, Some(0)),
        ("host-unreachable", 3, Some(1)),
        ("protocol-unreachable", 3, Some(2)),
        ("port-unreachable", 3, Some(3)),
        ("fragmentation-needed", 3, Some(4)),
        ("source-route-failed", 3, Some(5)),
        ("network-unknown", 3, Some(6)),
        ("host-unknown", 3, Some(7)),
        ("network-prohibited", 3, Some(9)),
        ("host-prohibited", 3, Some(10)),
        ("TOS-network-unreachable", 3, Some(11)),
        ("TOS-host-unreachable", 3, Some(12)),
        ("communication-prohibited", 3, Some(13)),
        ("host-precedence-violation", 3, Some(14)),
        ("precedence-cutoff", 3, Some(15)),
        ("source-quench", 4, None),
        ("redirect", 5, None),
        ("network-redirect", 5, Some(0)),
        ("host-redirect", 5, Some(1)),
        ("TOS-network-redirect", 5, Some(2)),
        ("TOS-host-redirect", 5, Some(3)),
        ("echo-request", 8, None),
        ("ping", 8, None),
        ("router-advertisement", 9, None),
        ("router-solicitation", 10, None),
        ("time-exceeded", 11, None),
        ("ttl-exceeded", 11, None),
        ("ttl-zero-during-transit", 11, Some(0)),
        ("ttl-zero-during-reassembly", 11, Some(1)),
        ("parameter-problem", 12, None),
        ("ip-header-bad", 12, Some(0)),
        ("required-option-missing", 12, Some(1)),
        ("timestamp-request", 13, None),
        ("timestamp-reply", 14, None),
        ("address-mask-request", 17, None),
        ("address-mask-reply", 18, None),
    ],
};

/// ICMPv6.
pub(super) const ICMPV6: Types = Types {
    protocol: "ICMPv6",
    names: &[
        ("destination-unreachable", 1, None),
        ("no-route", 1, Some(0)),
        ("communication-prohibited", 1, Some(1)),
        ("beyond-scope", 1, Some(2)),
        ("address-unreachable", 1, Some(3)),
        ("port-unreachable", 1, Some(4)),
        ("failed-policy", 1, Some(5)),
        ("reject-route", 1, Some(6)),
        ("packet-too-big", 2, None),
        ("time-exceeded", 3, None),
        ("ttl-exceeded", 3, None),
        ("ttl-zero-during-transit", 3, Some(0)),
        ("ttl-zero-during-reassembly", 3, Some(1)),
        ("parameter-problem", 4, None),
        ("bad-header", 4, Some(0)),
        ("unknown-header-type", 4, Some(1)),
        ("unknown-option", 4, Some(2)),
        ("echo-request", 128, None),
        ("ping", 128, None),
        ("echo-reply", 129, None),
        ("pong", 129, None),
        ("router-solicitation", 133, None),
        ("router-advertisement", 134, None),
        ("neighbour-solicitation", 135, None),
        ("neighbor-solicitation", 135, None),
        ("neighbour-advertisement", 136, None),
        ("neighbor-advertisement", 136, None),
        ("redirect", 137, None),
    ],
};

fn codes(code: Option<u8>) -> Range<u8> {
    code.map_or(Range::<u8>::ANY, Range::one)
}

impl Types {
    /// A name, the start of one, `TYPE` or `TYPE/CODE[:CODE]`.
    pub fn parse(&self, text: &str) -> Result<(u8, Range<u8>), SyntaxError> {
        let protocol = self.protocol;
        let begins = |name: &str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
        let mut named = self.names.iter().filter(|(name, ..)| begins(name));
        match (named.next(), named.next()) {
            (Some((one, ..)), Some((other, ..))) => {
                return Err(SyntaxError::new(format!(
                    "Ambiguous {protocol} type `{text}': `{one}' or `{other}'?"
                )));
            }
            (Some(&(_, icmp_type, code)), None) => return Ok((icmp_type, codes(code))),
            _ => {}
        }
        let unknown = |part| SyntaxError::new(format!("Unknown {protocol} {part} `{text}'"));
        let (types, rest) = leading_range(text).ok_or_else(|| unknown("type"))?;
        let (codes, rest) = match rest.strip_prefix('/') {
            Some(rest) => leading_range(rest).ok_or_else(|| unknown("code"))?,
            None => (Range::<u8>::ANY, rest),
        };
        if let Some(character) = rest.chars().next() {
            return Err(SyntaxError::new(format!("unknown character {character}")));
        }
        if types.min != types.max {
            return Err(SyntaxError::new(format!("{protocol} type range not supported")));
        }
        Ok((types.min, codes))
    }

    /// What `-L` prints, without the protocol's name.
    pub fn print(&self, icmp_type: u8, range: Range<u8>, negated: bool, numeric: bool) -> String {
        let wanted = |&&(_, named_type, code): &&Named| named_type == icmp_type && codes(code) == range;
        if !numeric && let Some((name, ..)) = self.names.iter().find(wanted) {
            return format!(" {}{name}", if negated { "!" } else { "" });
        }
        // iptables puts no space between its own name and "type".
        let mut text = format!("{}type {icmp_type}", values::not(negated));
        if range.min == range.max {
            text += &format!(" code {}", range.min);
        } else if range != Range::<u8>::ANY {
            text += &format!(" codes {}-{}", range.min, range.max);
        }
        text
    }

    /// The names, for help: codes are indented under their type, other names of the same stand in brackets.
    pub fn help(&self) -> String {
        let mut text = String::new();
        let mut last: Option<&Named> = None;
        for named in self.names {
            let (name, icmp_type, code) = named;
            text += &match last {
                Some((_, last_type, last_code)) if (last_type, last_code) == (icmp_type, code) => format!(" ({name})"),
                Some((_, last_type, _)) if last_type == icmp_type => format!("\n   {name}"),
                _ => format!("\n{name}"),
            };
            last = Some(named);
        }
        text + "\n"
    }
}

/// `/CODE` as `-S` prints it: of a range iptables names the first only, which is not `complete`.
pub fn save_codes(codes: Range<u8>, complete: bool) -> String {
    match complete && codes.min != codes.max {
        true => format!("/{}:{}", codes.min, codes.max),
        false => format!("/{}", codes.min),
    }
}

/// `NUMBER[:NUMBER]` and what follows.
fn leading_range(text: &str) -> Option<(Range<u8>, &str)> {
    let (min, rest) = values::leading_number(text, 255)?;
    let (max, rest) = match rest.strip_prefix(':') {
        Some(rest) => values::leading_number(rest, 255)?,
        None => (min, rest),
    };
    Some((Range::new(min as u8, max as u8), rest))
}
