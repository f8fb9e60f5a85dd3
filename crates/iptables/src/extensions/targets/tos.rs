//! `-j TOS`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::tos::Tos;

use crate::extensions::matches::tos::{SYMBOL_MASK, SYMBOLS, parse_value};
use crate::extensions::words::{self, Options};

/// The user side of `-j TOS`.
pub struct TosSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("set-tos"),
    OptionSpec::one("and-tos"),
    OptionSpec::one("or-tos"),
    OptionSpec::one("xor-tos"),
];

impl TargetSyntax for TosSyntax {
    fn name(&self) -> &'static str {
        "TOS"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        let mut out = words::help(
            "TOS target v1.8.9",
            &[
                ("--set-tos value[/mask]", "clear the mask's bits, then flip the value's"),
                ("--set-tos symbol", "by name (IPv4), one of:"),
            ],
        );
        for (name, value) in SYMBOLS {
            out += &format!("                            (0x{value:02x}) {value:2} {name}\n");
        }
        out + "  --and-tos bits                 keep these bits\n  --or-tos bits                  set these bits\n  \
               --xor-tos bits                 flip these bits\n"
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("TOS", given);
        options.exclusive(&["set-tos", "and-tos", "or-tos", "xor-tos"])?;
        let bits = |option| Ok(options.number(option, 0, 255)?.map(|bits| bits as u8));
        let (value, mask) = if let Some(text) = options.text("set-tos") {
            parse_value(text)?
        } else if let Some(bits) = bits("and-tos")? {
            (0, !bits)
        } else if let Some(bits) = bits("or-tos")? {
            (bits, bits)
        } else if let Some(bits) = bits("xor-tos")? {
            (bits, 0)
        } else {
            return Err(SyntaxError::new("TOS: An action is required"));
        };
        Ok(Target::Tos(Tos { value, mask }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Tos(Tos { value, mask }) => format!(" --set-tos 0x{value:02x}/0x{mask:02x}"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        let Target::Tos(Tos { value, mask }) = t else {
            return String::new();
        };
        let (value, mask) = (*value, *mask);
        if cx.numeric {
            return format!(" TOS set 0x{value:02x}/0x{mask:02x}");
        }
        if mask == SYMBOL_MASK
            && let Some((name, _)) = SYMBOLS.iter().find(|(_, named)| *named == value)
        {
            // iptables forgets the space between the two.
            return format!("  TOS set{name}");
        }
        match (value, mask) {
            (0, mask) => format!(" TOS and 0x{:02x}", !mask),
            (value, mask) if value == mask => format!(" TOS or 0x{value:02x}"),
            (value, 0) => format!(" TOS xor 0x{value:02x}"),
            (value, mask) => format!(" TOS set 0x{value:02x}/0x{mask:02x}"),
        }
    }
}
