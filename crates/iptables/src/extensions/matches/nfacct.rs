//! `-m nfacct`.

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::nfacct::Nfacct;

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-m nfacct`.
pub struct NfacctSyntax;

impl MatchSyntax for NfacctSyntax {
    fn name(&self) -> &'static str {
        "nfacct"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("nfacct-name")] }
    }

    fn help(&self, _family: Family) -> String {
        words::help("nfacct match", &[("--nfacct-name STRING", "accounting object that counts")])
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let text = Options::new("nfacct", given).required("nfacct-name")?;
        if text.is_empty() {
            return Err(SyntaxError::new("Argument must have a minimum length of 1 characters"));
        }
        if text.contains('\n') {
            return Err(SyntaxError::new("Newlines not allowed in --nfacct-name"));
        }
        let name = words::cut(text, Nfacct::MAX_NAME);
        if !cx.names.has_nfacct(name) {
            return Err(SyntaxError::new(format!("nfacct: there is no accounting object \"{name}\"")));
        }
        Ok(Match::Nfacct(Nfacct { name: name.into() }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            // Two spaces: iptables writes one, and the quoting another.
            Match::Nfacct(m) => format!(" --nfacct-name {}", values::save_string(&m.name)),
            _ => String::new(),
        }
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        match m {
            Match::Nfacct(m) => format!(" nfacct-name {}", values::save_string(&m.name)),
            _ => String::new(),
        }
    }
}
