//! `-m addrtype`.

use fielato_netfilter::matches::addrtype::{AddressTypes, Addrtype, LimitInterface};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m addrtype`.
#[derive(Debug)]
pub struct AddrtypeSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("src-type").negatable(),
    OptionSpec::one("dst-type").negatable(),
    OptionSpec::flag("limit-iface-in"),
    OptionSpec::flag("limit-iface-out"),
];

/// By the kernel's number.
const NAMES: [&str; 12] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];

impl MatchSyntax for AddrtypeSyntax {
    fn name(&self) -> &'static str {
        "addrtype"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        values::list(
            "Address type match options:\n\
             \x20[!] --src-type type[,...]      the source is of one of these types\n\
             \x20[!] --dst-type type[,...]      the destination is of one of these types\n\
             \x20    --limit-iface-in           as seen from the interface the packet came in by\n\
             \x20    --limit-iface-out          as seen from the interface it goes out by\n\
             \n\
             Valid types:",
            NAMES.iter().map(|name| format!("                                {name}")),
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Addrtype::default();
        for option in given {
            match option.option {
                "src-type" => m.source = parse_types(option)?,
                "dst-type" => m.destination = parse_types(option)?,
                "limit-iface-in" => m.limit = Some(LimitInterface::In),
                _ => m.limit = Some(LimitInterface::Out),
            }
        }
        if m.source.mask | m.destination.mask == 0 {
            return Err(SyntaxError::new("addrtype: you must specify --src-type or --dst-type"));
        }
        values::exclusive("addrtype", given, "limit-iface-in", "limit-iface-out")?;
        Ok(Match::Addrtype(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Addrtype(m) = m else {
            return String::new();
        };
        let types = |option, types: &AddressTypes| match types.mask {
            0 => String::new(),
            _ => format!("{} --{option} {}", values::not(types.negated), show_types(types)),
        };
        let mut text = types("src-type", &m.source) + &types("dst-type", &m.destination);
        text += match m.limit {
            None => "",
            Some(LimitInterface::In) => " --limit-iface-in",
            Some(LimitInterface::Out) => " --limit-iface-out",
        };
        text
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Addrtype(m) = m else {
            return String::new();
        };
        let types = |label, types: &AddressTypes| match types.mask {
            0 => String::new(),
            _ => format!(" {label} {}{}", if types.negated { "!" } else { "" }, show_types(types)),
        };
        let mut text = " ADDRTYPE match".to_owned() + &types("src-type", &m.source) + &types("dst-type", &m.destination);
        text += match m.limit {
            None => "",
            Some(LimitInterface::In) => " limit-in",
            Some(LimitInterface::Out) => " limit-out",
        };
        text
    }
}

/// A list of types, each by the start of its name.
fn parse_types(option: &Given) -> Result<AddressTypes, SyntaxError> {
    let mut mask = 0;
    for word in option.value().split(',') {
        let begins = |name: &&str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let number = NAMES.iter().position(|name| !word.is_empty() && begins(name));
        mask |= 1 << number.ok_or_else(|| SyntaxError::new(format!("addrtype: bad type \"{word}\"")))?;
    }
    let negated = option.negated;
    Ok(AddressTypes { mask, negated })
}

fn show_types(types: &AddressTypes) -> String {
    let names: Vec<_> = NAMES
        .iter()
        .enumerate()
        .filter(|(number, _)| types.mask & 1 << number != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(",")
}
