//! `-j DSCP`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::dscp::Dscp;
use fielato_wire::Family;

use crate::extensions::matches::dscp::class;
use crate::extensions::words::{self, Options};

/// The user side of `-j DSCP`.
pub struct DscpSyntax;

impl TargetSyntax for DscpSyntax {
    fn name(&self) -> &'static str {
        "DSCP"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("set-dscp"), OptionSpec::one("set-dscp-class")] }
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "DSCP target",
            &[
                ("--set-dscp value", "code point, 0 to 63"),
                ("--set-dscp-class class", "code point by class: EF, BE, CSx or AFxx"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("DSCP", given);
        options.exclusive(&["set-dscp", "set-dscp-class"])?;
        let dscp = match (options.number("set-dscp", 0, 63)?, options.text("set-dscp-class")) {
            (Some(dscp), _) => dscp as u8,
            (None, Some(name)) => class(name)?,
            (None, None) => return Err(SyntaxError::new("DSCP target: Parameter --set-dscp is required")),
        };
        Ok(Target::Dscp(Dscp { dscp }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Dscp(t) => format!(" --set-dscp 0x{:02x}", t.dscp),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Dscp(t) => format!(" DSCP set 0x{:02x}", t.dscp),
            _ => String::new(),
        }
    }
}
