//! `rate`, `ceil`, `priority`, `quota` and `over` of members and groups.

use std::collections::BTreeMap;
use std::ops::Range;

use fielato_qdisc::units::RATE;

use crate::config::{Config, Limits, Over, Period, Quota};
use crate::diagnostic::{Sink, Texts};
use crate::schema::Section;

use super::machines::Table;

/// Where the keys stand, for what is checked when everything is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    pub rate: Option<Range<usize>>,
    pub priority: Option<Range<usize>>,
    /// Of `over`, when it throttles.
    pub throttle: Option<Range<usize>>,
}

/// HTB's own bound (`TC_HTB_MAXDEPTH` in linux/pkt_sched.h is 8), less the discipline itself and a member's class.
const DEPTH_MAX: usize = 6;

pub fn read(section: &Section<'_>, sink: &mut Sink) -> (Limits, Places) {
    let place = |key: &str| section.value(key).map(toml::Spanned::span);
    let limits = Limits {
        rate: rate(section, "rate", sink),
        ceil: rate(section, "ceil", sink),
        priority: section
            .number("priority", 0..=7, sink)
            .and_then(|priority| u8::try_from(priority).ok()),
        quota: quota(section, sink),
    };
    let what = &section.what;
    match (limits.rate, limits.ceil) {
        (None, Some(_)) if section.value("rate").is_none() => sink.error(
            section.span_of("ceil"),
            format!("{what}: a ceil without a rate"),
            "add rate: what is guaranteed, while ceil is what may be reached",
        ),
        (Some(rate), Some(ceil)) if ceil < rate => sink.error(
            section.span_of("ceil"),
            format!("{what}: ceil is below rate"),
            "make it at least as much, or leave it out",
        ),
        _ => {}
    }
    let throttles = matches!(
        limits.quota,
        Some(Quota {
            over: Over::Throttle { .. },
            ..
        })
    );
    let places = Places {
        rate: place("rate"),
        priority: place("priority"),
        throttle: place("over").filter(|_| throttles),
    };
    (limits, places)
}

/// Bytes per second.
pub fn rate(section: &Section<'_>, key: &str, sink: &mut Sink) -> Option<u64> {
    let right = "a rate in quotes, such as \"10mbit\"";
    let (word, span) = section.text(key, right, sink)?;
    let rate = rate_word(word);
    if rate.is_none() {
        sink.error(
            span,
            format!("{}: {key} \"{}\" is not a rate", section.what, word.escape_debug()),
            format!("write {}", RATE.expected),
        );
    }
    rate
}

/// Below a byte per second nothing would ever pass.
fn rate_word(word: &str) -> Option<u64> {
    (RATE.read)(word).filter(|rate| *rate > 0)
}

fn quota(section: &Section<'_>, sink: &mut Sink) -> Option<Quota> {
    let over = over(section, sink);
    let right = "\"50GB/month\" (B, kB, MB, GB, TB, or KiB, MiB, GiB, TiB; per day, week or month)";
    let Some((text, span)) = section.text("quota", right, sink) else {
        if section.value("quota").is_none() && section.value("over").is_some() {
            sink.error(
                section.span_of("over"),
                format!("{}: over without a quota", section.what),
                "add quota = \"50GB/month\"",
            );
        }
        return None;
    };
    let found = parse_quota(text);
    if found.is_none() {
        sink.error(
            span,
            format!(
                "{}: quota \"{}\" is not an amount in a period",
                section.what,
                text.escape_debug()
            ),
            format!("write {right}"),
        );
    }
    let (bytes, period) = found?;
    Some(Quota { bytes, period, over })
}

fn parse_quota(text: &str) -> Option<(u64, Period)> {
    let (amount, period) = text.split_once('/')?;
    let (_, period) = Period::WORDS.into_iter().find(|(word, _)| *word == period.trim())?;
    let amount = amount.trim();
    let digits = amount.find(|c: char| !c.is_ascii_digit()).unwrap_or(amount.len());
    let (number, unit) = amount.split_at(digits);
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "TB" => 1000 * 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (bytes > 0).then_some((bytes, period))
}

