//! How fast, and how much: `rate`, `ceil`, `priority`, `quota`, `over`.

use std::ops::Range;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::Config;

/// What a member may use of the hub, or the members of a group together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Limits {
    /// Guaranteed bytes per second, in each direction.
    pub rate: Option<u64>,
    /// Bytes per second that it may reach while others leave room; the rate unless set.
    pub ceil: Option<u64>,
    /// Who is offered the room that others leave: the lowest first, 0 to 7.
    pub priority: Option<u8>,
    /// How much in a period.
    pub quota: Option<Quota>,
}

/// `quota = "50GB/month"`, `over = "block"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Both directions together.
    pub bytes: u64,
    /// In how long.
    pub period: Period,
    /// And then?
    pub over: Over,
}

/// Periods of a quota. They begin and end at midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
}

/// What happens when a quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// No packet passes.
    Block,
    /// What passes is held to this rate.
    Throttle {
        /// Bytes per second.
        rate: u64,
    },
}

impl Over {
    /// The stricter of two: blocked before throttled, and throttled to the lower rate.
    pub fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Over::Throttle { rate: a }, Over::Throttle { rate: b }) => Over::Throttle { rate: a.min(b) },
            _ => Over::Block,
        }
    }
}

impl Period {
    /// Every one with its word.
    pub const WORDS: [(&'static str, Period); 3] = [("day", Period::Day), ("week", Period::Week), ("month", Period::Month)];

    /// The period that `now` is in.
    pub fn around(self, now: Timestamp) -> Range<Timestamp> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let first = match self {
            Period::Day => today,
            Period::Week => today.saturating_sub(i64::from(today.weekday().since(Weekday::Monday)).days()),
            Period::Month => today.first_of_month(),
        };
        let next = first.saturating_add(match self {
            Period::Day => 1.day(),
            Period::Week => 1.week(),
            Period::Month => 1.month(),
        });
        let midnight = |date: jiff::civil::Date| date.to_zoned(TimeZone::UTC).map_or(now, |zoned| zoned.timestamp());
        midnight(first)..midnight(next)
    }
}

/// A quota and whose traffic counts towards it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaOf<'a> {
    /// The member or group that has it.
    pub owner: &'a str,
    /// Whether the owner is a group.
    pub group: bool,
    /// Who uses it up together, and is over it together, in order of name.
    pub members: Vec<&'a str>,
    /// It.
    pub quota: Quota,
}

impl Config {
    /// Every quota of the file: members' own, then those that the members of a group share.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaOf<'_>> {
        let own = self.members.iter().filter_map(|(name, member)| {
            member.limits.quota.map(|quota| QuotaOf {
                owner: name,
                group: false,
                members: vec![name],
                quota,
            })
        });
        let contents = self.group_contents();
        let shared = self.groups.iter().filter_map(move |(name, group)| {
            let members = contents
                .get(name)
                .map_or_else(Vec::new, |content| content.members.iter().copied().collect());
            group.limits.quota.map(|quota| QuotaOf {
                owner: name,
                group: true,
                members,
                quota,
            })
        });
        own.chain(shared)
    }
}
