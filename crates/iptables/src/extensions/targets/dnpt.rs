//! `-j DNPT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::dnpt::Dnpt;
use fielato_wire::Family;

use super::npt;

use crate::extensions::words::{self, Options};

/// The user side of `-j DNPT`.
pub struct DnptSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("src-pfx"), OptionSpec::one("dst-pfx")];

impl TargetSyntax for DnptSyntax {
    fn name(&self) -> &'static str {
        "DNPT"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "DNPT target",
            &[
                ("--src-pfx prefix/length", "what is replaced"),
                ("--dst-pfx prefix/length", "what takes its place"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let prefixes = npt::parse(&Options::new("DNPT", given))?;
        Ok(Target::Dnpt(Dnpt(Box::new(prefixes))))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Dnpt(t) => npt::show(&t.0, "--"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Dnpt(t) => format!(" DNPT{}", npt::show(&t.0, "")),
            _ => String::new(),
        }
    }
}
