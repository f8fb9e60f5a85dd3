//! `-m icmp`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::icmp::Icmp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use super::icmp_types;
use crate::extensions::values;

/// `-m icmp`.
#[derive(Debug)]
pub struct IcmpSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("icmp-type").negatable()];

impl MatchSyntax for IcmpSyntax {
    fn name(&self) -> &'static str {
        "icmp"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        format!(
            "icmp match options:\n\
             [!] --icmp-type typename      type by name\n\
             [!] --icmp-type type[/code]   type and code by number\n\
             Valid ICMP Types:{}",
            icmp_types::ICMP.help()
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("icmp", given, "icmp-type")?;
        let (icmp_type, codes) = match icmp_types::ICMP.parse(option.value())? {
            // The kernel looks at no code then (`icmp_type_code_match`), and no save file names one.
            (Icmp::ANY, _) => (Icmp::ANY, Range::<u8>::ANY),
            named => named,
        };
        Ok(Match::Icmp(Icmp {
            icmp_type,
            codes,
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Icmp(m) = m else {
            return String::new();
        };
        if m.icmp_type == Icmp::ANY {
            return format!("{} --icmp-type any", values::not(m.negated));
        }
        let mut text = format!("{} --icmp-type {}", values::not(m.negated), m.icmp_type);
        if m.codes != Range::<u8>::ANY {
            text += &icmp_types::save_codes(m.codes, cx.complete);
        }
        text
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Icmp(m) = m else {
            return String::new();
        };
        " icmp".to_owned() + &icmp_types::ICMP.print(m.icmp_type, m.codes, m.negated, cx.numeric)
    }
}
