//! `-m physdev`.

use fielato_netfilter::InterfaceName;
use fielato_netfilter::matches::physdev::{Physdev, Ports};
use fielato_netfilter::rule::{InterfaceMatch, Match};
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;
use crate::text::bare;

/// `-m physdev`.
#[derive(Debug)]
pub struct PhysdevSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("physdev-in").negatable(),
    OptionSpec::one("physdev-out").negatable(),
    OptionSpec::flag("physdev-is-in").negatable(),
    OptionSpec::flag("physdev-is-out").negatable(),
    OptionSpec::flag("physdev-is-bridged").negatable(),
];

impl MatchSyntax for PhysdevSyntax {
    fn name(&self) -> &'static str {
        "physdev"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "physdev match options:\n\
         \x20[!] --physdev-in inputname[+]     bridge port the packet came in by ([+] for all that begin so)\n\
         \x20[!] --physdev-out outputname[+]   bridge port it goes out by\n\
         \x20[!] --physdev-is-in               it came in by a bridge port\n\
         \x20[!] --physdev-is-out              it goes out by a bridge port\n\
         \x20[!] --physdev-is-bridged          it is bridged, not routed\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        if given.is_empty() {
            return Err(SyntaxError::new("PHYSDEV: no physdev option specified"));
        }
        let mut m = Box::<Ports>::default();
        for option in given {
            match option.option {
                "physdev-in" => m.incoming = Some(parse_port(option)?),
                "physdev-out" => m.outgoing = Some(parse_port(option)?),
                "physdev-is-in" => m.is_in = Some(!option.negated),
                "physdev-is-out" => m.is_out = Some(!option.negated),
                _ => m.is_bridged = Some(!option.negated),
            }
        }
        Ok(Match::Physdev(Physdev(m)))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Physdev(Physdev(m)) = m else {
            return String::new();
        };
        let flag = |option, wanted: Option<bool>| match wanted {
            None => String::new(),
            Some(wanted) => format!("{} --physdev-{option}", values::not(!wanted)),
        };
        let port = |option, port: &Option<InterfaceMatch>| match port {
            None => String::new(),
            Some(port) => {
                let plus = if port.prefix { "+" } else { "" };
                let name = format!("{}{plus}", port.name);
                format!("{} --physdev-{option} {}", values::not(port.negated), bare(&name))
            }
        };
        flag("is-in", m.is_in)
            + &port("in", &m.incoming)
            + &flag("is-out", m.is_out)
            + &port("out", &m.outgoing)
            + &flag("is-bridged", m.is_bridged)
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        " PHYSDEV match".to_owned() + &self.save(m, cx)
    }
}

fn parse_port(option: &Given) -> Result<InterfaceMatch, SyntaxError> {
    let text = option.value();
    let (name, prefix) = text.strip_suffix('+').map_or((text, false), |name| (name, true));
    let name = InterfaceName::new(name)
        .filter(|_| text.len() <= 15)
        .ok_or_else(|| SyntaxError::new(format!("interface name `{text}' must be shorter than IFNAMSIZ (15)")))?;
    Ok(InterfaceMatch {
        name,
        prefix,
        negated: option.negated,
    })
}
