//! `-m hashlimit`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::hashlimit::{Config, Hashlimit, Parameters};

use crate::extensions::values;
use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-m hashlimit`.
pub struct HashlimitSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("hashlimit-upto").negatable(),
    OptionSpec::one("hashlimit-above").negatable(),
    OptionSpec::one("hashlimit").negatable().alias_of("hashlimit-upto"),
    OptionSpec::one("hashlimit-srcmask"),
    OptionSpec::one("hashlimit-dstmask"),
    OptionSpec::one("hashlimit-burst"),
    OptionSpec::one("hashlimit-htable-size"),
    OptionSpec::one("hashlimit-htable-max"),
    OptionSpec::one("hashlimit-htable-gcinterval"),
    OptionSpec::one("hashlimit-htable-expire"),
    OptionSpec::one("hashlimit-mode"),
    OptionSpec::one("hashlimit-name"),
    OptionSpec::flag("hashlimit-rate-match"),
    OptionSpec::one("hashlimit-rate-interval"),
];

/// Averages are in millionths of a second.
const SCALE: u64 = 1_000_000;
/// Periods that a rate can be given in; a listing takes the first that fits.
const PERIODS: [(&str, &str, u64); 4] = [
    ("day", "day", 86_400),
    ("hour", "hour", 3600),
    ("min", "minute", 60),
    ("sec", "second", 1),
];
const UNITS: [(&str, u64); 3] = [("m", 1024 * 1024), ("k", 1024), ("", 1)];
const MAX_BURST: u64 = 1_000_000;
const DEFAULT_GC_INTERVAL: u32 = 1000;
/// Seconds that an entry lives when bytes are counted, without and with a burst.
const BYTES_EXPIRE: u32 = 15;
const BYTES_BURST_EXPIRE: u32 = 60;

impl MatchSyntax for HashlimitSyntax {
    fn name(&self) -> &'static str {
        "hashlimit"
    }

    fn revision(&self) -> u8 {
        3
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "hashlimit match",
            &[
                (
                    "--hashlimit-upto <avg>",
                    "holds up to this rate: NUMBER[/sec|/minute|/hour|/day] or NUMBER[k|m]b/s",
                ),
                ("--hashlimit-above <avg>", "holds above this rate"),
                (
                    "--hashlimit-mode <mode>",
                    "a rate for each of srcip,srcport,dstip,dstport (any of them)",
                ),
                ("--hashlimit-srcmask <length>", "prefix length of source addresses"),
                ("--hashlimit-dstmask <length>", "prefix length of destination addresses"),
                ("--hashlimit-name <name>", "name of the table; rules can share it"),
                ("--hashlimit-burst <num>", "how many at once, default 5"),
                ("--hashlimit-htable-size <num>", "buckets of the table"),
                ("--hashlimit-htable-max <num>", "entries of the table"),
                ("--hashlimit-htable-gcinterval <ms>", "how often idle entries are looked for"),
                ("--hashlimit-htable-expire <ms>", "when an entry is idle"),
                ("--hashlimit-rate-match", "compare the rate without limiting"),
                ("--hashlimit-rate-interval <s>", "over so many seconds"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("hashlimit", given);
        options.exclusive(&["hashlimit-upto", "hashlimit-above"])?;
        let name = words::cut(options.required("hashlimit-name")?, 254);
        if name.is_empty() {
            return Err(SyntaxError::new("Argument must have a minimum length of 1 characters"));
        }
        let upto = options.get("hashlimit-upto");
        let Some(rate) = upto.or_else(|| options.get("hashlimit-above")) else {
            return Err(SyntaxError::new("You have to specify --hashlimit"));
        };
        let mut config = Config::default_for(cx.family);
        let seconds = average(rate, &mut config)?;
        let number = |option| options.number(option, 0, u32::MAX.into());
        let length = |option| options.number(option, 0, cx.family.bits().into());
        config.source_mask = length("hashlimit-srcmask")?.map_or(config.source_mask, |length| length as u8);
        config.destination_mask = length("hashlimit-dstmask")?.map_or(config.destination_mask, |length| length as u8);
        config.size = number("hashlimit-htable-size")?.unwrap_or(0) as u32;
        config.max = number("hashlimit-htable-max")?.unwrap_or(0) as u32;
        config.gc_interval = number("hashlimit-htable-gcinterval")?.map_or(DEFAULT_GC_INTERVAL, |ms| ms as u32);
        if let Some(text) = options.text("hashlimit-mode") {
            mode(text, &mut config)?;
        }
        let given_burst = options.text("hashlimit-burst").map(burst).transpose()?;
        config.expire = seconds * 1000;
        if config.bytes {
            config.burst = 0;
            if let Some(burst) = given_burst {
                let rate = bytes_of(config.average);
                if burst < rate {
                    return Err(SyntaxError::new(format!("burst cannot be smaller than {rate}b")));
                }
                config.burst = burst.div_ceil(rate.max(1));
                config.expire = BYTES_BURST_EXPIRE * 1000;
            }
        } else {
            config.burst = given_burst.unwrap_or(config.burst);
            if config.burst > MAX_BURST {
                return Err(bad_burst());
            }
        }
        if let Some(expire) = number("hashlimit-htable-expire")? {
            config.expire = expire as u32;
        }
        if let Some(text) = options.text("hashlimit-rate-interval") {
            config.interval = match text.parse::<u32>() {
                Ok(interval) if interval > 0 => interval,
                _ => return Err(bad_value("--hashlimit-rate-interval", text)),
            };
        }
        config.rate_match = options.has("hashlimit-rate-match");
        if config.rate_match {
            if !config.bytes {
                config.average /= u64::from(seconds);
            }
            if config.interval == 0 {
                config.interval = if config.bytes { 1 } else { seconds };
            }
        }
        Ok(Match::Hashlimit(Hashlimit(Box::new(Parameters {
            above: upto.is_none() != rate.negated,
            name: name.into(),
            config,
        }))))
    }

    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Hashlimit(Hashlimit(p)) = m else {
            return String::new();
        };
        let config = &p.config;
        let mut out = String::from(if p.above { " --hashlimit-above" } else { " --hashlimit-upto" });
        let expire = show_rate(&mut out, config, config.average, "--hashlimit-");
        let mode = show_mode(config, ",");
        if !mode.is_empty() {
            let _ = write!(out, " --hashlimit-mode {mode}");
        }
        let _ = write!(out, " --hashlimit-name {}", bare(&p.name));
        show_table(&mut out, config, expire, "--hashlimit-", cx.family);
        out
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Hashlimit(Hashlimit(p)) = m else {
            return String::new();
        };
        let config = &p.config;
        let mut out = String::from(if p.above { " limit: above" } else { " limit: up to" });
        let average = config.average * u64::from(config.interval.max(1));
        let expire = show_rate(&mut out, config, if config.bytes { config.average } else { average }, "");
        let mode = show_mode(config, "-");
        if !mode.is_empty() {
            let _ = write!(out, " mode {mode}");
        }
        show_table(&mut out, config, expire, "", cx.family);
        out
    }
}

fn bad_value(option: &str, text: &str) -> SyntaxError {
    SyntaxError::new(format!("hashlimit: Bad value for \"{option}\" option: \"{text}\""))
}

fn bad_burst() -> SyntaxError {
    SyntaxError::new(format!(
        "bad value for option \"--hashlimit-burst\", or out of range (1-{MAX_BURST})."
    ))
}

/// Reads a rate; answers the seconds of its period, or how long an entry of bytes lives.
fn average(rate: &Given, config: &mut Config) -> Result<u32, SyntaxError> {
    let text = rate.value();
    let bad = || bad_value(&format!("--{}", rate.option), text);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text.get(..digits).and_then(|head| head.parse().ok()).ok_or_else(bad)?;
    if number == 0 {
        return Err(bad());
    }
    if let Some(head) = text.find("b/s").and_then(|at| text.get(..at))
        && !head.is_empty()
    {
        config.bytes = true;
        let bytes = number.checked_mul(factor(head.bytes().last()));
        config.average = u64::from(u32::MAX) / ((bytes.ok_or_else(bad)? >> 4) as u32 as u64 + 1);
        return match config.average {
            0 => Err(SyntaxError::new(format!("Rate too high \"{text}\""))),
            _ => Ok(BYTES_EXPIRE),
        };
    }
    let seconds = match text.split_once('/') {
        None => 1,
        Some((_, "")) => return Err(bad()),
        Some((_, unit)) => {
            let begins = |name: &str| name.get(..unit.len()).is_some_and(|head| head.eq_ignore_ascii_case(unit));
            let period = PERIODS.iter().rev().find(|(_, name, _)| begins(name));
            period.map(|(.., seconds)| *seconds).ok_or_else(bad)?
        }
    };
    config.average = SCALE * seconds / number;
    if config.average == 0 {
        return Err(SyntaxError::new(format!("Rate too fast \"{text}\"")));
    }
    Ok(seconds as u32)
}

const fn factor(unit: Option<u8>) -> u64 {
    match unit {
        Some(b'm') => 1024 * 1024,
        Some(b'k') => 1024,
        _ => 1,
    }
}

fn burst(text: &str) -> Result<u64, SyntaxError> {
    let (number, rest) = values::leading_number(text, u64::MAX).ok_or_else(bad_burst)?;
    if number == 0 || rest.is_empty() && number > MAX_BURST {
        return Err(bad_burst());
    }
    number.checked_mul(factor(rest.bytes().next())).ok_or_else(bad_burst)
}

/// Bytes per second of an average.
fn bytes_of(average: u64) -> u64 {
    let rate = u64::from(u32::MAX).checked_div(average).unwrap_or(u64::from(u32::MAX));
    rate.wrapping_sub(1) << 4
}

fn mode(text: &str, config: &mut Config) -> Result<(), SyntaxError> {
    for word in text.split(',') {
        match word {
            "srcip" => config.by_source = true,
            "srcport" => config.by_source_port = true,
            "dstip" => config.by_destination = true,
            "dstport" => config.by_destination_port = true,
            _ => return Err(bad_value("--hashlimit-mode", text)),
        }
    }
    Ok(())
}

fn show_mode(config: &Config, between: &str) -> String {
    let words = [
        (config.by_source, "srcip"),
        (config.by_source_port, "srcport"),
        (config.by_destination, "dstip"),
        (config.by_destination_port, "dstport"),
    ];
    let given = words.iter().filter(|(by, _)| *by).map(|(_, word)| *word);
    given.collect::<Vec<_>>().join(between)
}

/// Writes rate and burst; answers the expiry that goes without saying.
fn show_rate(out: &mut String, config: &Config, average: u64, prefix: &str) -> u32 {
    if config.bytes {
        // Below 16 bytes a second iptables writes 0, which it doesn't read.
        let rate = bytes_of(average).max(1);
        let exact = |unit: u64| rate >= unit && u64::from(u32::MAX) / (((rate & !(unit - 1)) >> 4) + 1) == average;
        let (name, unit) = UNITS.iter().find(|(_, unit)| *unit == 1 || exact(*unit)).unwrap_or(&("", 1));
        let _ = write!(out, " {}{name}b/s", rate / unit);
        if config.burst == 0 {
            return BYTES_EXPIRE * 1000;
        }
        let burst = rate.saturating_mul(config.burst);
        let (name, unit) = UNITS.iter().find(|(_, unit)| burst >= *unit).unwrap_or(&("", 1));
        let _ = write!(out, " {prefix}burst {}{name}b", burst / unit);
        return BYTES_BURST_EXPIRE * 1000;
    }
    let fits = |seconds: u64| average <= SCALE * seconds && SCALE * seconds / average >= SCALE * seconds % average;
    let smallest = if average == 0 {
        3
    } else {
        (1..4).take_while(|&i| fits(PERIODS[i].2)).last().unwrap_or(0)
    };
    let (name, _, seconds) = PERIODS[smallest];
    let number = (SCALE * seconds).checked_div(average).unwrap_or(0);
    let _ = write!(out, " {number}/{name} {prefix}burst {}", config.burst);
    seconds as u32 * 1000
}

fn show_table(out: &mut String, config: &Config, expire: u32, prefix: &str, family: Family) {
    let mut number = |shown: bool, option: &str, number: u32| {
        if shown {
            let _ = write!(out, " {prefix}{option} {number}");
        }
    };
    number(config.size != 0, "htable-size", config.size);
    number(config.max != 0, "htable-max", config.max);
    number(
        config.gc_interval != DEFAULT_GC_INTERVAL,
        "htable-gcinterval",
        config.gc_interval,
    );
    number(config.expire != expire, "htable-expire", config.expire);
    number(config.source_mask != family.bits(), "srcmask", config.source_mask.into());
    number(
        config.destination_mask != family.bits(),
        "dstmask",
        config.destination_mask.into(),
    );
    if config.rate_match {
        let _ = write!(out, " {prefix}rate-match");
        if config.interval != 1 {
            let _ = write!(out, " {prefix}rate-interval {}", config.interval);
        }
    }
}
