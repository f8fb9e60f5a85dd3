//! `-m mark`.

use fielato_netfilter::matches::mark::Mark;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m mark`.
#[derive(Debug)]
pub struct MarkSyntax;

pub(super) const OPTIONS: &[OptionSpec] = &[OptionSpec::one("mark").negatable()];

impl MatchSyntax for MarkSyntax {
    fn name(&self) -> &'static str {
        "mark"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "mark match options:\n\
         [!] --mark value[/mask]    the packet's mark, under the mask, is value\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        parse("mark", given).map(Match::Mark)
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Mark(m) => save(m),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Mark(m) = m else {
            return String::new();
        };
        format!(
            " mark match{}{}",
            values::not(m.negated),
            values::show_value_mask(m.mark, m.mask)
        )
    }
}

/// `--mark` of `mark` and `connmark`.
pub(super) fn parse(extension: &str, given: &[Given]) -> Result<Mark, SyntaxError> {
    let option = values::required(extension, given, "mark")?;
    let (mark, mask) = values::value_mask(extension, option)?;
    Ok(Mark {
        mark,
        mask,
        negated: option.negated,
    })
}

/// `-S` of `mark` and `connmark`.
pub(super) fn save(m: &Mark) -> String {
    format!("{} --mark{}", values::not(m.negated), values::show_value_mask(m.mark, m.mask))
}
