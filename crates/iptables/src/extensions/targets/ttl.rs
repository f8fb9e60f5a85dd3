//! `-j TTL` and `-j HL`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::ttl::{Change, Ttl};
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j TTL`, or of `-j HL` for IPv6.
pub struct TtlSyntax(pub Family);

const TTL: [&str; 3] = ["ttl-set", "ttl-dec", "ttl-inc"];
const HL: [&str; 3] = ["hl-set", "hl-dec", "hl-inc"];

impl TtlSyntax {
    const fn words(&self) -> [&'static str; 3] {
        match self.0 {
            Family::V4 => TTL,
            Family::V6 => HL,
        }
    }
}

const fn options([set, dec, inc]: [&'static str; 3]) -> [OptionSpec; 3] {
    [OptionSpec::one(set), OptionSpec::one(dec), OptionSpec::one(inc)]
}

impl TargetSyntax for TtlSyntax {
    fn name(&self) -> &'static str {
        match self.0 {
            Family::V4 => "TTL",
            Family::V6 => "HL",
        }
    }

    fn families(&self) -> &'static [Family] {
        match self.0 {
            Family::V4 => &[Family::V4],
            Family::V6 => &[Family::V6],
        }
    }

    fn options(&self) -> &'static [OptionSpec] {
        match self.0 {
            Family::V4 => const { &options(TTL) },
            Family::V6 => const { &options(HL) },
        }
    }

    fn help(&self, _family: Family) -> String {
        let [set, dec, inc] = self.words().map(|word| format!("--{word} value"));
        let to = match self.0 {
            Family::V4 => "set the time to live, 0 to 255",
            Family::V6 => "set the hop limit, 0 to 255",
        };
        let lines = [
            (&*set, to),
            (&*dec, "lower it, by 1 to 255"),
            (&*inc, "raise it, by 1 to 255"),
        ];
        words::help(&format!("{} target", self.name()), &lines)
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new(self.name(), given);
        let [set, dec, inc] = self.words();
        options.exclusive(&[set, dec, inc])?;
        let change = if let Some(to) = options.number(set, 0, 255)? {
            Change::Set(to as u8)
        } else if let Some(by) = options.number(dec, 1, 255)? {
            Change::Decrease(by as u8)
        } else if let Some(by) = options.number(inc, 1, 255)? {
            Change::Increase(by as u8)
        } else {
            return Err(SyntaxError::new(format!("{}: You must specify an action", self.name())));
        };
        Ok(Target::Ttl(Ttl { family: self.0, change }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Ttl(t) = t else {
            return String::new();
        };
        let [set, dec, inc] = self.words();
        match t.change {
            Change::Set(to) => format!(" --{set} {to}"),
            Change::Decrease(by) => format!(" --{dec} {by}"),
            Change::Increase(by) => format!(" --{inc} {by}"),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Ttl(t) = t else {
            return String::new();
        };
        let change = match t.change {
            Change::Set(to) => format!("set to {to}"),
            Change::Decrease(by) => format!("decrement by {by}"),
            Change::Increase(by) => format!("increment by {by}"),
        };
        format!(" {} {change}", self.name())
    }
}
