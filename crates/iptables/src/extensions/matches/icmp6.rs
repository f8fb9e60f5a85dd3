//! `-m icmp6`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::icmp6::Icmp6;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use super::icmp_types;
use crate::extensions::values;

/// `-m icmp6`.
#[derive(Debug)]
pub struct Icmp6Syntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("icmpv6-type").negatable()];

impl MatchSyntax for Icmp6Syntax {
    fn name(&self) -> &'static str {
        "icmp6"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        format!(
            "icmpv6 match options:\n\
             [!] --icmpv6-type typename      type by name\n\
             [!] --icmpv6-type type[/code]   type and code by number\n\
             Valid ICMPv6 Types:{}",
            icmp_types::ICMPV6.help()
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("icmp6", given, "icmpv6-type")?;
        let (icmp_type, codes) = icmp_types::ICMPV6.parse(option.value())?;
        Ok(Match::Icmp6(Icmp6 {
            icmp_type,
            codes,
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Icmp6(m) = m else {
            return String::new();
        };
        let mut text = format!("{} --icmpv6-type {}", values::not(m.negated), m.icmp_type);
        if m.codes != Range::<u8>::ANY {
            text += &icmp_types::save_codes(m.codes, cx.complete);
        }
        text
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Icmp6(m) = m else {
            return String::new();
        };
        " ipv6-icmp".to_owned() + &icmp_types::ICMPV6.print(m.icmp_type, m.codes, m.negated, cx.numeric)
    }
}
