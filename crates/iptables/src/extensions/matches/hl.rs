//! `-m hl`.

use fielato_netfilter::matches::Comparison;
use fielato_netfilter::matches::hl::Hl;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m hl`.
#[derive(Debug)]
pub struct HlSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("hl-lt"),
    OptionSpec::one("hl-gt"),
    OptionSpec::one("hl-eq").negatable(),
    OptionSpec::one("hl").negatable().alias_of("hl-eq"),
];

impl MatchSyntax for HlSyntax {
    fn name(&self) -> &'static str {
        "hl"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "hl match options:\n\
         [!] --hl-eq value   the hop-limit is value\n\
         \x20 --hl-lt value     it is below value\n\
         \x20 --hl-gt value     it is above value\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        values::exclusive("hl", given, "hl-lt", "hl-gt")?;
        values::exclusive("hl", given, "hl-lt", "hl-eq")?;
        values::exclusive("hl", given, "hl-gt", "hl-eq")?;
        let [option] = given else {
            return Err(SyntaxError::new(
                "HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'",
            ));
        };
        Ok(Match::Hl(Hl {
            comparison: match (option.option, option.negated) {
                ("hl-lt", _) => Comparison::Less,
                ("hl-gt", _) => Comparison::Greater,
                (_, false) => Comparison::Equal,
                (_, true) => Comparison::NotEqual,
            },
            value: values::integer("hl", option, 0, 255)? as u8,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Hl(m) = m else {
            return String::new();
        };
        let option = match m.comparison {
            Comparison::Equal => "--hl-eq",
            Comparison::NotEqual => "! --hl-eq",
            Comparison::Less => "--hl-lt",
            Comparison::Greater => "--hl-gt",
        };
        format!(" {option} {}", m.value)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Hl(m) = m else {
            return String::new();
        };
        let sign = match m.comparison {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::Greater => ">",
        };
        format!(" HL match HL {sign} {}", m.value)
    }
}
