//! `-m frag`.

use fielato_netfilter::matches::frag::Frag;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m frag`.
#[derive(Debug)]
pub struct FragSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("fragid").negatable(),
    OptionSpec::one("fraglen").negatable(),
    OptionSpec::flag("fragres"),
    OptionSpec::flag("fragfirst"),
    OptionSpec::flag("fragmore"),
    OptionSpec::flag("fraglast"),
];

impl MatchSyntax for FragSyntax {
    fn name(&self) -> &'static str {
        "frag"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "frag match options:\n\
         [!] --fragid id[:id]      identification, or a range of them\n\
         [!] --fraglen length      taken, but not looked at by the kernel\n\
         \x20--fragres                the reserved fields are zero\n\
         \x20--fragfirst              the first fragment\n\
         \x20[--fragmore|--fraglast]  more fragments follow, or none\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        values::exclusive("frag", given, "fragmore", "fraglast")?;
        let mut m = Frag::default();
        for option in given {
            match option.option {
                "fragid" => m.id = values::range32("frag", option)?,
                "fraglen" => {
                    m.length = Some(values::integer("frag", option, 0, u32::MAX.into())? as u32);
                    m.length_negated = option.negated;
                }
                "fragres" => m.reserved = true,
                "fragfirst" => m.first = true,
                "fragmore" => m.more = Some(true),
                _ => m.more = Some(false),
            }
        }
        Ok(Match::Frag(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Frag(m) = m else {
            return String::new();
        };
        let mut text = values::save_ids("fragid", &m.id, cx.complete);
        if let Some(length) = m.length {
            text += &format!("{} --fraglen {length}", values::not(m.length_negated));
        }
        text + &show_flags(m, [" --fragres", " --fragfirst", " --fragmore", " --fraglast"])
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Frag(m) = m else {
            return String::new();
        };
        let mut text = format!(" frag {}", values::print_ids("id", &m.id));
        if let Some(length) = m.length {
            text += &format!(" length:{}{length}", if m.length_negated { "!" } else { "" });
        }
        text + &show_flags(m, [" reserved", " first", " more", " last"])
    }
}

fn show_flags(m: &Frag, names: [&str; 4]) -> String {
    let flags = [m.reserved, m.first, m.more == Some(true), m.more == Some(false)];
    flags
        .iter()
        .zip(names)
        .filter(|(set, _)| **set)
        .map(|(_, name)| name)
        .collect()
}
