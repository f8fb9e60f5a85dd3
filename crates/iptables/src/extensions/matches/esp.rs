//! `-m esp`.

use fielato_netfilter::matches::esp::Esp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m esp`.
#[derive(Debug)]
pub struct EspSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("espspi").negatable()];

impl MatchSyntax for EspSyntax {
    fn name(&self) -> &'static str {
        "esp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "esp match options:\n\
         [!] --espspi spi[:spi]    security parameters index, or a range of them\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Esp::default();
        for option in given {
            m.spi = values::range32("esp", option)?;
        }
        Ok(Match::Esp(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        match m {
            Match::Esp(m) => values::save_ids("espspi", &m.spi, cx.complete),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Esp(m) = m else {
            return String::new();
        };
        match values::print_ids("spi", &m.spi).as_str() {
            "" => " esp".to_owned(),
            spi => format!(" esp {spi}"),
        }
    }
}
