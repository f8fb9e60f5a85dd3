//! `-m rt`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::rt::{RoutingHeader, Rt, RtAddresses};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::{Addr, Family};

use crate::extensions::values;

/// `-m rt`.
#[derive(Debug)]
pub struct RtSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("rt-type").negatable(),
    OptionSpec::one("rt-segsleft").negatable(),
    OptionSpec::one("rt-len").negatable(),
    OptionSpec::flag("rt-0-res"),
    OptionSpec::one("rt-0-addrs"),
    OptionSpec::flag("rt-0-not-strict"),
];

impl MatchSyntax for RtSyntax {
    fn name(&self) -> &'static str {
        "rt"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "rt match options:\n\
         [!] --rt-type type             the header's type\n\
         [!] --rt-segsleft num[:num]    segments left, or a range of them\n\
         [!] --rt-len length            the header's length in bytes\n\
         \x20--rt-0-res                    the reserved field is zero (type 0)\n\
         \x20--rt-0-addrs ADDR[,ADDR...]   the addresses (type 0), at most 16\n\
         \x20--rt-0-not-strict             others may stand between them\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = RoutingHeader::default();
        for option in given {
            match option.option {
                "rt-type" => {
                    m.kind = Some(values::integer("rt", option, 0, u32::MAX.into())? as u32);
                    m.kind_negated = option.negated;
                }
                "rt-segsleft" => m.segments_left = values::range32("rt", option)?,
                "rt-len" => {
                    m.length = Some(values::integer("rt", option, 0, u32::MAX.into())? as u32);
                    m.length_negated = option.negated;
                }
                "rt-0-res" => {
                    needs_type_zero(&m, "rt-0-res")?;
                    m.reserved = true;
                }
                "rt-0-addrs" => {
                    needs_type_zero(&m, "rt-0-addrs")?;
                    let addresses = parse_addresses(option.value())?;
                    m.addresses = Some(RtAddresses { addresses, loose: false });
                }
                _ => match &mut m.addresses {
                    Some(addresses) => addresses.loose = true,
                    None => {
                        return Err(SyntaxError::new("`--rt-0-addr ...' required before `--rt-0-not-strict'"));
                    }
                },
            }
        }
        Ok(Match::Rt(Rt(Box::new(m))))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Rt(Rt(m)) = m else {
            return String::new();
        };
        let mut text = String::new();
        if let Some(kind) = m.kind {
            text += &format!("{} --rt-type {kind}", values::not(m.kind_negated));
        }
        text += &values::save_ids("rt-segsleft", &m.segments_left, cx.complete);
        if let Some(length) = m.length {
            text += &format!("{} --rt-len {length}", values::not(m.length_negated));
        }
        text + &show_type_zero(m, [" --rt-0-res", " --rt-0-addrs", " --rt-0-not-strict"])
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Rt(Rt(m)) = m else {
            return String::new();
        };
        let inverted = |negated| if negated { "!" } else { "" };
        let mut text = " rt".to_owned();
        if let Some(kind) = m.kind {
            text += &format!(" type:{}{kind}", inverted(m.kind_negated));
        }
        if m.segments_left != Range::<u32>::ANY {
            text += &format!(" {}", values::print_ids("segsleft", &m.segments_left));
        }
        if let Some(length) = m.length {
            text += &format!(" length:{}{length}", inverted(m.length_negated));
        }
        text + &show_type_zero(m, [" reserved", " 0-addrs", " 0-not-strict"])
    }
}

fn needs_type_zero(m: &RoutingHeader, option: &str) -> Result<(), SyntaxError> {
    if m.kind == Some(0) && !m.kind_negated {
        return Ok(());
    }
    Err(SyntaxError::new(format!("`--rt-type 0' required before `--{option}'")))
}

fn parse_addresses(list: &str) -> Result<Vec<Addr>, SyntaxError> {
    let words = list.split(',');
    let address = |word| values::address(word, Family::V6).ok_or_else(|| SyntaxError::new(format!("bad address: {word}")));
    let addresses = words.map(address).collect::<Result<Vec<_>, _>>()?;
    if addresses.len() > RtAddresses::MAX {
        return Err(SyntaxError::new("too many addresses specified"));
    }
    Ok(addresses)
}

fn show_type_zero(m: &RoutingHeader, [reserved, list, loose]: [&str; 3]) -> String {
    let mut text = String::from(if m.reserved { reserved } else { "" });
    if let Some(addresses) = &m.addresses {
        let shown: Vec<_> = addresses
            .addresses
            .iter()
            .map(|address| address.display(Family::V6).to_string())
            .collect();
        text += &format!("{list} {}", shown.join(","));
        text += if addresses.loose { loose } else { "" };
    }
    text
}
