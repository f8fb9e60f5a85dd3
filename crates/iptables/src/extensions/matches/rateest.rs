//! `-m rateest`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Arguments, Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::rateest::{Compare, Parameters, Rateest};

use crate::extensions::values;
use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-m rateest`.
pub struct RateestSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("rateest1"),
    OptionSpec::one("rateest").alias_of("rateest1"),
    OptionSpec::one("rateest2"),
    OptionSpec::one("rateest-bps1").arguments(Arguments::Optional),
    OptionSpec::one("rateest-pps1").arguments(Arguments::Optional),
    OptionSpec::one("rateest-bps2").arguments(Arguments::Optional),
    OptionSpec::one("rateest-pps2").arguments(Arguments::Optional),
    OptionSpec::one("rateest-bps")
        .arguments(Arguments::Optional)
        .alias_of("rateest-bps2"),
    OptionSpec::one("rateest-pps")
        .arguments(Arguments::Optional)
        .alias_of("rateest-pps2"),
    OptionSpec::flag("rateest-delta"),
    OptionSpec::flag("rateest-lt").negatable(),
    OptionSpec::flag("rateest-gt").negatable(),
    OptionSpec::flag("rateest-eq").negatable(),
];

const MODES: [(&str, Compare); 3] = [
    ("rateest-lt", Compare::Less),
    ("rateest-gt", Compare::Greater),
    ("rateest-eq", Compare::Equal),
];

/// Units of rates, in bits per second.
const UNITS: [(&str, f64); 18] = [
    ("bit", 1.0),
    ("kibit", 1024.0),
    ("kbit", 1e3),
    ("mibit", 1_048_576.0),
    ("mbit", 1e6),
    ("gibit", 1_073_741_824.0),
    ("gbit", 1e9),
    ("tibit", 1_099_511_627_776.0),
    ("tbit", 1e12),
    ("bps", 8.0),
    ("kibps", 8192.0),
    ("kbps", 8e3),
    ("mibps", 8_388_608.0),
    ("mbps", 8e6),
    ("gibps", 8_589_934_592.0),
    ("gbps", 8e9),
    ("tibps", 8_796_093_022_208.0),
    ("tbps", 8e12),
];

impl MatchSyntax for RateestSyntax {
    fn name(&self) -> &'static str {
        "rateest"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "rateest match",
            &[
                ("--rateest1 name", "estimator"),
                ("--rateest2 name", "another one to compare it with"),
                ("--rateest-delta", "compare how far they are below --rateest-{bps,pps}{1,2}"),
                ("--rateest-bps1 [rate]", "bytes per second, of the first"),
                ("--rateest-bps2 [rate]", "of the second, or the number to compare with"),
                ("--rateest-pps1 [pps]", "packets per second, of the first"),
                ("--rateest-pps2 [pps]", "of the second, or the number to compare with"),
                ("[!] --rateest-lt", "less"),
                ("[!] --rateest-gt", "greater"),
                ("[!] --rateest-eq", "equal"),
                ("--rateest name", "the same as --rateest1"),
                ("--rateest-bps rate", "the same as --rateest-bps2"),
                ("--rateest-pps pps", "the same as --rateest-pps2"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("rateest", given);
        let mode = MODES.iter().filter(|(option, _)| options.has(option)).collect::<Vec<_>>();
        let (mode, compare) = match mode.as_slice() {
            [one] => **one,
            [] => return Err(SyntaxError::new("rateest match: one of --rateest-{lt,gt,eq} is needed")),
            _ => return Err(SyntaxError::new("rateest: can't specify lt/gt/eq twice")),
        };
        let pair = |first, second, read: fn(&str) -> Option<u32>| {
            let number = |option| {
                let text = options.text(option).unwrap_or("");
                if text.is_empty() {
                    return Ok(0);
                }
                read(text).ok_or_else(|| SyntaxError::new(format!("rateest: could not parse rate `{text}'")))
            };
            let (one, two) = (number(first)?, number(second)?);
            Ok::<_, SyntaxError>((options.has(first) || options.has(second)).then_some((one, two)))
        };
        Ok(Match::Rateest(Rateest(Box::new(Parameters {
            first: words::cut(options.required("rateest1")?, 15).into(),
            second: options.text("rateest2").map(|name| words::cut(name, 15).into()),
            negated: options.negated(mode),
            compare,
            delta: options.has("rateest-delta"),
            bytes: pair("rateest-bps1", "rateest-bps2", rate)?,
            packets: pair("rateest-pps1", "rateest-pps2", |text| {
                values::number(text, 0, u32::MAX.into()).map(|number| number as u32)
            })?,
        }))))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Rateest(Rateest(p)) = m else {
            return String::new();
        };
        let mut out = String::from(if p.delta { " --rateest-delta" } else { "" });
        let option = if p.second.is_some() { "rateest1" } else { "rateest" };
        let _ = write!(out, " --{option} {}", bare(&p.first));
        let mode = show_mode(p, "--rateest-");
        let numbers = [
            ("bps", p.bytes, show_rate as fn(u32) -> String),
            ("pps", p.packets, |pps| pps.to_string()),
        ];
        for (name, pair, show) in numbers {
            let Some((first, second)) = pair else { continue };
            if p.delta {
                let _ = write!(out, " --rateest-{name}1 {}{mode} --rateest-{name}2", show(first));
            } else {
                let _ = write!(out, "{mode} --rateest-{name}");
            }
            if p.delta || p.second.is_none() {
                let _ = write!(out, " {}", show(second));
            }
        }
        if let Some(second) = &p.second {
            let _ = write!(out, " --rateest2 {}", bare(second));
        }
        out
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Rateest(Rateest(p)) = m else {
            return String::new();
        };
        let rate = |rate: u32| if cx.numeric { rate.to_string() } else { show_rate(rate) };
        let mode = show_mode(p, "");
        let mut out = format!(" rateest match {}{}", p.first, if p.delta { " delta" } else { "" });
        if let Some((first, second)) = p.bytes {
            out += " bps";
            if p.delta {
                let _ = write!(out, " {}", rate(first));
            }
            if p.second.is_none() {
                let _ = write!(out, " {}{mode}", rate(second));
            }
        }
        if let Some((first, second)) = p.packets {
            out += " pps";
            if p.delta {
                let _ = write!(out, " {first}");
            }
            if p.second.is_none() {
                let _ = write!(out, "{mode} {second}");
            }
        }
        if let Some(name) = &p.second {
            let _ = write!(out, "{mode} {name}");
            if let Some((_, second)) = p.bytes {
                out += " bps";
                if p.delta {
                    let _ = write!(out, " {}", rate(second));
                }
            }
            if let Some((_, second)) = p.packets {
                out += " pps";
                if p.delta {
                    let _ = write!(out, " {second}");
                }
            }
        }
        out
    }
}

/// A rate in bytes per second: a bare number is bytes, a unit says bits or bytes.
fn rate(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    if unit.is_empty() {
        return Some((number / 8.0) as u32);
    }
    let (_, scale) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    Some((number * scale / 8.0) as u32)
}

/// Bytes per second, shown in bits.
fn show_rate(rate: u32) -> String {
    let bits = f64::from(rate) * 8.0;
    if bits >= 1e9 {
        format!("{:.0}Mbit", bits / 1e6)
    } else if bits >= 1e6 {
        format!("{:.0}Kbit", bits / 1e3)
    } else {
        format!("{bits:.0}bit")
    }
}

fn show_mode(p: &Parameters, prefix: &str) -> String {
    let mode = match p.compare {
        Compare::Less => "lt",
        Compare::Equal => "eq",
        Compare::Greater => "gt",
    };
    format!("{} {prefix}{mode}", values::not(p.negated))
}
