//! `-j SNPT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::snpt::Snpt;
use fielato_wire::Family;

use super::npt;

use crate::extensions::words::{self, Options};

/// The user side of `-j SNPT`.
pub struct SnptSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("src-pfx"), OptionSpec::one("dst-pfx")];

impl TargetSyntax for SnptSyntax {
    fn name(&self) -> &'static str {
        "SNPT"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "SNPT target",
            &[
                ("--src-pfx prefix/length", "what is replaced"),
                ("--dst-pfx prefix/length", "what takes its place"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let prefixes = npt::parse(&Options::new("SNPT", given))?;
        Ok(Target::Snpt(Snpt(Box::new(prefixes))))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Snpt(t) => npt::show(&t.0, "--"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Snpt(t) => format!(" SNPT{}", npt::show(&t.0, "")),
            _ => String::new(),
        }
    }
}
