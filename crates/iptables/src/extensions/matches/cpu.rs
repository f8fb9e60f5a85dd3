//! `-m cpu`.

use fielato_netfilter::matches::cpu::Cpu;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m cpu`.
#[derive(Debug)]
pub struct CpuSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("cpu").negatable()];

impl MatchSyntax for CpuSyntax {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "cpu match options:\n\
         [!] --cpu number   the processor at work\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("cpu", given, "cpu")?;
        Ok(Match::Cpu(Cpu {
            number: values::integer("cpu", option, 0, u32::MAX.into())? as u32,
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cpu(m) = m else {
            return String::new();
        };
        format!("{} --cpu {}", values::not(m.negated), m.number)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Cpu(m) = m else {
            return String::new();
        };
        format!(" cpu {}{}", if m.negated { "! " } else { "" }, m.number)
    }
}
