//! `-j SECMARK`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::secmark::Secmark;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-j SECMARK`.
pub struct SecmarkSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("selctx")];

impl TargetSyntax for SecmarkSyntax {
    fn name(&self) -> &'static str {
        "SECMARK"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help("SECMARK target", &[("--selctx value", "security context")])
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let context = Options::new("SECMARK", given).required("selctx")?;
        Ok(Target::Secmark(Secmark {
            context: words::cut(context, 255).into(),
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Secmark(t) => format!(" --selctx {}", bare(&t.context)),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Secmark(t) => format!(" SECMARK selctx {}", t.context),
            _ => String::new(),
        }
    }
}
