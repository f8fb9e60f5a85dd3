//! `[[rule]]`.

use std::ops::Range;

use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use crate::config::{Action, Days, Hours, MIDNIGHT, Party, Rate, RateUnit, Rule, When};
use crate::diagnostic::{Sink, Texts};
use crate::keys::{RULE, WHEN};
use crate::schema::{Section, Text, Top};

use super::names::{Names, Place};
use super::plain::PlainRule;
use super::{items, scalar, sections};

/// Of all rules in order; the tables of `plain` ones are made of them.
pub fn read(top: &Top<'_>, plain: &[PlainRule<'_>], names: &mut Names<'_>, sink: &mut Sink) -> Vec<Rule> {
    let mut plain = plain.iter().peekable();
    let tables = sections(top, "rule", sink).into_iter();
    tables
        .filter_map(|(span, table)| match plain.next_if(|plain| plain.begin == span.start) {
            Some(plain) => rule(top.texts, span, &plain.table(), names, sink),
            None => rule(top.texts, span, table, names, sink),
        })
        .collect()
}

fn rule(texts: &Texts<'_>, span: Range<usize>, table: &DeTable<'_>, names: &mut Names<'_>, sink: &mut Sink) -> Option<Rule> {
    let (file, line) = texts.line(span.start);
    let section = Section::new("rule".to_owned(), span, table, RULE, sink);
    let from = bare(names.parties(&section, "from", Place::From, sink));
    let to = bare(names.parties(&section, "to", Place::To, sink));
    let name = section
        .text("name", "a name in quotes", sink)
        .map(|(name, _)| name.to_owned());
    let when = when(&section, sink);
    let until = scalar::time(&section, "until", sink);
    let action = action(&section, name.as_deref(), sink)?;
    Some(Rule {
        name,
        from,
        to,
        action,
        when,
        until,
        file,
        line,
    })
}

fn bare(parties: Vec<(Party, Range<usize>)>) -> Vec<Party> {
    parties.into_iter().map(|(party, _)| party).collect()
}

fn action(section: &Section<'_>, name: Option<&str>, sink: &mut Sink) -> Option<Action> {
    let right = "\"accept\", \"drop\", \"reject\", \"log\" or \"limit\"";
    let (word, at) = section.required_text("action", right, sink)?;
    for (key, of) in [("prefix", "log"), ("limit", "limit"), ("burst", "limit")] {
        if section.value(key).is_some() && word != of {
            sink.error(
                section.span_of(key),
                format!("rule: {key} with action \"{}\"", word.escape_debug()),
                format!("it belongs to action = \"{of}\""),
            );
        }
    }
    Some(match word {
        "accept" | "allow" => Action::Accept,
        "drop" | "deny" => Action::Drop,
        "reject" => Action::Reject,
        "log" => Action::Log {
            prefix: prefix(section, name, sink),
        },
        "limit" => Action::Limit(limit(section, sink)?),
        _ => {
            sink.error(at, format!("rule: unknown action \"{word}\""), format!("write {right}"));
            return None;
        }
    })
}

/// What `LOG` of iptables takes (`struct ipt_log_info`), with its closing zero.
const PREFIX_MAX: usize = 29;

/// What a log line begins with: the rule's name unless it is said.
fn prefix(section: &Section<'_>, name: Option<&str>, sink: &mut Sink) -> String {
    // nft has no escapes within quotes, and takes `$` for a variable's beginning.
    let fits = |text: &str| text.len() <= PREFIX_MAX && text.chars().all(|c| (' '..='~').contains(&c) && !"\"\\$".contains(c));
    match section.text("prefix", "a text in quotes", sink) {
        Some((text, span)) => {
            if !fits(text) {
                sink.error(
                    span,
                    format!("rule: prefix \"{}\" cannot begin a line of the log", text.escape_debug()),
                    format!("use up to {PREFIX_MAX} ASCII characters, without \" \\ $"),
                );
            }
            text.to_owned()
        }
        None => {
            let named = name.map(|name| format!("{name}: ")).filter(|prefix| fits(prefix));
            named.unwrap_or_else(|| "fielato: ".to_owned())
        }
    }
}

fn limit(section: &Section<'_>, sink: &mut Sink) -> Option<Rate> {
    let right = "\"10/second\" (per second, minute, hour or day)";
    let burst = section.number("burst", 1..=10_000, sink);
    let (text, span) = section.required_text("limit", right, sink)?;
    let Some((count, per)) = parse_rate(text) else {
        sink.error(
            span,
            format!("rule: limit \"{}\" is not a number in a time", text.escape_debug()),
            format!("write {right}"),
        );
        return None;
    };
    let rate = Rate {
        count,
        per,
        burst: burst.unwrap_or(Rate::BURST),
    };
    let most = rate.most_at_once();
    if most == 0 {
        let help = "at most 10000 in a second can be told apart";
        sink.error(span, format!("rule: limit {text} is too fast"), help);
    } else if rate.burst > most {
        let at = if section.value("burst").is_some() {
            section.span_of("burst")
        } else {
            span
        };
        let message = format!("rule: a burst of {} at {text} is more than can be counted", rate.burst);
        sink.error(at, message, format!("set burst to at most {most}"));
    }
    Some(rate)
}

