//! `-j TTL`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::ttl::Change;
use fielato_netfilter::targets::ttl::Ttl;

use crate::extensions::words::{self, Options};

/// The user side of `-j TTL`.
pub struct TtlSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("ttl-set"),
    OptionSpec::one("ttl-dec"),
    OptionSpec::one("ttl-inc"),
];

impl TargetSyntax for TtlSyntax {
    fn name(&self) -> &'static str {
        "TTL"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V4]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "TTL target",
            &[
                ("--ttl-set value", "set the time to live, 0 to 255"),
                ("--ttl-dec value", "lower it, by 1 to 255"),
                ("--ttl-inc value", "raise it, by 1 to 255"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("TTL", given);
        options.exclusive(&["ttl-set", "ttl-dec", "ttl-inc"])?;
        let change = if let Some(to) = options.number("ttl-set", 0, 255)? {
            Change::Set(to as u8)
        } else if let Some(by) = options.number("ttl-dec", 1, 255)? {
            Change::Decrease(by as u8)
        } else if let Some(by) = options.number("ttl-inc", 1, 255)? {
            Change::Increase(by as u8)
        } else {
            return Err(SyntaxError::new("TTL: You must specify an action"));
        };
        Ok(Target::Ttl(Ttl { change }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Ttl(Ttl { change: Change::Set(n) }) => format!(" --ttl-set {n}"),
            Target::Ttl(Ttl {
                change: Change::Decrease(n),
            }) => format!(" --ttl-dec {n}"),
            Target::Ttl(Ttl {
                change: Change::Increase(n),
            }) => format!(" --ttl-inc {n}"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Ttl(Ttl { change: Change::Set(n) }) => format!(" TTL set to {n}"),
            Target::Ttl(Ttl {
                change: Change::Decrease(n),
            }) => format!(" TTL decrement by {n}"),
            Target::Ttl(Ttl {
                change: Change::Increase(n),
            }) => format!(" TTL increment by {n}"),
            _ => String::new(),
        }
    }
}
