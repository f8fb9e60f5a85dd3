//! `-m multiport`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::multiport::{Multiport, PortSide};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::{Family, number};

use crate::extensions::values;

/// `-m multiport`.
#[derive(Debug)]
pub struct MultiportSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("source-ports").negatable(),
    OptionSpec::one("sports").negatable().alias_of("source-ports"),
    OptionSpec::one("destination-ports").negatable(),
    OptionSpec::one("dports").negatable().alias_of("destination-ports"),
    OptionSpec::one("ports").negatable(),
];

impl MatchSyntax for MultiportSyntax {
    fn name(&self) -> &'static str {
        "multiport"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "multiport match options:\n\
         [!] --source-ports port[,port:port,port...]\n\
         \x20--sports ...                  source port is one of these\n\
         [!] --destination-ports port[,port:port,port...]\n\
         \x20--dports ...                  destination port is one of these\n\
         [!] --ports port[,port:port,port]\n\
         \x20                              either port is one of these\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        values::exclusive("multiport", given, "source-ports", "destination-ports")?;
        values::exclusive("multiport", given, "source-ports", "ports")?;
        values::exclusive("multiport", given, "destination-ports", "ports")?;
        let [option] = given else {
            return Err(SyntaxError::new("multiport expection an option"));
        };
        let protocol = protocol_name(cx)?;
        Ok(Match::Multiport(Multiport {
            side: match option.option {
                "source-ports" => PortSide::Source,
                "destination-ports" => PortSide::Destination,
                _ => PortSide::Either,
            },
            ports: parse_list(option.value(), protocol, cx)?.into(),
            negated: option.negated,
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Multiport(m) = m else {
            return String::new();
        };
        let list = show_list(m, &|port| port.to_string());
        format!("{} --{} {list}", values::not(m.negated), side(m))
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Multiport(m) = m else {
            return String::new();
        };
        let protocol = known_protocol(cx.ip.protocol.number).unwrap_or("");
        let list = show_list(m, &|port| values::show_port(port, protocol, cx.numeric, cx.names));
        format!(" multiport {} {}{list}", side(m), values::not(m.negated))
    }
}

fn known_protocol(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        number::TCP => "tcp",
        number::UDP => "udp",
        number::UDPLITE => "udplite",
        number::SCTP => "sctp",
        number::DCCP => "dccp",
        _ => return None,
    })
}

fn protocol_name(cx: &ParseContext<'_>) -> Result<&'static str, SyntaxError> {
    let protocol = cx.ip.protocol;
    if protocol.number == 0 && !protocol.negated {
        return Err(SyntaxError::new(
            "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'",
        ));
    }
    known_protocol(protocol.number)
        .filter(|_| !protocol.negated)
        .ok_or_else(|| SyntaxError::new("multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP"))
}

fn parse_list(list: &str, protocol: &str, cx: &ParseContext<'_>) -> Result<Vec<Range<u16>>, SyntaxError> {
    let mut ports = Vec::new();
    let mut places = 0;
    for word in list.split(',') {
        places += if word.contains(':') { 2 } else { 1 };
        if places > Multiport::MAX {
            return Err(SyntaxError::new("too many ports specified"));
        }
        let (low, high) = word.split_once(':').unwrap_or((word, ""));
        let min = values::port(low, protocol, cx.names)?;
        if !word.contains(':') {
            ports.push(Range::one(min));
            continue;
        }
        let max = values::port(high, protocol, cx.names)?;
        if min >= max {
            return Err(SyntaxError::new("invalid portrange specified"));
        }
        ports.push(Range::new(min, max));
    }
    Ok(ports)
}

const fn side(m: &Multiport) -> &'static str {
    match m.side {
        PortSide::Source => "sports",
        PortSide::Destination => "dports",
        PortSide::Either => "ports",
    }
}

fn show_list(m: &Multiport, show: &dyn Fn(u16) -> String) -> String {
    let words: Vec<_> = m
        .ports
        .iter()
        .map(|range| match range.min == range.max {
            true => show(range.min),
            false => format!("{}:{}", show(range.min), show(range.max)),
        })
        .collect();
    words.join(",")
}