fn parse_rate(text: &str) -> Option<(u32, RateUnit)> {
    let (count, per) = text.split_once('/')?;
    let (_, unit, _) = RateUnit::WORDS.into_iter().find(|(word, _, _)| *word == per)?;
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    let count = count.parse::<u32>().ok().filter(|count| digits && *count > 0)?;
    Some((count, unit))
}

fn when(section: &Section<'_>, sink: &mut Sink) -> Vec<When> {
    let Some(value) = section.value("when") else {
        return Vec::new();
    };
    let right = "{ days = \"mon-fri\", hours = \"08:00-18:00\", zone = \"Europe/Madrid\" }";
    let tables = match value.get_ref() {
        DeValue::Table(table) => vec![(value.span(), table)],
        DeValue::Array(_) => items(value, "when", sink),
        _ => {
            section.wrong_type("when", value, right, sink);
            return Vec::new();
        }
    };
    if tables.is_empty() && value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
        sink.error(
            value.span(),
            "rule: when is empty, so it would never hold",
            format!("write {right}, or leave it out"),
        );
    }
    let read = |(span, table)| {
        let section = Section::new("rule: when".to_owned(), span, table, WHEN, sink);
        times(&section, right, sink)
    };
    tables.into_iter().map(read).collect()
}

fn times(section: &Section<'_>, right: &str, sink: &mut Sink) -> When {
    if section.value("days").is_none() && section.value("hours").is_none() {
        sink.error(
            section.span.clone(),
            "rule: when has neither days nor hours",
            format!("write {right}"),
        );
    }
    let hours = section.text("hours", "\"08:00-18:00\"", sink);
    When {
        days: days(section, sink),
        hours: hours.and_then(|text| self::hours(text, sink)),
        zone: zone(section, sink),
    }
}

fn days(section: &Section<'_>, sink: &mut Sink) -> Days {
    let right = "\"mon-fri\", \"sat\" or a list of such";
    let mut found = Days::NONE;
    let texts = section.texts("days", true, right, sink);
    if texts.is_empty() {
        if section.value("days").is_some_and(|value| value.get_ref().is_array()) {
            sink.error(section.span_of("days"), "rule: when: days is empty", format!("write {right}"));
        }
        return Days::ALL;
    }
    for (text, span) in texts {
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (day(first), day(last)) {
                (Some(first), Some(last)) => {
                    // fri-mon goes round the end of the week.
                    let count = (last + 7 - first) % 7 + 1;
                    let cycle = Days::WORDS.iter().cycle().skip(first).take(count);
                    found = cycle.fold(found, |days, (_, day)| days.with(*day));
                }
                _ => {
                    let message = format!("rule: when: \"{}\" is not a day", part.escape_debug());
                    sink.error(
                        span.clone(),
                        message,
                        format!("write {right}; days are mon, tue, wed, thu, fri, sat, sun"),
                    );
                }
            }
        }
    }
    found
}

/// A day's place in the week, Monday 0.
fn day(text: &str) -> Option<usize> {
    let text = text.trim().to_ascii_lowercase();
    Days::WORDS.iter().position(|(word, _)| *word == text)
}

fn hours((text, span): Text<'_>, sink: &mut Sink) -> Option<Hours> {
    let ends = text
        .split_once('-')
        .and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
    let hours = ends.filter(|(from, to)| *from < MIDNIGHT && from != to && *to > 0);
    if hours.is_none() {
        sink.error(
            span,
            format!(
                "rule: when: hours \"{}\" are not from one time to another",
                text.escape_debug()
            ),
            "write \"08:00-18:00\", \"22:00-06:00\" to pass midnight, or \"08:00-24:00\"",
        );
    }
    hours.map(|(from, to)| Hours { from, to })
}

/// `8:00` or `08:00`, up to `24:00`, from midnight.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number =
        |text: &str| (text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u16>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|_| minutes.len() == 2)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= MIDNIGHT).then_some(total)
}

fn zone(section: &Section<'_>, sink: &mut Sink) -> String {
    let Some((name, span)) = section.text("zone", "a time zone, such as \"Europe/Madrid\"", sink) else {
        return "UTC".to_owned();
    };
    if TimeZone::get(name).is_err() {
        sink.error(
            span,
            format!("rule: when: no time zone is called \"{}\"", name.escape_debug()),
            "write a name of the IANA database, such as \"Europe/Madrid\" or \"UTC\"",
        );
    }
    name.to_owned()
}
