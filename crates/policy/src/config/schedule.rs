//! `when = { days = "mon-fri", hours = "08:00-18:00", zone = "Europe/Madrid" }`

use std::ops::Range;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Serialize;

/// Times that come again every week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct When {
    /// The days on which they begin.
    pub days: Days,
    /// The hours of these days; all of them when `None`.
    pub hours: Option<Hours>,
    /// Whose clock: a name of the IANA time zone database.
    pub zone: String,
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Days = Days(0b111_1111);
    /// No day.
    pub const NONE: Days = Days(0);
    /// Every day with its word, from Monday.
    pub const WORDS: [(&'static str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];

    /// With one more.
    #[must_use]
    pub fn with(self, day: Weekday) -> Days {
        Days(self.0 | Days::bit(day))
    }

    /// Whether it is one of them.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & Days::bit(day) != 0
    }

    fn bit(day: Weekday) -> u8 {
        1 << day.to_monday_zero_offset()
    }
}

/// From one time of day to another; to one of the next day when that is not later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hours {
    /// Minutes from midnight, below 1440.
    pub from: u16,
    /// Minutes from midnight, up to 1440; the first one that is outside.
    pub to: u16,
}

/// Days that are looked at around a moment: one that began yesterday may last until now, and all that there is comes again within
/// a week.
const DAYS: Range<i64> = -1..9;

impl When {
    /// Whether any of `times` has begun and not ended; without times always.
    pub fn any(times: &[When], now: Timestamp) -> bool {
        times.is_empty() || times.iter().any(|when| when.is_active(now))
    }

    /// When the answer of [`When::any`] changes next.
    pub fn next_change(times: &[When], now: Timestamp) -> Option<Timestamp> {
        let mut ends: Vec<Timestamp> = times
            .iter()
            .flat_map(|when| when.spans(now))
            .flat_map(|span| [span.start, span.end])
            .filter(|end| *end > now)
            .collect();
        ends.sort_unstable();
        let active = When::any(times, now);
        ends.into_iter().find(|end| When::any(times, *end) != active)
    }

    /// Whether it has begun and not ended.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.spans(now).any(|span| span.contains(&now))
    }

    /// Every span that begins on a day around `now`. Where the clock is put forward, a time that it leaves out is as much later; where
    /// it is put back, a time that comes twice is the first one.
    fn spans(&self, now: Timestamp) -> impl Iterator<Item = Range<Timestamp>> {
        let zone = TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC);
        let today = now.to_zoned(zone.clone()).date();
        let Hours { from, to } = self.hours.unwrap_or(Hours { from: 0, to: MIDNIGHT });
        DAYS.filter_map(move |offset| {
            let day = today.checked_add(offset.days()).ok()?;
            self.days.contains(day.weekday()).then_some(())?;
            let last = if to <= from { day.tomorrow().ok()? } else { day };
            Some(moment(day, from, &zone)?..moment(last, to, &zone)?)
        })
    }
}

/// Minutes in a day.
pub(crate) const MIDNIGHT: u16 = 24 * 60;

fn moment(day: Date, minutes: u16, zone: &TimeZone) -> Option<Timestamp> {
    let (day, minutes) = match minutes.checked_sub(MIDNIGHT) {
        Some(rest) => (day.tomorrow().ok()?, rest),
        None => (day, minutes),
    };
    let time = Time::new(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0).ok()?;
    let zoned = zone.to_zoned(day.to_datetime(time)).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office(days: &[Weekday], hours: Option<(u16, u16)>, zone: &str) -> When {
        When {
            days: days.iter().fold(Days::NONE, |days, day| days.with(*day)),
            hours: hours.map(|(from, to)| Hours { from, to }),
            zone: zone.to_owned(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// All changes from one moment to another.
    fn changes(times: &[When], from: &str, to: &str) -> Vec<(String, bool)> {
        let (mut now, end) = (at(from), at(to));
        let mut found = Vec::new();
        while let Some(next) = When::next_change(times, now).filter(|next| *next < end) {
            assert!(next > now);
            now = next;
            found.push((now.to_string(), When::any(times, now)));
        }
        found
    }

    #[test]
    fn hours_follow_the_clock_when_it_is_put_forward() {
        // Madrid: 2027-03-28 02:00 becomes 03:00; UTC+1 before, UTC+2 after.
        let times = [office(
            &[Weekday::Friday, Weekday::Monday],
            Some((8 * 60, 18 * 60)),
            "Europe/Madrid",
        )];
        let found = changes(&times, "2027-03-26T00:00:00Z", "2027-03-30T00:00:00Z");
        let found: Vec<(&str, bool)> = found.iter().map(|(at, active)| (at.as_str(), *active)).collect();
        assert_eq!(
            found,
            [
                ("2027-03-26T07:00:00Z", true),
                ("2027-03-26T17:00:00Z", false),
                ("2027-03-29T06:00:00Z", true),
                ("2027-03-29T16:00:00Z", false),
            ]
        );
    }

    #[test]
    fn hours_that_pass_midnight_belong_to_the_day_on_which_they_begin() {
        let times = [office(&[Weekday::Friday], Some((22 * 60, 6 * 60)), "UTC")];
        for (moment, active) in [
            ("2027-01-01T21:59:59Z", false), // a Friday
            ("2027-01-01T22:00:00Z", true),
            ("2027-01-02T05:59:59Z", true),
            ("2027-01-02T06:00:00Z", false),
            ("2027-01-02T23:00:00Z", false),
        ] {
            assert_eq!(When::any(&times, at(moment)), active, "{moment}");
        }
    }

    #[test]
    fn whole_days_that_follow_each_other_are_one_span() {
        let working = [office(
            &Days::WORDS[..5].iter().map(|(_, day)| *day).collect::<Vec<_>>(),
            None,
            "UTC",
        )];
        // Monday the 4th: the week ends at Saturday's midnight.
        assert_eq!(
            When::next_change(&working, at("2027-01-04T12:00:00Z")),
            Some(at("2027-01-09T00:00:00Z"))
        );
        let always = [office(&Days::WORDS.map(|(_, day)| day), None, "Europe/Madrid")];
        assert_eq!(When::next_change(&always, at("2027-03-27T12:00:00Z")), None);
        assert!(When::any(&always, at("2027-03-28T01:30:00Z")));
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_or_has_twice() {
        let times = [office(&[Weekday::Sunday], Some((2 * 60 + 30, 4 * 60)), "Europe/Madrid")];
        // 02:30 is 03:30 on that day.
        let found = changes(&times, "2027-03-28T00:00:00Z", "2027-03-28T12:00:00Z");
        assert_eq!(found[0].0, "2027-03-28T01:30:00Z");
        assert_eq!(found[1].0, "2027-03-28T02:00:00Z");
        // 2027-10-31 03:00 becomes 02:00: the first 02:30 counts.
        let found = changes(&times, "2027-10-30T22:00:00Z", "2027-10-31T12:00:00Z");
        assert_eq!(found[0].0, "2027-10-31T00:30:00Z");
        assert_eq!(found[1].0, "2027-10-31T03:00:00Z");
    }
}
