//! `-m limit`.

use fielato_netfilter::matches::limit::Limit;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m limit`.
#[derive(Debug)]
pub struct LimitSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("limit"), OptionSpec::one("limit-burst")];
const DEFAULT_BURST: u32 = 5;
/// Units of a rate, as parsed (the start of a name is enough) and in seconds.
const UNITS: [(&str, u32); 4] = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400)];

impl MatchSyntax for LimitSyntax {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        format!(
            "limit match options:\n\
             --limit avg                     average rate: packets per second, or with /sec /minute\n\
             \x20                               /hour /day; default 3/hour\n\
             --limit-burst number            so many at once, default {DEFAULT_BURST}\n"
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Limit {
            interval: Limit::SCALE * 3600 / 3,
            burst: DEFAULT_BURST,
        };
        for option in given {
            match option.option {
                "limit" => m.interval = parse_rate(option.value())?,
                _ => m.burst = values::integer("limit", option, 0, 10_000)? as u32,
            }
        }
        Ok(Match::Limit(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Limit(m) = m else {
            return String::new();
        };
        let mut text = format!(" --limit {}", show_rate(m.interval));
        if m.burst != DEFAULT_BURST {
            text += &format!(" --limit-burst {}", m.burst);
        }
        text
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Limit(m) = m else {
            return String::new();
        };
        format!(" limit: avg {} burst {}", show_rate(m.interval), m.burst)
    }
}

/// `NUMBER[/UNIT]` as the time between two packets.
fn parse_rate(rate: &str) -> Result<u32, SyntaxError> {
    let bad = || SyntaxError::new(format!("bad rate \"{rate}\"'"));
    let (number, unit) = rate
        .split_once('/')
        .map_or((rate, None), |(number, unit)| (number, Some(unit)));
    let seconds = match unit {
        None => 1,
        Some("") => return Err(bad()),
        Some(unit) => {
            let begins = |name: &str| name.get(..unit.len()).is_some_and(|start| start.eq_ignore_ascii_case(unit));
            UNITS.iter().find(|(name, _)| begins(name)).ok_or_else(bad)?.1
        }
    };
    // As atoi does: digits, then anything.
    let digits = number.trim_start();
    let digits = &digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())];
    let packets = digits.parse::<u32>().ok().filter(|&packets| packets != 0).ok_or_else(bad)?;
    match Limit::SCALE * seconds / packets {
        0 => Err(SyntaxError::new(format!("Rate too fast \"{rate}\""))),
        interval => Ok(interval),
    }
}

/// The largest unit in which the rate is near a whole number.
fn show_rate(interval: u32) -> String {
    let units = [("day", 86_400), ("hour", 3600), ("min", 60), ("sec", 1)].map(|(name, seconds)| (name, Limit::SCALE * seconds));
    let interval = interval.max(1);
    let mut chosen = units[0];
    for unit in &units[1..] {
        if interval > unit.1 || unit.1 / interval < unit.1 % interval {
            break;
        }
        chosen = *unit;
    }
    format!("{}/{}", chosen.1 / interval, chosen.0)
}
