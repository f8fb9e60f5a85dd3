//! `-j TCPMSS`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::tcpmss::Tcpmss;

use crate::extensions::words::{self, Options};

/// The user side of `-j TCPMSS`.
pub struct TcpmssSyntax;

/// Length of an IP header without options.
const fn header(family: Family) -> u16 {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

impl TargetSyntax for TcpmssSyntax {
    fn name(&self) -> &'static str {
        "TCPMSS"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("set-mss"), OptionSpec::flag("clamp-mss-to-pmtu")] }
    }

    fn help(&self, family: Family) -> String {
        let clamp = format!("no more than the path's MTU less {}", header(family));
        words::help(
            "TCPMSS target",
            &[
                ("--set-mss value", "lower the maximum segment size to this"),
                ("--clamp-mss-to-pmtu", &clamp),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("TCPMSS", given);
        if options.has("clamp-mss-to-pmtu") {
            return Ok(Target::Tcpmss(Tcpmss::Clamp));
        }
        match options.number("set-mss", 0, u64::from(u16::MAX - header(cx.family)))? {
            Some(mss) => Ok(Target::Tcpmss(Tcpmss::Set(mss as u16))),
            None => Err(SyntaxError::new("TCPMSS target: At least one parameter is required")),
        }
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Tcpmss(Tcpmss::Clamp) => " --clamp-mss-to-pmtu".to_owned(),
            Target::Tcpmss(Tcpmss::Set(mss)) => format!(" --set-mss {mss}"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Tcpmss(Tcpmss::Clamp) => " TCPMSS clamp to PMTU".to_owned(),
            Target::Tcpmss(Tcpmss::Set(mss)) => format!(" TCPMSS set {mss}"),
            _ => String::new(),
        }
    }
}
