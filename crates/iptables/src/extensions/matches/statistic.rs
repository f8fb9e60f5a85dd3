//! `-m statistic`.

use fielato_netfilter::matches::statistic::{Statistic, StatisticMode};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m statistic`.
#[derive(Debug)]
pub struct StatisticSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("mode"),
    OptionSpec::one("probability").negatable(),
    OptionSpec::one("every").negatable(),
    OptionSpec::one("packet"),
];
/// The probability that is always.
const ALWAYS: f64 = 0x8000_0000_u32 as f64;

impl MatchSyntax for StatisticSyntax {
    fn name(&self) -> &'static str {
        "statistic"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "statistic match options:\n\
         \x20--mode mode                    random or nth\n\
         \x20random mode:\n\
         [!] --probability p             from 0 to 1\n\
         \x20nth mode:\n\
         [!] --every n                   one packet of n\n\
         \x20--packet p                     where the count begins, 0 <= p <= n-1\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        // Without --mode the own checks are those of the random mode, and come first.
        let mode = match values::find(given, "mode").map(Given::value) {
            None | Some("random") => parse_random(given)?,
            Some("nth") => parse_nth(given)?,
            Some(other) => return Err(SyntaxError::new(format!("Bad mode \"{other}\""))),
        };
        values::required("statistic", given, "mode")?;
        values::exclusive("statistic", given, "probability", "every")?;
        values::exclusive("statistic", given, "probability", "packet")?;
        let negated = given.iter().any(|option| option.negated);
        Ok(Match::Statistic(Statistic { mode, negated }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        show(m, "--")
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        " statistic".to_owned() + &show(m, "")
    }
}

fn parse_random(given: &[Given]) -> Result<StatisticMode, SyntaxError> {
    let missing = || SyntaxError::new("--probability must be specified when using random mode");
    let option = values::find(given, "probability").ok_or_else(missing)?;
    let share = option
        .value()
        .trim_start()
        .parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    let bad = || SyntaxError::new("statistic: bad value for option \"--probability\", or out of range (0-1).\n");
    Ok(StatisticMode::Random {
        probability: (share.ok_or_else(bad)? * ALWAYS).round() as u32,
    })
}

fn parse_nth(given: &[Given]) -> Result<StatisticMode, SyntaxError> {
    let also = |one, other| SyntaxError::new(format!("statistic: option \"--{one}\" also requires \"--{other}\".\n"));
    let (every, packet) = match (values::find(given, "every"), values::find(given, "packet")) {
        (Some(every), Some(packet)) => (every, packet),
        (Some(_), None) => return Err(also("every", "packet")),
        (None, Some(_)) => return Err(also("packet", "every")),
        (None, None) => {
            return Err(SyntaxError::new("--every and --packet must be specified when using nth mode"));
        }
    };
    let every = values::integer("statistic", every, 1, u32::MAX.into())? as u32;
    let packet = values::integer("statistic", packet, 0, u32::MAX.into())? as u32;
    if packet >= every {
        return Err(SyntaxError::new("the --packet p must be 0 <= p <= n-1"));
    }
    Ok(StatisticMode::Nth { every, packet })
}

fn show(m: &Match, prefix: &str) -> String {
    let Match::Statistic(m) = m else {
        return String::new();
    };
    let inverted = values::not(m.negated);
    match m.mode {
        StatisticMode::Random { probability } => {
            let share = f64::from(probability) / ALWAYS;
            format!(" {prefix}mode random{inverted} {prefix}probability {share:.11}")
        }
        StatisticMode::Nth { every, packet } => {
            let mut text = format!(" {prefix}mode nth{inverted} {prefix}every {every}");
            if packet != 0 || !prefix.is_empty() {
                text += &format!(" {prefix}packet {packet}");
            }
            text
        }
    }
}
