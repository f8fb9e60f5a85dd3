//! `-m ttl` and `-m hl`.

use fielato_netfilter::matches::Comparison;
use fielato_netfilter::matches::ttl::Ttl;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m ttl`, or `-m hl` for IPv6.
#[derive(Debug)]
pub struct TtlSyntax(pub Family);

const TTL: [OptionSpec; 4] = options("ttl-lt", "ttl-gt", "ttl-eq", "ttl");
const HL: [OptionSpec; 4] = options("hl-lt", "hl-gt", "hl-eq", "hl");

const fn options(lt: &'static str, gt: &'static str, eq: &'static str, short: &'static str) -> [OptionSpec; 4] {
    [
        OptionSpec::one(lt),
        OptionSpec::one(gt),
        OptionSpec::one(eq).negatable(),
        OptionSpec::one(short).negatable().alias_of(eq),
    ]
}

impl MatchSyntax for TtlSyntax {
    fn name(&self) -> &'static str {
        match self.0 {
            Family::V4 => "ttl",
            Family::V6 => "hl",
        }
    }

    fn families(&self) -> &'static [Family] {
        match self.0 {
            Family::V4 => &[Family::V4],
            Family::V6 => &[Family::V6],
        }
    }

    fn options(&self) -> &'static [OptionSpec] {
        match self.0 {
            Family::V4 => &TTL,
            Family::V6 => &HL,
        }
    }

    fn help(&self, _family: Family) -> String {
        let name = self.name();
        let what = match self.0 {
            Family::V4 => "time-to-live",
            Family::V6 => "hop-limit",
        };
        format!(
            "{name} match options:\n\
             [!] --{name}-eq value   the {what} is value\n\
             \x20 --{name}-lt value     it is below value\n\
             \x20 --{name}-gt value     it is above value\n"
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let name = self.name();
        let [lt, gt, eq] = ["lt", "gt", "eq"].map(|comparison| format!("{name}-{comparison}"));
        values::exclusive(name, given, &lt, &gt)?;
        values::exclusive(name, given, &lt, &eq)?;
        values::exclusive(name, given, &gt, &eq)?;
        let [option] = given else {
            // iptables leaves the last quotation open for `ttl`.
            let (title, end) = match self.0 {
                Family::V4 => ("TTL", ""),
                Family::V6 => ("HL", "'"),
            };
            return Err(SyntaxError::new(format!(
                "{title} match: You must specify one of `--{eq}', `--{lt}', `--{gt}{end}"
            )));
        };
        Ok(Match::Ttl(Ttl {
            family: self.0,
            comparison: match option.negated {
                _ if option.option == lt => Comparison::Less,
                _ if option.option == gt => Comparison::Greater,
                false => Comparison::Equal,
                true => Comparison::NotEqual,
            },
            value: values::integer(name, option, 0, 255)? as u8,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ttl(m) = m else {
            return String::new();
        };
        let (not, comparison) = match m.comparison {
            Comparison::Equal => ("", "eq"),
            Comparison::NotEqual => (" !", "eq"),
            Comparison::Less => ("", "lt"),
            Comparison::Greater => ("", "gt"),
        };
        format!("{not} --{}-{comparison} {}", self.name(), m.value)
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
        let title = self.name().to_uppercase();
        format!(" {title} match {title} {sign} {}", m.value)
    }
}
