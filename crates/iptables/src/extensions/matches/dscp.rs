//! `-m dscp`.

use fielato_netfilter::matches::dscp::Dscp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m dscp`.
#[derive(Debug)]
pub struct DscpSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("dscp").negatable(), OptionSpec::one("dscp-class").negatable()];

/// Classes of RFC 2474, 2597 and 3246, in the order in which iptables looks.
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

impl MatchSyntax for DscpSyntax {
    fn name(&self) -> &'static str {
        "dscp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "dscp match options\n\
         [!] --dscp value             the code point by number, 0 to 63 or 0x00 to 0x3f\n\
         [!] --dscp-class name        the code point by class: BE, EF, AFxx or CSx\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        values::exclusive("dscp", given, "dscp", "dscp-class")?;
        let [option] = given else {
            return Err(SyntaxError::new("DSCP match: Parameter --dscp is required"));
        };
        let value = match option.option {
            "dscp" => values::integer("dscp", option, 0, Dscp::MAX.into())? as u8,
            _ => class(option.value())?,
        };
        let negated = option.negated;
        Ok(Match::Dscp(Dscp { value, negated }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Dscp(m) = m else {
            return String::new();
        };
        format!("{} --dscp 0x{:02x}", values::not(m.negated), m.value)
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Dscp(m) = m else {
            return String::new();
        };
        format!(" DSCP match {}0x{:02x}", if m.negated { "!" } else { "" }, m.value)
    }
}

/// The code point of a class; as iptables does, more may follow the name.
pub(crate) fn class(name: &str) -> Result<u8, SyntaxError> {
    let begins = |class: &str| name.get(..class.len()).is_some_and(|start| start.eq_ignore_ascii_case(class));
    CLASSES
        .iter()
        .find(|(class, _)| begins(class))
        .map(|(_, value)| *value)
        .ok_or_else(|| SyntaxError::new(format!("Invalid DSCP value `{name}'")))
}
