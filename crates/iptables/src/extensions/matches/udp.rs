//! `-m udp`.

use fielato_netfilter::matches::udp::Udp;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m udp`.
#[derive(Debug)]
pub struct UdpSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("source-port").negatable(),
    OptionSpec::one("sport").negatable().alias_of("source-port"),
    OptionSpec::one("destination-port").negatable(),
    OptionSpec::one("dport").negatable().alias_of("destination-port"),
];

impl MatchSyntax for UdpSyntax {
    fn name(&self) -> &'static str {
        "udp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "udp match options:\n\
         [!] --source-port port[:port]\n\
         \x20--sport ...                   source port or range\n\
         [!] --destination-port port[:port]\n\
         \x20--dport ...                   destination port or range\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Udp::default();
        for option in given {
            let ports = values::loose_ports("udp", option, cx.names)?;
            match option.option {
                "source-port" => m.sport = ports,
                _ => m.dport = ports,
            }
        }
        Ok(Match::Udp(m))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Udp(m) = m else {
            return String::new();
        };
        values::save_ports("sport", &m.sport, cx.complete) + &values::save_ports("dport", &m.dport, cx.complete)
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Udp(m) = m else {
            return String::new();
        };
        let port = |port| values::show_port(port, "udp", cx.numeric, cx.names);
        " udp".to_owned() + &values::print_ports("spt", &m.sport, &port) + &values::print_ports("dpt", &m.dport, &port)
    }
}
