//! `-j HL`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::hl::Hl;
use fielato_netfilter::targets::ttl::Change;

use crate::extensions::words::{self, Options};

/// The user side of `-j HL`.
pub struct HlSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("hl-set"),
    OptionSpec::one("hl-dec"),
    OptionSpec::one("hl-inc"),
];

impl TargetSyntax for HlSyntax {
    fn name(&self) -> &'static str {
        "HL"
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "HL target",
            &[
                ("--hl-set value", "set the hop limit, 0 to 255"),
                ("--hl-dec value", "lower it, by 1 to 255"),
                ("--hl-inc value", "raise it, by 1 to 255"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("HL", given);
        options.exclusive(&["hl-set", "hl-dec", "hl-inc"])?;
        let change = if let Some(to) = options.number("hl-set", 0, 255)? {
            Change::Set(to as u8)
        } else if let Some(by) = options.number("hl-dec", 1, 255)? {
            Change::Decrease(by as u8)
        } else if let Some(by) = options.number("hl-inc", 1, 255)? {
            Change::Increase(by as u8)
        } else {
            return Err(SyntaxError::new("HL: You must specify an action"));
        };
        Ok(Target::Hl(Hl { change }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Hl(Hl { change: Change::Set(n) }) => format!(" --hl-set {n}"),
            Target::Hl(Hl {
                change: Change::Decrease(n),
            }) => format!(" --hl-dec {n}"),
            Target::Hl(Hl {
                change: Change::Increase(n),
            }) => format!(" --hl-inc {n}"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Hl(Hl { change: Change::Set(n) }) => format!(" HL set to {n}"),
            Target::Hl(Hl {
                change: Change::Decrease(n),
            }) => format!(" HL decrement by {n}"),
            Target::Hl(Hl {
                change: Change::Increase(n),
            }) => format!(" HL increment by {n}"),
            _ => String::new(),
        }
    }
}
