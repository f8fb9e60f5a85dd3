//! `-j AUDIT`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::audit::Audit;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j AUDIT`.
pub struct AuditSyntax;

const TYPES: [(&str, Audit); 3] = [("accept", Audit::Accept), ("drop", Audit::Drop), ("reject", Audit::Reject)];
const OPTIONS: &[OptionSpec] = &[OptionSpec::one("type")];

impl TargetSyntax for AuditSyntax {
    fn name(&self) -> &'static str {
        "AUDIT"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help("AUDIT target", &[("--type TYPE", "what is recorded: accept, drop or reject")])
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let text = Options::new("AUDIT", given).required("type")?;
        match TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, audit)) => Ok(Target::Audit(*audit)),
            None => Err(SyntaxError::new(format!("Bad action type value \"{text}\""))),
        }
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        format!(" --type {}", name(t))
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        format!(" AUDIT {}", name(t))
    }
}

fn name(t: &Target) -> &'static str {
    let this = |(_, audit): &&(&str, Audit)| matches!(t, Target::Audit(t) if t == audit);
    TYPES.iter().find(this).map_or("", |(name, _)| name)
}
