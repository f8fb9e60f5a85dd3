//! `-m ipv6header`.

use fielato_netfilter::matches::ipv6header::Ipv6Header;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, Names, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::{Family, number};

use crate::extensions::values;

/// `-m ipv6header`.
#[derive(Debug)]
pub struct Ipv6HeaderSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("header").negatable(), OptionSpec::flag("soft")];

/// The number that stands for anything but an extension header.
const PROTOCOL: u8 = 255;

/// Names that iptables knows by itself.
const NAMES: [(&str, u8); 10] = [
    ("hop-by-hop", number::HOP_BY_HOP),
    ("protocol", PROTOCOL),
    ("hop", number::HOP_BY_HOP),
    ("dst", number::DESTINATION),
    ("route", number::ROUTING),
    ("frag", number::FRAGMENT),
    ("auth", number::AH),
    ("esp", number::ESP),
    ("none", number::NO_NEXT),
    ("prot", PROTOCOL),
];

/// In the order in which they are printed.
const HEADERS: [(u8, u8); 8] = [
    (number::HOP_BY_HOP, Ipv6Header::HOP_BY_HOP),
    (number::DESTINATION, Ipv6Header::DESTINATION),
    (number::ROUTING, Ipv6Header::ROUTING),
    (number::FRAGMENT, Ipv6Header::FRAGMENT),
    (number::AH, Ipv6Header::AH),
    (number::ESP, Ipv6Header::ESP),
    (number::NO_NEXT, Ipv6Header::NONE),
    (PROTOCOL, Ipv6Header::PROTOCOL),
];

impl MatchSyntax for Ipv6HeaderSyntax {
    fn name(&self) -> &'static str {
        "ipv6header"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "ipv6header match options:\n\
         [!] --header headers     the headers that are there, by name or number:\n\
         \x20                        hop,dst,route,frag,auth,esp,none,prot\n\
         \x20                        0,60,43,44,51,50,59\n\
         --soft                   others may be there too\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("ipv6header", given, "header")?;
        let headers = parse_headers(option.value(), cx.names)?;
        if headers == 0 {
            return Err(SyntaxError::new("ip6t_ipv6header: cannot parse header names"));
        }
        Ok(Match::Ipv6Header(Ipv6Header {
            headers,
            negated: option.negated,
            soft: values::find(given, "soft").is_some(),
        }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Ipv6Header(m) = m else {
            return String::new();
        };
        let headers = show_headers(m.headers, cx.names);
        format!(
            "{} --header {headers}{}",
            values::not(m.negated),
            if m.soft { " --soft" } else { "" }
        )
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Ipv6Header(m) = m else {
            return String::new();
        };
        let headers = match cx.numeric {
            true => format!("0x{:02X}", m.headers),
            false => show_headers(m.headers, cx.names),
        };
        let inverted = if m.negated { "!" } else { "" };
        format!(" ipv6header flags:{inverted}{headers}{}", if m.soft { " soft" } else { "" })
    }
}

fn parse_headers(list: &str, names: &dyn Names) -> Result<u8, SyntaxError> {
    let mut bits = 0;
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let own = || NAMES.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
        let numbers = || {
            HEADERS
                .iter()
                .map(|(number, _)| *number)
                .find(|number| number.to_string() == word)
        };
        let unknown = || SyntaxError::new(format!("unknown header `{word}' specified"));
        let number = names.protocol(word).or_else(own).or_else(numbers).ok_or_else(unknown)?;
        let header = HEADERS.iter().find(|(known, _)| *known == number);
        let unfit = || SyntaxError::new(format!("unknown header `{number}' specified"));
        bits |= header.ok_or_else(unfit)?.1;
    }
    Ok(bits)
}

fn show_headers(bits: u8, names: &dyn Names) -> String {
    let name = |number: u8| {
        let own = || {
            NAMES
                .iter()
                .find(|(_, known)| *known == number)
                .map(|(name, _)| (*name).to_owned())
        };
        // Number 0 has another name in /etc/protocols.
        let listed = if number == 0 { None } else { names.protocol_name(number) };
        listed.or_else(own).unwrap_or_else(|| number.to_string())
    };
    let shown: Vec<_> = HEADERS
        .iter()
        .filter(|(_, bit)| bits & bit != 0)
        .map(|(number, _)| name(*number))
        .collect();
    shown.join(",")
}
