//! `-m mac`.

use fielato_netfilter::matches::mac::Mac;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m mac`.
#[derive(Debug)]
pub struct MacSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("mac-source").negatable()];

impl MatchSyntax for MacSyntax {
    fn name(&self) -> &'static str {
        "mac"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "mac match options:\n\
         [!] --mac-source XX:XX:XX:XX:XX:XX    the source's Ethernet address\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let option = values::required("mac", given, "mac-source")?;
        let source = parse_mac(option.value()).ok_or_else(|| SyntaxError::new("Invalid MAC address specified."))?;
        let negated = option.negated;
        Ok(Match::Mac(Mac { source, negated }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Mac(m) = m else {
            return String::new();
        };
        format!("{} --mac-source {}", values::not(m.negated), show_mac(m.source))
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Mac(m) = m else {
            return String::new();
        };
        format!(" MAC {}{}", if m.negated { "! " } else { "" }, show_mac(m.source))
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next()?;
        // As strtoul does: an empty part is zero.
        *byte = match part.len() {
            0 => 0,
            1 | 2 => u8::from_str_radix(part, 16).ok()?,
            _ => return None,
        };
    }
    parts.next().is_none().then_some(mac)
}

fn show_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
