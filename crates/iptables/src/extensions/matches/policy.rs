//! `-m policy`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::matches::policy::{Element, Parameters, Policy};
use fielato_netfilter::rule::AddressMatch;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::{Family, number};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-m policy`.
pub struct PolicySyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("dir"),
    OptionSpec::one("pol"),
    OptionSpec::flag("strict"),
    OptionSpec::one("reqid").negatable().repeatable(),
    OptionSpec::one("spi").negatable().repeatable(),
    OptionSpec::one("tunnel-src").negatable().repeatable(),
    OptionSpec::one("tunnel-dst").negatable().repeatable(),
    OptionSpec::one("proto").negatable().repeatable(),
    OptionSpec::one("mode").negatable().repeatable(),
    OptionSpec::flag("next").repeatable(),
];

impl MatchSyntax for PolicySyntax {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "policy match",
            &[
                ("--dir in|out", "policy met when unwrapped, or to be used when wrapped"),
                ("--pol none|ipsec", "whether there is one"),
                ("--strict", "the elements are the whole policy"),
                ("[!] --reqid reqid", "of an element: its request id"),
                ("[!] --spi spi", "its SPI"),
                ("[!] --proto proto", "ah, esp or ipcomp"),
                ("[!] --mode mode", "transport or tunnel"),
                ("[!] --tunnel-src addr/mask", "the tunnel's source"),
                ("[!] --tunnel-dst addr/mask", "the tunnel's destination"),
                ("--next", "the next element begins"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("policy", given);
        options.needs("next", "strict")?;
        let incoming = match options.text("dir") {
            Some("in") => true,
            Some("out") => false,
            Some(other) => return Err(SyntaxError::new(format!("policy_match: invalid dir \"{other}\""))),
            None => {
                return Err(SyntaxError::new("policy match: neither --dir in nor --dir out specified"));
            }
        };
        let none = match options.text("pol") {
            Some("none") => true,
            Some("ipsec") | None => false,
            Some(other) => return Err(SyntaxError::new(format!("policy match: invalid policy \"{other}\""))),
        };
        let mut elements = vec![Element::default()];
        for given in given {
            if given.option == "next" {
                if elements.len() == Policy::MAX_ELEMENTS {
                    return Err(SyntaxError::new("policy match: maximum policy depth reached"));
                }
                elements.push(Element::default());
            } else if let Some(element) = elements.last_mut() {
                add(element, given, cx)?;
            }
        }
        let strict = options.has("strict");
        if none {
            if strict {
                return Err(SyntaxError::new("policy match: policy none but --strict given"));
            }
            elements.clear();
        }
        for (at, element) in elements.iter().enumerate() {
            if strict && *element == Element::default() {
                return Err(SyntaxError::new(format!(
                    "policy match: empty policy element {at}. --strict is in effect, but at least one of reqid, spi, \
                     tunnel-src, tunnel-dst, proto or mode is required."
                )));
            }
            let tunnel = element.tunnel.is_some_and(|(tunnel, negated)| tunnel != negated);
            let transport_or_unsaid = !tunnel;
            if (element.source.is_some() || element.destination.is_some()) && transport_or_unsaid {
                return Err(SyntaxError::new(
                    "policy match: --tunnel-src/--tunnel-dst is only valid in tunnel mode",
                ));
            }
        }
        Ok(Match::Policy(Policy(Box::new(Parameters {
            incoming,
            none,
            strict,
            elements,
        }))))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Policy(Policy(p)) = m else {
            return String::new();
        };
        let elements: Vec<_> = p.elements.iter().map(|element| show(element, "--", false, cx)).collect();
        flags(p, "--") + &elements.join(" --next")
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Policy(Policy(p)) = m else {
            return String::new();
        };
        let mut out = String::from(" policy match") + &flags(p, "");
        for (at, element) in p.elements.iter().enumerate() {
            if p.elements.len() > 1 {
                let _ = write!(out, " [{at}]");
            }
            out += &show(element, "", cx.numeric, cx);
        }
        out
    }
}

fn add(element: &mut Element, given: &Given, cx: &ParseContext<'_>) -> Result<(), SyntaxError> {
    let double = || Err(SyntaxError::new(format!("policy match: double --{} option", given.option)));
    let (text, negated) = (given.value(), given.negated);
    let long = || values::integer("policy", given, 0, u32::MAX.into()).map(|number| number as u32);
    let network = || values::address_mask("policy", given, cx).map(|m| (m.network, m.mask));
    let twice = match given.option {
        "reqid" => element.reqid.replace((long()?, negated)).is_some(),
        "spi" => element.spi.replace((long()?, negated)).is_some(),
        "tunnel-src" => element.source.replace((network()?, negated)).is_some(),
        "tunnel-dst" => element.destination.replace((network()?, negated)).is_some(),
        "proto" => {
            let protocol = values::number(text, 0, 255)
                .map(|number| number as u8)
                .or_else(|| cx.names.protocol(text));
            if !matches!(protocol, Some(number::AH | number::ESP | number::COMP)) {
                return Err(SyntaxError::new("policy match: protocol must be ah/esp/ipcomp"));
            }
            element.protocol.replace((protocol.unwrap_or(0), negated)).is_some()
        }
        "mode" => {
            let tunnel = match text {
                "transport" => false,
                "tunnel" => true,
                other => return Err(SyntaxError::new(format!("policy match: invalid mode \"{other}\""))),
            };
            element.tunnel.replace((tunnel, negated)).is_some()
        }
        _ => false,
    };
    if twice { double() } else { Ok(()) }
}

fn flags(p: &Parameters, dashes: &str) -> String {
    let direction = if p.incoming { "in" } else { "out" };
    let policy = if p.none { "none" } else { "ipsec" };
    let strict = if p.strict { format!(" {dashes}strict") } else { String::new() };
    format!(" {dashes}dir {direction} {dashes}pol {policy}{strict}")
}

fn show(element: &Element, dashes: &str, numeric: bool, cx: &PrintContext<'_>) -> String {
    let mut out = String::new();
    let mut part = |negated: bool, name: &str, value: String| {
        let _ = write!(out, "{} {dashes}{name} {value}", values::not(negated));
    };
    if let Some((reqid, negated)) = element.reqid {
        part(negated, "reqid", reqid.to_string());
    }
    if let Some((spi, negated)) = element.spi {
        part(negated, "spi", format!("0x{spi:x}"));
    }
    if let Some((protocol, negated)) = element.protocol {
        let name = if numeric { None } else { cx.names.protocol_name(protocol) };
        part(negated, "proto", name.unwrap_or_else(|| protocol.to_string()));
    }
    if let Some((tunnel, negated)) = element.tunnel {
        part(negated, "mode", if tunnel { "tunnel" } else { "transport" }.to_owned());
    }
    for (name, network) in [("tunnel-dst", element.destination), ("tunnel-src", element.source)] {
        if let Some(((network, mask), negated)) = network {
            let network = AddressMatch { network, mask, negated };
            part(
                negated,
                name,
                values::show_address_mask(&network, cx.family).trim_start().to_owned(),
            );
        }
    }
    out
}
