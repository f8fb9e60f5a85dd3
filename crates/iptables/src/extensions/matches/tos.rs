//! `-m tos`.

use fielato_netfilter::matches::tos::Tos;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m tos`.
#[derive(Debug)]
pub struct TosSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("tos").negatable()];

/// Names of the old type of service (RFC 1349), with the mask they stand for.
pub(crate) const SYMBOLS: [(&str, u8); 5] = [
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];
pub(crate) const SYMBOL_MASK: u8 = 0x3f;

impl MatchSyntax for TosSyntax {
    fn name(&self) -> &'static str {
        "tos"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        let symbols = SYMBOLS
            .iter()
            .map(|(name, value)| format!("    (0x{value:02x}) {value:2} {name}"));
        values::list(
            "tos match options:\n\
             [!] --tos value[/mask]    type of service or traffic class under the mask\n\
             [!] --tos symbol          the same by name (IPv4 only):",
            symbols,
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("tos", given, "tos")?;
        let (value, mask) = parse_value(option.value())?;
        Ok(Match::Tos(Tos {
            value,
            mask,
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Tos(m) = m else {
            return String::new();
        };
        format!("{} --tos 0x{:02x}/0x{:02x}", values::not(m.negated), m.value, m.mask)
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Tos(m) = m else {
            return String::new();
        };
        let symbol = SYMBOLS
            .iter()
            .find(|(_, value)| !cx.numeric && m.mask == SYMBOL_MASK && *value == m.value);
        let inverted = if m.negated { "!" } else { "" };
        // iptables leaves the space out before numbers.
        match symbol {
            Some((name, _)) => format!(" tos match{inverted} {name}"),
            None => format!(" tos match{inverted}0x{:02x}/0x{:02x}", m.value, m.mask),
        }
    }
}

/// `VALUE[/MASK]` or a symbol.
pub(crate) fn parse_value(text: &str) -> Result<(u8, u8), SyntaxError> {
    let illegal = || SyntaxError::new(format!("Illegal value: \"{text}\""));
    if let Some((value, rest)) = values::leading_number(text, 255) {
        let mask = match rest.strip_prefix('/') {
            Some(mask) => values::number(mask, 0, 255).ok_or_else(illegal)? as u8,
            None if rest.is_empty() => 0xff,
            None => return Err(illegal()),
        };
        return Ok((value as u8, mask));
    }
    SYMBOLS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, value)| (*value, SYMBOL_MASK))
        .ok_or_else(|| SyntaxError::new(format!("Symbolic name \"{text}\" is unknown")))
}
