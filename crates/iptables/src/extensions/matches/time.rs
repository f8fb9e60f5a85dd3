//! `-m time`.

use std::fmt::Write as _;

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::time::{Parameters, Time};

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-m time`.
pub struct TimeSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("datestart"),
    OptionSpec::one("datestop"),
    OptionSpec::one("timestart"),
    OptionSpec::one("timestop"),
    OptionSpec::one("monthdays").negatable(),
    OptionSpec::one("weekdays").negatable(),
    OptionSpec::flag("localtz"),
    OptionSpec::flag("utc"),
    OptionSpec::flag("kerneltz"),
    OptionSpec::flag("contiguous"),
];

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl MatchSyntax for TimeSyntax {
    fn name(&self) -> &'static str {
        "time"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "time match",
            &[
                ("--datestart time", "first moment, YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"),
                ("--datestop time", "last moment"),
                ("--timestart time", "first time of day, hh:mm[:ss]"),
                ("--timestop time", "last time of day"),
                ("[!] --monthdays value", "days of the month, separated by commas"),
                ("[!] --weekdays value", "days of the week, by name or 1 (Monday) to 7"),
                ("--kerneltz", "in the kernel's time zone instead of UTC"),
                ("--contiguous", "what is after midnight belongs to the day before"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("time", given);
        let mut p = Parameters::default();
        for given in given {
            let text = given.value();
            match given.option {
                "datestart" => p.date_start = date(text)?,
                "datestop" => p.date_stop = date(text)?,
                "timestart" => p.day_start = time_of_day(text)?,
                "timestop" => p.day_stop = time_of_day(text)?,
                "monthdays" => {
                    let days = monthdays(text)? ^ if given.negated { Parameters::ALL_MONTHDAYS } else { 0 };
                    // There is no day 0, though iptables takes it.
                    p.monthdays = days & Parameters::ALL_MONTHDAYS;
                }
                "weekdays" => p.weekdays = weekdays(text)? ^ if given.negated { Parameters::ALL_WEEKDAYS } else { 0 },
                _ => {}
            }
        }
        p.kernel_zone = options.has("kerneltz") || options.has("localtz");
        p.contiguous = options.has("contiguous");
        if p.contiguous && p.day_start < p.day_stop {
            return Err(SyntaxError::new(
                "time: --contiguous only makes sense when stoptime is smaller than starttime",
            ));
        }
        Ok(Match::Time(Time(Box::new(p))))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Time(Time(p)) = m else {
            return String::new();
        };
        let mut out = String::new();
        if (p.day_start, p.day_stop) != (0, Parameters::LAST_SECOND) {
            let (start, stop) = (clock(p.day_start), clock(p.day_stop));
            let _ = write!(out, " --timestart {start} --timestop {stop}");
        }
        if p.monthdays != Parameters::ALL_MONTHDAYS {
            let days = (1..32).filter(|day| p.monthdays >> day & 1 != 0).map(|day| day.to_string());
            let days = days.collect::<Vec<_>>().join(",");
            // iptables-save names no day then, and takes the next word for one.
            let _ = write!(out, " --monthdays {}", if days.is_empty() { "0" } else { &days });
        }
        if p.weekdays == 0 {
            let _ = write!(out, " ! --weekdays {}", weekday_names(Parameters::ALL_WEEKDAYS));
        } else if p.weekdays != Parameters::ALL_WEEKDAYS {
            let _ = write!(out, " --weekdays {}", weekday_names(p.weekdays));
        }
        if p.date_start != 0 {
            let _ = write!(out, " --datestart {}", moment(p.date_start, 'T'));
        }
        // iptables compares the default with the largest long, which it is not: it is saved too.
        if p.date_stop != 0 {
            let _ = write!(out, " --datestop {}", moment(p.date_stop, 'T'));
        }
        if p.kernel_zone {
            out += " --kerneltz";
        }
        if p.contiguous {
            out += " --contiguous";
        }
        out
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Time(Time(p)) = m else {
            return String::new();
        };
        let mut out = String::from(" TIME");
        if (p.day_start, p.day_stop) != (0, Parameters::LAST_SECOND) {
            let _ = write!(out, " from {} to {}", clock(p.day_start), clock(p.day_stop));
        }
        if p.weekdays != Parameters::ALL_WEEKDAYS {
            let _ = write!(out, " on {}", weekday_names(p.weekdays));
        }
        if p.monthdays != Parameters::ALL_MONTHDAYS {
            let suffix = |day: u32| match day % 10 {
                1 => "st",
                2 => "nd",
                3 => "rd",
                _ => "th",
            };
            let days = (1..32).filter(|day| p.monthdays >> day & 1 != 0);
            let days: Vec<_> = days.map(|day| format!("{day}{}", suffix(day))).collect();
            let _ = write!(out, " on {}", days.join(","));
        }
        if p.date_start != 0 {
            let _ = write!(out, " starting from {}", moment(p.date_start, ' '));
        }
        if p.date_stop != Parameters::LAST_DATE {
            let _ = write!(out, " until date {}", moment(p.date_stop, ' '));
        }
        if !p.kernel_zone {
            out += " UTC";
        }
        if p.contiguous {
            out += " contiguous";
        }
        out
    }
}

/// `YYYY[-MM[-DD[Thh[:mm[:ss]]]]]` as seconds since 1970.
fn date(text: &str) -> Result<u32, SyntaxError> {
    let read = || {
        let (day_part, time_part) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
        let mut day = day_part.splitn(3, '-').map(|part| part.parse::<u32>().ok());
        let year = day.next()??;
        let month = day.next().unwrap_or(Some(1))?;
        let of_month = day.next().unwrap_or(Some(1))?;
        if time_part.is_some() && day_part.split('-').count() != 3 {
            return None;
        }
        let mut time = time_part.unwrap_or("0").splitn(3, ':').map(|part| part.parse::<u32>().ok());
        let hour = time.next()??;
        let minute = time.next().unwrap_or(Some(0))?;
        let second = time.next().unwrap_or(Some(0))?;
        let sound = (1970..=2038).contains(&year) && month <= 12 && of_month <= 31 && hour <= 23 && minute <= 59 && second <= 59;
        if !sound {
            return None;
        }
        let days = days_from_civil(year.into(), month.into(), of_month.into());
        u32::try_from(days * 86_400 + i64::from(hour * 3600 + minute * 60 + second)).ok()
    };
    read().ok_or_else(|| {
        SyntaxError::new(format!(
            "Invalid date \"{text}\" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"
        ))
    })
}

/// Days from 1970-01-01. Month and day may lie outside, as mktime allows.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ss`, or with another letter between.
fn moment(seconds: u32, between: char) -> String {
    let days = i64::from(seconds / 86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}{between}{}", clock(seconds % 86_400))
}

