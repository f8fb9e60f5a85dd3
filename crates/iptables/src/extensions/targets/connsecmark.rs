//! `-j CONNSECMARK`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::connsecmark::Connsecmark;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j CONNSECMARK`.
pub struct ConnsecmarkSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::flag("save"), OptionSpec::flag("restore")];

impl TargetSyntax for ConnsecmarkSyntax {
    fn name(&self) -> &'static str {
        "CONNSECMARK"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "CONNSECMARK target",
            &[
                ("--save", "packet's security mark to connection"),
                ("--restore", "connection's security mark to packet"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("CONNSECMARK", given);
        options.exclusive(&["save", "restore"])?;
        match (options.has("save"), options.has("restore")) {
            (true, _) => Ok(Target::Connsecmark(Connsecmark::Save)),
            (_, true) => Ok(Target::Connsecmark(Connsecmark::Restore)),
            _ => Err(SyntaxError::new("CONNSECMARK target: parameter required")),
        }
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        format!(" --{}", name(t))
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        format!(" CONNSECMARK {}", name(t))
    }
}

const fn name(t: &Target) -> &'static str {
    match t {
        Target::Connsecmark(Connsecmark::Save) => "save",
        _ => "restore",
    }
}
