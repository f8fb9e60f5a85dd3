//! `-j DSCP`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_wire::Family;

use fielato_netfilter::targets::dscp::Dscp;

use crate::extensions::words::{self, Options};

/// The user side of `-j DSCP`.
pub struct DscpSyntax;

/// Classes by name (RFC 2474, 2597, 3246), in the order in which iptables looks.
const CLASSES: [(&str, u8); 22] = [
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

impl TargetSyntax for DscpSyntax {
    fn name(&self) -> &'static str {
        "DSCP"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const { &[OptionSpec::one("set-dscp"), OptionSpec::one("set-dscp-class")] }
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "DSCP target",
            &[
                ("--set-dscp value", "code point, 0 to 63"),
                ("--set-dscp-class class", "code point by class: EF, BE, CSx or AFxx"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("DSCP", given);
        options.exclusive(&["set-dscp", "set-dscp-class"])?;
        let dscp = match (options.number("set-dscp", 0, 63)?, options.text("set-dscp-class")) {
            (Some(dscp), _) => dscp as u8,
            (None, Some(name)) => class(name)?,
            (None, None) => return Err(SyntaxError::new("DSCP target: Parameter --set-dscp is required")),
        };
        Ok(Target::Dscp(Dscp { dscp }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Dscp(t) => format!(" --set-dscp 0x{:02x}", t.dscp),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Dscp(t) => format!(" DSCP set 0x{:02x}", t.dscp),
            _ => String::new(),
        }
    }
}

/// The code point of a class. The name may be followed by anything, as in iptables.
fn class(text: &str) -> Result<u8, SyntaxError> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    match CLASSES.iter().find(|(name, _)| begins(name)) {
        Some((_, dscp)) => Ok(*dscp),
        None => Err(SyntaxError::new(format!("Invalid DSCP value `{text}'"))),
    }
}
