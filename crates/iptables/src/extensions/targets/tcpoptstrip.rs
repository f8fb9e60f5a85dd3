//! `-j TCPOPTSTRIP`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::tcpoptstrip::Tcpoptstrip;
use fielato_wire::Family;

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j TCPOPTSTRIP`.
pub struct TcpoptstripSyntax;

/// Options by name and number (IANA).
const NAMES: [(&str, u8); 6] = [
    ("wscale", 3),
    ("mss", 2),
    ("sack-permitted", 4),
    ("sack", 5),
    ("timestamp", 8),
    ("md5", 19),
];

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("strip-options")];

impl TargetSyntax for TcpoptstripSyntax {
    fn name(&self) -> &'static str {
        "TCPOPTSTRIP"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "TCPOPTSTRIP target",
            &[("--strip-options value", "TCP options by name or number, separated by commas")],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let mut target = Tcpoptstrip::default();
        if let Some(text) = Options::new("TCPOPTSTRIP", given).text("strip-options") {
            for word in text.split(',') {
                let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
                let kind = named.or_else(|| values::number(word, 0, 255).map(|kind| kind as u8));
                match kind {
                    None => return Err(SyntaxError::new(format!("Bad TCP option value \"{word}\""))),
                    Some(0 | 1) => return Err(SyntaxError::new("Option value may not be 0 or 1")),
                    Some(kind) if target.has(kind) => {
                        return Err(SyntaxError::new(format!("Option \"{word}\" already specified")));
                    }
                    Some(kind) => target.insert(kind),
                }
            }
        }
        Ok(Target::Tcpoptstrip(target))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        list(t, true).map_or(String::new(), |list| format!(" --strip-options {list}"))
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        list(t, cx.numeric).map_or(String::new(), |list| format!(" TCPOPTSTRIP options {list}"))
    }
}

fn list(t: &Target, numeric: bool) -> Option<String> {
    let Target::Tcpoptstrip(t) = t else {
        return None;
    };
    let show = |kind: u8| match NAMES.iter().find(|(_, named)| *named == kind) {
        Some((name, _)) if !numeric => (*name).to_owned(),
        _ => kind.to_string(),
    };
    let kinds: Vec<_> = (0..=255).filter(|kind| t.has(*kind)).map(show).collect();
    (!kinds.is_empty()).then(|| kinds.join(","))
}
