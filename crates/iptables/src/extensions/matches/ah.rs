//! `-m ah`: the index in IPv4, length and reserved field too in IPv6.

use fielato_netfilter::matches::ah::Ah;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m ah` of iptables.
#[derive(Debug)]
pub struct AhSyntax;

/// `-m ah` of ip6tables.
#[derive(Debug)]
pub struct Ah6Syntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("ahspi").negatable()];
const OPTIONS_V6: &[OptionSpec] = &[
    OptionSpec::one("ahspi").negatable(),
    OptionSpec::one("ahlen").negatable(),
    OptionSpec::flag("ahres"),
];

impl MatchSyntax for AhSyntax {
    fn name(&self) -> &'static str {
        "ah"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "ah match options:\n\
         [!] --ahspi spi[:spi]    security parameters index, or a range of them\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        parse(given)
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        save(m, cx.complete)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        print(m)
    }
}

impl MatchSyntax for Ah6Syntax {
    fn name(&self) -> &'static str {
        "ah"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS_V6
    }

    fn help(&self, _family: Family) -> String {
        "ah match options:\n\
         [!] --ahspi spi[:spi]    security parameters index, or a range of them\n\
         [!] --ahlen length       the header's length in bytes\n\
         \x20--ahres               the reserved field is zero\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        parse(given)
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        save(m, cx.complete)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        print(m)
    }
}

fn parse(given: &[Given]) -> Result<Match, SyntaxError> {
    let mut m = Ah::default();
    for option in given {
        match option.option {
            "ahspi" => m.spi = values::range32("ah", option)?,
            "ahlen" => {
                m.length = values::integer("ah", option, 0, u32::MAX.into())? as u32;
                m.length_negated = option.negated;
            }
            _ => m.reserved = true,
        }
    }
    Ok(Match::Ah(m))
}

fn save(m: &Match, complete: bool) -> String {
    let Match::Ah(m) = m else {
        return String::new();
    };
    let mut text = values::save_ids("ahspi", &m.spi, complete);
    if m.length != 0 || m.length_negated {
        text += &format!("{} --ahlen {}", values::not(m.length_negated), m.length);
    }
    text + if m.reserved { " --ahres" } else { "" }
}

fn print(m: &Match) -> String {
    let Match::Ah(m) = m else {
        return String::new();
    };
    let mut text = format!(" ah {}", values::print_ids("spi", &m.spi));
    if m.length != 0 || m.length_negated {
        text += &format!("length:{}{}", if m.length_negated { "!" } else { "" }, m.length);
    }
    text + if m.reserved { " reserved" } else { "" }
}
