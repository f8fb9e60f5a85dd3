//! `-m tcpmss`.

use fielato_netfilter::matches::tcpmss::Tcpmss;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m tcpmss`.
#[derive(Debug)]
pub struct TcpmssSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("mss").negatable()];

impl MatchSyntax for TcpmssSyntax {
    fn name(&self) -> &'static str {
        "tcpmss"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "tcpmss match options:\n\
         [!] --mss value[:value]    the maximum segment size that a SYN announces, or a range of it\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mss = values::range16("tcpmss", values::required("tcpmss", given, "mss")?)?;
        if mss.min > mss.max {
            return Err(SyntaxError::new("tcpmss: invalid range given"));
        }
        Ok(Match::Tcpmss(Tcpmss { mss }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Tcpmss(m) => values::save_range("mss", &m.mss),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Tcpmss(m) = m else {
            return String::new();
        };
        let inverted = if m.mss.negated { "!" } else { "" };
        format!(" tcpmss match {inverted}{}", values::show_range(&m.mss))
    }
}