/// Seconds of a day as `hh:mm:ss`.
fn clock(seconds: u32) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `hh:mm[:ss]` as seconds.
fn time_of_day(text: &str) -> Result<u32, SyntaxError> {
    let mut parts = text.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    let read = || {
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next().unwrap_or(Some(0))?;
        (hour <= 23 && minute <= 59 && second <= 59).then_some(hour * 3600 + minute * 60 + second)
    };
    let mut read = read;
    read().ok_or_else(|| {
        SyntaxError::new(format!(
            "invalid time \"{text}\" specified, should be hh:mm[:ss] format and within the boundaries"
        ))
    })
}

fn monthdays(text: &str) -> Result<u32, SyntaxError> {
    text.split(',').try_fold(0, |days, word| match values::number(word, 0, 31) {
        Some(day) => Ok(days | 1 << day),
        None => Err(SyntaxError::new(format!("{word} is not a valid day for --monthdays"))),
    })
}

/// Days by name, of which two letters are enough, or by number.
fn weekdays(text: &str) -> Result<u8, SyntaxError> {
    text.split(',').try_fold(0, |days, word| {
        let day = match values::number(word, 0, 7) {
            Some(0) => return Err(SyntaxError::new("No, the week does NOT begin with Sunday.")),
            Some(day) => Some(day),
            None => {
                let named = WEEKDAYS
                    .iter()
                    .position(|name| word.get(..2).is_some_and(|head| name.starts_with(head)));
                named.map(|day| day as u64 + 1)
            }
        };
        let day = day.ok_or_else(|| SyntaxError::new(format!("{word} is not a valid day specifier")))?;
        Ok(days | 1 << day)
    })
}

fn weekday_names(days: u8) -> String {
    let names = WEEKDAYS.iter().enumerate().filter(|(day, _)| days >> (day + 1) & 1 != 0);
    names.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}
