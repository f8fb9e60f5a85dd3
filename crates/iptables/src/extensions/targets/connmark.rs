//! `-j CONNMARK`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::connmark::{Connmark, Operation, Shift};

use super::mark;
use crate::extensions::words::{self, Options};

/// The user side of `-j CONNMARK`.
pub struct ConnmarkSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("set-xmark"),
    OptionSpec::one("set-mark"),
    OptionSpec::one("and-mark"),
    OptionSpec::one("or-mark"),
    OptionSpec::one("xor-mark"),
    OptionSpec::flag("save-mark"),
    OptionSpec::flag("restore-mark"),
    OptionSpec::one("left-shift-mark"),
    OptionSpec::one("right-shift-mark"),
    OptionSpec::one("ctmask"),
    OptionSpec::one("nfmask"),
    OptionSpec::one("mask"),
];

impl TargetSyntax for ConnmarkSyntax {
    fn name(&self) -> &'static str {
        "CONNMARK"
    }

    fn revision(&self) -> u8 {
        2
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "CONNMARK target",
            &[
                (
                    "--set-xmark value[/ctmask]",
                    "clear the mask's bits of the connection's mark, flip the value's",
                ),
                ("--set-mark value[/mask]", "clear the mask's bits, set the value's"),
                ("--save-mark", "packet's mark to connection"),
                ("--restore-mark", "connection's mark to packet"),
                ("--ctmask mask", "bits of the connection's mark that take part"),
                ("--nfmask mask", "bits of the packet's mark that take part"),
                ("--mask mask", "both"),
                ("--and-mark value", "keep these bits of the connection's mark"),
                ("--or-mark value", "set these bits"),
                ("--xor-mark value", "flip these bits"),
                ("--left-shift-mark bits", "shift the value on its way"),
                ("--right-shift-mark bits", "shift the value on its way"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("CONNMARK", given);
        let operations = [
            "set-xmark",
            "set-mark",
            "and-mark",
            "or-mark",
            "xor-mark",
            "save-mark",
            "restore-mark",
        ];
        options.exclusive(&operations)?;
        options.exclusive(&["ctmask", "mask"])?;
        options.exclusive(&["nfmask", "mask"])?;
        let mask = |option| Ok(options.number(option, 0, u32::MAX.into())?.map(|mask| mask as u32));
        let both = mask("mask")?.unwrap_or(u32::MAX);
        let nf_mask = mask("nfmask")?.unwrap_or(both);
        let mut ct_mask = mask("ctmask")?.unwrap_or(both);
        let operation = if let Some((value, mask)) = mark::operation(&options)? {
            ct_mask = mask;
            Operation::Set { value }
        } else if options.has("save-mark") {
            Operation::Save
        } else if options.has("restore-mark") {
            Operation::Restore
        } else {
            return Err(SyntaxError::new("CONNMARK target: No operation specified"));
        };
        let bits = |option| Ok(options.number(option, 0, 32)?.map(|bits| bits as u8));
        let shift = match bits("right-shift-mark")? {
            Some(bits) => Shift::Right(bits),
            None => Shift::Left(bits("left-shift-mark")?.unwrap_or(0)),
        };
        Ok(Target::Connmark(Connmark {
            operation,
            ct_mask,
            nf_mask,
            shift,
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Connmark(t) = t else {
            return String::new();
        };
        let (ct, nf) = (t.ct_mask, t.nf_mask);
        let operation = match t.operation {
            Operation::Set { value } => format!(" --set-xmark 0x{value:x}/0x{ct:x}"),
            Operation::Save => format!(" --save-mark --nfmask 0x{nf:x} --ctmask 0x{ct:x}"),
            Operation::Restore => format!(" --restore-mark --nfmask 0x{nf:x} --ctmask 0x{ct:x}"),
        };
        operation + &shift(t.shift, "--")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let Target::Connmark(t) = t else {
            return String::new();
        };
        let (ct, nf) = (t.ct_mask, t.nf_mask);
        let operation = match t.operation {
            Operation::Set { value } => format!(" CONNMARK {}", mark::show(value, ct)),
            Operation::Save if ct == nf => format!(" CONNMARK save{}", same_mask(ct)),
            Operation::Save => format!(" CONNMARK save nfmask 0x{nf:x} ctmask ~0x{ct:x}"),
            Operation::Restore if ct == nf => format!(" CONNMARK restore{}", same_mask(ct)),
            Operation::Restore => format!(" CONNMARK restore ctmask 0x{ct:x} nfmask ~0x{nf:x}"),
        };
        operation + &shift(t.shift, "")
    }
}

fn same_mask(mask: u32) -> String {
    if mask == u32::MAX {
        return String::new();
    }
    format!(" mask 0x{mask:x}")
}

fn shift(shift: Shift, dashes: &str) -> String {
    match shift {
        Shift::Left(0) | Shift::Right(0) => String::new(),
        Shift::Left(bits) => format!(" {dashes}left-shift-mark {bits}"),
        Shift::Right(bits) => format!(" {dashes}right-shift-mark {bits}"),
    }
}
