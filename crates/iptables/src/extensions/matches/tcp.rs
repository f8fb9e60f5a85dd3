//! `-m tcp`.

use fielato_netfilter::matches::tcp::Tcp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Arguments, Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m tcp`.
#[derive(Debug)]
pub struct TcpSyntax;

const FLAGS: [(&str, u8); 8] = [
    ("FIN", 0x01),
    ("SYN", 0x02),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("ACK", 0x10),
    ("URG", 0x20),
    ("ALL", 0x3f),
    ("NONE", 0),
];
const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("source-port").negatable(),
    OptionSpec::one("sport").negatable().alias_of("source-port"),
    OptionSpec::one("destination-port").negatable(),
    OptionSpec::one("dport").negatable().alias_of("destination-port"),
    OptionSpec::flag("syn").negatable(),
    OptionSpec::one("tcp-flags").arguments(Arguments::Two).negatable(),
    OptionSpec::one("tcp-option").negatable(),
];

impl MatchSyntax for TcpSyntax {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "tcp match options:\n\
         [!] --tcp-flags mask comp      of the flags in mask, exactly those in comp are set\n\
         \x20                              (SYN ACK FIN RST URG PSH ALL NONE)\n\
         [!] --syn                      --tcp-flags SYN,RST,ACK,FIN SYN\n\
         [!] --source-port port[:port]\n\
         \x20--sport ...                   source port or range\n\
         [!] --destination-port port[:port]\n\
         \x20--dport ...                   destination port or range\n\
         [!] --tcp-option number        the option is present\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Tcp::default();
        let mut with_flags = false;
        for option in given {
            match option.option {
                "source-port" => m.sport = values::ports(option, "tcp", cx.names)?,
                "destination-port" => m.dport = values::ports(option, "tcp", cx.names)?,
                "tcp-option" => {
                    m.option = values::number(option.value(), 1, 255)
                        .ok_or_else(|| SyntaxError::new(format!("Bad TCP option \"{}\"", option.value())))?
                        as u8;
                    m.option_negated = option.negated;
                }
                _ => {
                    if with_flags {
                        return Err(SyntaxError::new("Only one of `--syn' or `--tcp-flags'  allowed"));
                    }
                    with_flags = true;
                    (m.flags_mask, m.flags) = match option.values.as_slice() {
                        [mask, comp] => (parse_flags(mask)?, parse_flags(comp)?),
                        _ => (0x17, 0x02),
                    };
                    m.flags_negated = option.negated;
                }
            }
        }
        Ok(Match::Tcp(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Tcp(m) = m else {
            return String::new();
        };
        let mut text = values::save_ports("sport", &m.sport, cx.complete) + &values::save_ports("dport", &m.dport, cx.complete);
        if m.option != 0 || m.option_negated {
            text += &format!("{} --tcp-option {}", values::not(m.option_negated), m.option);
        }
        if m.flags_mask != 0 || m.flags_negated || cx.complete && m.flags != 0 {
            let (mask, flags) = (show_flags(m.flags_mask), show_flags(m.flags));
            text += &format!("{} --tcp-flags {mask} {flags}", values::not(m.flags_negated));
        }
        text
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Tcp(m) = m else {
            return String::new();
        };
        let port = |port| values::show_port(port, "tcp", cx.numeric, cx.names);
        let mut text = " tcp".to_owned();
        text += &values::print_ports("spt", &m.sport, &port);
        text += &values::print_ports("dpt", &m.dport, &port);
        if m.option != 0 || m.option_negated {
            text += &format!(" option={}{}", if m.option_negated { "!" } else { "" }, m.option);
        }
        if m.flags_mask != 0 || m.flags_negated {
            text += if m.flags_negated { " flags:!" } else { " flags:" };
            text += &if cx.numeric {
                format!("0x{:02X}/0x{:02X}", m.flags_mask, m.flags)
            } else {
                format!("{}/{}", show_flags(m.flags_mask), show_flags(m.flags))
            };
        }
        text
    }
}

fn parse_flags(list: &str) -> Result<u8, SyntaxError> {
    let mut bits = 0;
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let flag = FLAGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        bits |= flag.ok_or_else(|| SyntaxError::new(format!("Unknown TCP flag `{word}'")))?.1;
    }
    Ok(bits)
}

fn show_flags(bits: u8) -> String {
    let names: Vec<_> = FLAGS[..6]
        .iter()
        .filter(|(_, bit)| bits & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    if names.is_empty() {
        "NONE".to_owned()
    } else {
        names.join(",")
    }
}
