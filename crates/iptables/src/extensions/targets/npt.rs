//! `-j SNPT` and `-j DNPT`.

use fielato_netfilter::Target;
use fielato_netfilter::nat::Manip;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::dnpt::Dnpt;
use fielato_netfilter::targets::snpt::{Prefixes, Snpt};
use fielato_wire::{Addr, Family};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j SNPT` or `-j DNPT`.
pub struct NptSyntax(pub Manip);

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("src-pfx"), OptionSpec::one("dst-pfx")];

impl TargetSyntax for NptSyntax {
    fn name(&self) -> &'static str {
        match self.0 {
            Manip::Source => "SNPT",
            Manip::Destination => "DNPT",
        }
    }

    fn families(&self) -> &'static [Family] {
        &[Family::V6]
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            &format!("{} target", self.name()),
            &[
                ("--src-pfx prefix/length", "what is replaced"),
                ("--dst-pfx prefix/length", "what takes its place"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new(self.name(), given);
        let (from, from_len) = prefix(options.required("src-pfx")?)?;
        let (to, to_len) = prefix(options.required("dst-pfx")?)?;
        let prefixes = Box::new(Prefixes {
            from,
            from_len,
            to,
            to_len,
        });
        Ok(match self.0 {
            Manip::Source => Target::Snpt(Snpt(prefixes)),
            Manip::Destination => Target::Dnpt(Dnpt(prefixes)),
        })
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "--")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        format!(" {}{}", self.name(), show(t, ""))
    }
}

fn prefix(text: &str) -> Result<(Addr, u8), SyntaxError> {
    let (address, len) = text.split_once('/').unwrap_or((text, "128"));
    let parsed = values::address(address, Family::V6).zip(values::number(len, 0, 128));
    let (address, len) = parsed.ok_or_else(|| SyntaxError::new(format!("\"{text}\" is not a prefix")))?;
    Ok((address, len as u8))
}

fn show(t: &Target, dashes: &str) -> String {
    let (Target::Snpt(Snpt(p)) | Target::Dnpt(Dnpt(p))) = t else {
        return String::new();
    };
    let one = |name: &str, address: Addr, len: u8| format!(" {dashes}{name} {}/{len}", address.display(Family::V6));
    one("src-pfx", p.from, p.from_len) + &one("dst-pfx", p.to, p.to_len)
}
