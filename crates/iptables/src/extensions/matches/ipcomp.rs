//! `-m ipcomp`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::ipcomp::Ipcomp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m ipcomp`.
#[derive(Debug)]
pub struct IpcompSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("ipcompspi").negatable(), OptionSpec::flag("compres")];

impl MatchSyntax for IpcompSyntax {
    fn name(&self) -> &'static str {
        "ipcomp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "comp match options:\n\
         [!] --ipcompspi spi[:spi]    compression parameter index, or a range of them\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        // Without --ipcompspi, index 0 is asked for.
        let mut m = Ipcomp {
            spi: Range::one(0),
            reserved: false,
        };
        for option in given {
            match option.option {
                "ipcompspi" => m.spi = values::range32("ipcomp", option)?,
                _ => m.reserved = true,
            }
        }
        Ok(Match::Ipcomp(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Ipcomp(m) = m else {
            return String::new();
        };
        values::save_ids("ipcompspi", &m.spi, cx.complete) + if m.reserved { " --compres" } else { "" }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ipcomp(m) = m else {
            return String::new();
        };
        let reserved = if m.reserved { " reserved" } else { "" };
        format!(" comp {}{reserved}", values::print_ids("spi", &m.spi))
    }
}
