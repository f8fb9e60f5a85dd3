//! `-j IDLETIMER`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::idletimer::Idletimer;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-j IDLETIMER`.
pub struct IdletimerSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("timeout"),
    OptionSpec::one("label"),
    OptionSpec::flag("alarm"),
];

impl TargetSyntax for IdletimerSyntax {
    fn name(&self) -> &'static str {
        "IDLETIMER"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "IDLETIMER target",
            &[
                ("--timeout time", "seconds without a packet until somebody is told"),
                ("--label string", "name of the timer"),
                ("--alarm", "a timer that wakes the machine"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("IDLETIMER", given);
        options.required("timeout")?;
        Ok(Target::Idletimer(Idletimer {
            timeout: options.number("timeout", 0, u32::MAX.into())?.unwrap_or(0) as u32,
            label: words::cut(options.required("label")?, Idletimer::MAX_LABEL).into(),
            alarm: options.has("alarm"),
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Idletimer(t) = t else {
            return String::new();
        };
        let alarm = if t.alarm { " --alarm" } else { "" };
        format!(" --timeout {} --label {}{alarm}", t.timeout, bare(&t.label))
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Idletimer(t) = t else {
            return String::new();
        };
        let alarm = if t.alarm { " alarm" } else { "" };
        format!(" timeout:{} label:{}{alarm}", t.timeout, t.label)
    }
}
