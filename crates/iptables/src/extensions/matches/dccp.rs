//! `-m dccp`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::dccp::Dccp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m dccp`.
#[derive(Debug)]
pub struct DccpSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("source-port").negatable(),
    OptionSpec::one("sport").negatable().alias_of("source-port"),
    OptionSpec::one("destination-port").negatable(),
    OptionSpec::one("dport").negatable().alias_of("destination-port"),
    OptionSpec::one("dccp-types").negatable(),
    OptionSpec::one("dccp-option").negatable(),
];

/// Packet types by number (RFC 4340 §5.1); the last stands for all above too.
const TYPES: [&str; 11] = [
    "REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID",
];
const INVALID: usize = 10;

impl MatchSyntax for DccpSyntax {
    fn name(&self) -> &'static str {
        "dccp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "dccp match options\n\
         [!] --source-port port[:port]         source port or range\n\
         \x20--sport ...\n\
         [!] --destination-port port[:port]    destination port or range\n\
         \x20--dport ...\n\
         [!] --dccp-types type[,...]           the packet is of one of these types\n\
         [!] --dccp-option option              the option of this number is there\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Dccp::default();
        for option in given {
            match option.option {
                "source-port" => m.sport = Some(values::loose_ports("dccp", option, cx.names)?),
                "destination-port" => m.dport = Some(values::loose_ports("dccp", option, cx.names)?),
                "dccp-types" => {
                    m.types = Some(parse_types(option.value())?);
                    m.types_negated = option.negated;
                }
                _ => {
                    m.option = Some(values::integer("dccp", option, 1, 255)? as u8);
                    m.option_negated = option.negated;
                }
            }
        }
        Ok(Match::Dccp(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Dccp(m) = m else {
            return String::new();
        };
        let mut text = save_port("sport", m.sport.as_ref()) + &save_port("dport", m.dport.as_ref());
        if let Some(types) = m.types {
            text += &format!("{} --dccp-types {}", values::not(m.types_negated), show_types(types));
        }
        if let Some(option) = m.option {
            text += &format!("{} --dccp-option {option}", values::not(m.option_negated));
        }
        text
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Dccp(m) = m else {
            return String::new();
        };
        let show = |port| values::show_port(port, "dccp", cx.numeric, cx.names);
        let ports = |label, ports: &Option<Range<u16>>| match ports {
            Some(range) => values::print_ports(label, range, &show),
            None => String::new(),
        };
        let mut text = " dccp".to_owned() + &ports("spt", &m.sport) + &ports("dpt", &m.dport);
        if let Some(types) = m.types {
            let shown = if cx.numeric {
                show_type_numbers(types)
            } else {
                show_types(types)
            };
            text += &format!("{} {shown}", values::not(m.types_negated));
        }
        if let Some(option) = m.option {
            text += &format!(" option={}{option}", if m.option_negated { "!" } else { "" });
        }
        text
    }
}

fn parse_types(list: &str) -> Result<u16, SyntaxError> {
    let mut bits = 0;
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let number = TYPES.iter().position(|name| name.eq_ignore_ascii_case(word));
        bits |= match number {
            Some(INVALID) => u16::MAX << INVALID,
            Some(number) => 1 << number,
            None => return Err(SyntaxError::new(format!("Unknown DCCP type `{word}'"))),
        };
    }
    Ok(bits)
}

fn show_types(bits: u16) -> String {
    let names: Vec<_> = TYPES
        .iter()
        .enumerate()
        .filter(|(number, _)| bits & 1 << number != 0)
        .map(|(_, name)| *name)
        .collect();
    names.join(",")
}

fn show_type_numbers(bits: u16) -> String {
    let numbers: Vec<_> = (0..16)
        .filter(|number| bits & 1 << number != 0)
        .map(|number| number.to_string())
        .collect();
    numbers.join(",")
}

/// `-S` of a port: all of them too, when asked for.
fn save_port(option: &str, ports: Option<&Range<u16>>) -> String {
    ports.map_or(String::new(), |range| values::save_range(option, range))
}
