//! `-j MARK`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::mark::Mark;

use crate::extensions::words::{self, Options};

/// The user side of `-j MARK`.
pub struct MarkSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("set-xmark"),
    OptionSpec::one("set-mark"),
    OptionSpec::one("and-mark"),
    OptionSpec::one("or-mark"),
    OptionSpec::one("xor-mark"),
];

impl TargetSyntax for MarkSyntax {
    fn name(&self) -> &'static str {
        "MARK"
    }

    fn revision(&self) -> u8 {
        2
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "MARK target",
            &[
                ("--set-xmark value[/mask]", "clear the mask's bits, then flip the value's"),
                ("--set-mark value[/mask]", "clear the mask's bits, then set the value's"),
                ("--and-mark bits", "keep these bits only"),
                ("--or-mark bits", "set these bits"),
                ("--xor-mark bits", "flip these bits"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let (value, mask) = operation(&Options::new("MARK", given))?
            .ok_or_else(|| SyntaxError::new("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required"))?;
        Ok(Target::Mark(Mark { value, mask }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Mark(Mark { value, mask }) => format!(" --set-xmark 0x{value:x}/0x{mask:x}"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Mark(Mark { value, mask }) => format!(" MARK {}", show(*value, *mask)),
            _ => String::new(),
        }
    }
}

/// The value and mask that any of the five options means; CONNMARK has the same.
pub(super) fn operation(options: &Options<'_>) -> Result<Option<(u32, u32)>, SyntaxError> {
    options.exclusive(&["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"])?;
    if let Some(pair) = options.mark_mask("set-xmark")? {
        return Ok(Some(pair));
    }
    if let Some((value, mask)) = options.mark_mask("set-mark")? {
        return Ok(Some((value, value | mask)));
    }
    let bits = |option| Ok(options.number(option, 0, u32::MAX.into())?.map(|bits| bits as u32));
    if let Some(bits) = bits("and-mark")? {
        return Ok(Some((0, !bits)));
    }
    if let Some(bits) = bits("or-mark")? {
        return Ok(Some((bits, bits)));
    }
    Ok(bits("xor-mark")?.map(|bits| (bits, 0)))
}

/// The operation as `-L` words it.
pub(super) fn show(value: u32, mask: u32) -> String {
    match (value, mask) {
        (0, mask) => format!("and 0x{:x}", !mask),
        (value, mask) if value == mask => format!("or 0x{value:x}"),
        (value, 0) => format!("xor 0x{value:x}"),
        (value, u32::MAX) => format!("set 0x{value:x}"),
        (value, mask) => format!("xset 0x{value:x}/0x{mask:x}"),
    }
}
