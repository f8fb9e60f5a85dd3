//! `-j RATEEST`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::rateest::Rateest;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-j RATEEST`.
pub struct RateestSyntax;

/// Times are in microseconds.
const SECOND: u32 = 1_000_000;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("rateest-name"),
    OptionSpec::one("rateest-interval"),
    OptionSpec::one("rateest-ewmalog"),
];

impl TargetSyntax for RateestSyntax {
    fn name(&self) -> &'static str {
        "RATEEST"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "RATEEST target",
            &[
                ("--rateest-name name", "name of the estimator"),
                ("--rateest-interval sec", "how often a sample is taken"),
                ("--rateest-ewmalog value", "over how long it is averaged"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("RATEEST", given);
        let time_of = |option| {
            let text = options.required(option)?;
            time(text).ok_or_else(|| SyntaxError::new(format!("RATEEST: bad {option} value \"{text}\"")))
        };
        let name = options.required("rateest-name")?;
        let (wanted, average) = (time_of("rateest-interval")?, time_of("rateest-ewmalog")?);
        // The next longer interval of 250 ms, 500 ms and so on to 8 s.
        let interval = (0..=5).find(|interval| wanted <= (SECOND / 4) << interval);
        let interval = interval.ok_or_else(|| SyntaxError::new("RATEEST: interval value is too large"))?;
        // The largest weight whose time constant is not beyond what was asked for.
        let beyond = |log: &u32| {
            let weight = 1.0 - 1.0 / f64::from(1u32 << log);
            f64::from(wanted) / -weight.ln() > f64::from(average)
        };
        let ewma_log = (1..32).find(beyond).unwrap_or(32) - 1;
        if ewma_log == 0 || ewma_log >= 31 {
            return Err(SyntaxError::new("RATEEST: ewmalog value is out of range"));
        }
        Ok(Target::Rateest(Rateest {
            name: words::cut(name, Rateest::MAX_NAME).into(),
            interval: interval as i8 - 2,
            ewma_log: ewma_log as u8,
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "--rateest-")
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        show(t, "")
    }
}

/// A time with a unit; without one it is microseconds.
fn time(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" => 1e6,
        "ms" | "msec" | "msecs" => 1e3,
        "" | "us" | "usec" | "usecs" => 1.0,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * scale) as u32)
}

fn show_time(time: u64) -> String {
    match time {
        1_000_000.. => format!("{:.1}s", time as f64 / 1e6),
        1_000.. => format!("{:.1}ms", time as f64 / 1e3),
        _ => format!("{time}us"),
    }
}

fn show(t: &Target, prefix: &str) -> String {
    let Target::Rateest(t) = t else {
        return String::new();
    };
    let interval = u64::from(SECOND) << (t.interval + 2).clamp(0, 5) >> 2;
    let average = interval << t.ewma_log.min(30);
    format!(
        " {prefix}name {} {prefix}interval {} {prefix}ewmalog {}",
        bare(&t.name),
        show_time(interval),
        show_time(average)
    )
}
