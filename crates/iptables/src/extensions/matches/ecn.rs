//! `-m ecn`.

use fielato_netfilter::matches::ecn::Ecn;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m ecn`.
#[derive(Debug)]
pub struct EcnSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("ecn-tcp-cwr").negatable(),
    OptionSpec::flag("ecn-tcp-ece").negatable(),
    OptionSpec::one("ecn-ip-ect").negatable(),
];

impl MatchSyntax for EcnSyntax {
    fn name(&self) -> &'static str {
        "ecn"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "ECN match options\n\
         [!] --ecn-tcp-cwr           the CWR flag of TCP is set\n\
         [!] --ecn-tcp-ece           the ECE flag of TCP is set\n\
         [!] --ecn-ip-ect [0..3]     the code point in the IP header\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        if given.is_empty() {
            return Err(SyntaxError::new("ECN match: some option required"));
        }
        let mut m = Ecn::default();
        for option in given {
            match option.option {
                "ecn-tcp-cwr" => m.cwr = Some(!option.negated),
                "ecn-tcp-ece" => m.ece = Some(!option.negated),
                _ => {
                    m.ip = Some(values::integer("ecn", option, 0, 3)? as u8);
                    m.ip_negated = option.negated;
                }
            }
        }
        Ok(Match::Ecn(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ecn(m) = m else {
            return String::new();
        };
        let flag = |wanted: Option<bool>, name| match wanted {
            None => String::new(),
            Some(set) => format!("{} --ecn-tcp-{name}", values::not(!set)),
        };
        let ip = m.ip.map_or(String::new(), |ect| {
            format!("{} --ecn-ip-ect {ect}", values::not(m.ip_negated))
        });
        flag(m.ece, "ece") + &flag(m.cwr, "cwr") + &ip
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Ecn(m) = m else {
            return String::new();
        };
        let inverted = |negated| if negated { "!" } else { "" };
        let flag = |wanted: Option<bool>, name| match wanted {
            None => String::new(),
            Some(set) => format!(" {}{name}", inverted(!set)),
        };
        let ip =
            m.ip.map_or(String::new(), |ect| format!(" {}ECT={ect}", inverted(m.ip_negated)));
        " ECN match".to_owned() + &flag(m.ece, "ECE") + &flag(m.cwr, "CWR") + &ip
    }
}
