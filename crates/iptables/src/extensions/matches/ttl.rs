//! `-m ttl`.

use fielato_netfilter::matches::Comparison;
use fielato_netfilter::matches::ttl::Ttl;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m ttl`.
#[derive(Debug)]
pub struct TtlSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("ttl-lt"),
    OptionSpec::one("ttl-gt"),
    OptionSpec::one("ttl-eq").negatable(),
    OptionSpec::one("ttl").negatable().alias_of("ttl-eq"),
];

impl MatchSyntax for TtlSyntax {
    fn name(&self) -> &'static str {
        "ttl"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "ttl match options:\n\
         [!] --ttl-eq value   the time-to-live is value\n\
         \x20 --ttl-lt value     it is below value\n\
         \x20 --ttl-gt value     it is above value\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        values::exclusive("ttl", given, "ttl-lt", "ttl-gt")?;
        values::exclusive("ttl", given, "ttl-lt", "ttl-eq")?;
        values::exclusive("ttl", given, "ttl-gt", "ttl-eq")?;
        let [option] = given else {
            return Err(SyntaxError::new(
                "TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt",
            ));
        };
        Ok(Match::Ttl(Ttl {
            comparison: match (option.option, option.negated) {
                ("ttl-lt", _) => Comparison::Less,
                ("ttl-gt", _) => Comparison::Greater,
                (_, false) => Comparison::Equal,
                (_, true) => Comparison::NotEqual,
            },
            value: values::integer("ttl", option, 0, 255)? as u8,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ttl(m) = m else {
            return String::new();
        };
        let option = match m.comparison {
            Comparison::Equal => "--ttl-eq",
            Comparison::NotEqual => "! --ttl-eq",
            Comparison::Less => "--ttl-lt",
            Comparison::Greater => "--ttl-gt",
        };
        format!(" {option} {}", m.value)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ttl(m) = m else {
            return String::new();
        };
        let sign = match m.comparison {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::Greater => ">",
        };
        format!(" TTL match TTL {sign} {}", m.value)
    }
}
