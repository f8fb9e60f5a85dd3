//! `-m connlimit`.

use fielato_netfilter::matches::connlimit::Connlimit;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m connlimit`.
#[derive(Debug)]
pub struct ConnlimitSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("connlimit-upto").negatable(),
    OptionSpec::one("connlimit-above").negatable(),
    OptionSpec::one("connlimit-mask"),
    OptionSpec::flag("connlimit-saddr"),
    OptionSpec::flag("connlimit-daddr"),
];

impl MatchSyntax for ConnlimitSyntax {
    fn name(&self) -> &'static str {
        "connlimit"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "connlimit match options:\n\
         \x20 --connlimit-upto n     there are 0 to n connections\n\
         \x20 --connlimit-above n    there are more than n\n\
         \x20 --connlimit-mask n     prefix length under which hosts count as one, else one by one\n\
         \x20 --connlimit-saddr      count by source address\n\
         \x20 --connlimit-daddr      count by destination address\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        values::exclusive("connlimit", given, "connlimit-upto", "connlimit-above")?;
        values::exclusive("connlimit", given, "connlimit-saddr", "connlimit-daddr")?;
        let limit = values::find(given, "connlimit-upto").or_else(|| values::find(given, "connlimit-above"));
        let missing = "You must specify \"--connlimit-above\" or \"--connlimit-upto\".";
        let option = limit.ok_or_else(|| SyntaxError::new(missing))?;
        let prefix = match values::find(given, "connlimit-mask") {
            None => cx.family.bits(),
            Some(mask) => {
                let mask = values::prefix_mask("connlimit", mask, mask.value(), cx.family)?;
                mask.prefix_len(cx.family).unwrap_or(cx.family.bits())
            }
        };
        Ok(Match::Connlimit(Connlimit {
            limit: values::integer("connlimit", option, 0, u32::MAX.into())? as u32,
            prefix,
            by_destination: values::find(given, "connlimit-daddr").is_some(),
            up_to: (option.option == "connlimit-upto") != option.negated,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Connlimit(m) = m else {
            return String::new();
        };
        let how = if m.up_to { "upto" } else { "above" };
        let whose = if m.by_destination { "daddr" } else { "saddr" };
        format!(
            " --connlimit-{how} {} --connlimit-mask {} --connlimit-{whose}",
            m.limit, m.prefix
        )
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Connlimit(m) = m else {
            return String::new();
        };
        let how = if m.up_to { "<=" } else { ">" };
        let whose = if m.by_destination { "dst" } else { "src" };
        format!(" #conn {whose}/{} {how} {}", m.prefix, m.limit)
    }
}