fn over(section: &Section<'_>, sink: &mut Sink) -> Over {
    let right = "\"block\" or \"throttle 1mbit\"";
    let Some((text, span)) = section.text("over", right, sink) else {
        return Over::Block;
    };
    let throttle = || rate_word(text.strip_prefix("throttle ")?.trim());
    match (text, throttle()) {
        ("block", _) => Over::Block,
        (_, Some(rate)) => Over::Throttle { rate },
        _ => {
            let message = format!("{}: unknown over \"{}\"", section.what, text.escape_debug());
            sink.error(span, message, format!("write {right}"));
            Over::Block
        }
    }
}

/// Where limits stand in the file; only those of whoever has some.
#[derive(Default)]
pub struct Limited {
    pub members: BTreeMap<String, Places>,
    pub groups: BTreeMap<String, Places>,
    /// The first `[[shape]]`.
    pub shape: Option<usize>,
}

impl Limited {
    pub fn of<T>(table: &Table<T>) -> BTreeMap<String, Places> {
        let some = table.iter().filter(|(_, read)| read.limits != Places::default());
        some.map(|(name, read)| (name.clone(), read.limits.clone())).collect()
    }
}

/// Notes what is wrong with rates beside each other, when the whole file is known.
pub fn check(config: &Config, limited: &Limited, texts: &Texts<'_>, sink: &mut Sink) {
    let Limited { members, groups, shape } = limited;
    if members.is_empty() && groups.is_empty() {
        return;
    }
    if let Some(shape) = shape {
        let (interface, uplink) = (&config.hub.interface, &config.hub.uplink);
        let made = members.values().chain(groups.values());
        for span in made.flat_map(|places| places.rate.iter().chain(&places.throttle)) {
            let at = texts.line_in_words(*shape);
            let message =
                format!("rates make disciplines of their own on {interface} and {uplink}, beside the [[shape]] in {at}");
            sink.error(
                span.clone(),
                message,
                "give a [[shape]]'s class a `for` instead, or take every [[shape]] out",
            );
        }
    }
    let rates = config.rates();
    let rated_group = |name: &str| config.groups.get(name).is_some_and(|group| group.limits.rate.is_some());
    for (name, places) in groups {
        let rated = rated_group(name);
        if let (false, Some(span)) = (rated, &places.priority) {
            sink.error(span.clone(), format!("group {name}: a priority without a rate"), "add rate");
        }
        let Some(place) = &places.rate else { continue };
        if let Some([a, b]) = rates.rivals_around(name) {
            let help = "put one of these into the other, or take the group out of one";
            sink.error(
                place.clone(),
                format!("group {name} is in {a} and in {b}, which both have a rate"),
                help,
            );
        } else if rated && rates.depth(name) > DEPTH_MAX {
            let message = format!("group {name}: more than {DEPTH_MAX} groups with a rate within each other");
            sink.error(place.clone(), message, "give fewer of them a rate");
        }
    }
    for (name, places) in members {
        let Some(member) = config.members.get(name) else { continue };
        let has_rate = member.limits.rate.is_some() || rates.parent_of_member(name).is_some();
        if let (false, Some(span)) = (has_rate, &places.priority) {
            sink.error(
                span.clone(),
                format!("member {name}: a priority without a rate"),
                "add rate, or put the member into a group that has one",
            );
        }
    }
    for (member, [a, b]) in rates.rivals_for_members() {
        if let Some(place) = groups.get(a).and_then(|places| places.rate.clone()) {
            let help = "put one of these groups into the other, or take the member out of one";
            sink.error(
                place,
                format!("member {member} is in {a} and in {b}, which both have a rate"),
                help,
            );
        }
    }
}
