//! `-j CLASSIFY`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::classify::Classify;

use crate::extensions::words::{self, Options};

/// The user side of `-j CLASSIFY`.
pub struct ClassifySyntax;

impl TargetSyntax for ClassifySyntax {
    fn name(&self) -> &'static str {
        "CLASSIFY"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("set-class")] }
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "CLASSIFY target",
            &[("--set-class MAJOR:MINOR", "class of the packet, both hexadecimal")],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let text = Options::new("CLASSIFY", given).required("set-class")?;
        let priority = class(text).ok_or_else(|| SyntaxError::new(format!("Bad class value \"{text}\"")))?;
        Ok(Target::Classify(Classify { priority }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Classify(t) => format!(" --set-class {:04x}:{:04x}", t.priority >> 16, t.priority & 0xffff),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Classify(t) => format!(" CLASSIFY set {:x}:{:x}", t.priority >> 16, t.priority & 0xffff),
            _ => String::new(),
        }
    }
}

/// Two hexadecimal numbers; each keeps its low 16 bits, as tc's handles do.
fn class(text: &str) -> Option<u32> {
    let hex = |text: &str| {
        let digits = text.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).ok().map(|number| number as u32)
    };
    let (major, minor) = text.split_once(':')?;
    Some(hex(major)? << 16 | hex(minor)? & 0xffff)
}
