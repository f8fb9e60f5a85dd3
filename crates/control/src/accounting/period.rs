//! The periods of quotas: days, weeks and months of UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

/// How long a quota counts before it begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday (ISO 8601).
    Week,
    /// From the first.
    Month,
}

impl Period {
    /// When the period in which this moment is began.
    pub fn begin(self, now: Timestamp) -> Timestamp {
        moment(self.first_day(now))
    }

    /// When the next one begins.
    pub fn end(self, now: Timestamp) -> Timestamp {
        let first = self.first_day(now);
        let next = match self {
            Self::Day => first.checked_add(1.day()),
            Self::Week => first.checked_add(7.days()),
            Self::Month => first.checked_add(1.month()),
        };
        // Beyond the end of the calendar nothing ends.
        next.map_or(Timestamp::MAX, moment)
    }

    fn first_day(self, now: Timestamp) -> Date {
        let today = now.to_zoned(TimeZone::UTC).date();
        match self {
            Self::Day => today,
            Self::Week => {
                let since = i64::from(today.weekday().to_monday_zero_offset());
                today.checked_sub(since.days()).unwrap_or(today)
            }
            Self::Month => today.first_of_month(),
        }
    }
}

fn moment(day: Date) -> Timestamp {
    day.to_zoned(TimeZone::UTC)
        .map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_and_ends() {
        for (period, now, begin, end) in [
            (
                Period::Day,
                "2026-02-28T23:59:59Z",
                "2026-02-28T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                Period::Week,
                "2026-11-22T12:00:00Z",
                "2026-11-16T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                Period::Week,
                "2026-11-23T00:00:00Z",
                "2026-11-23T00:00:00Z",
                "2026-11-30T00:00:00Z",
            ),
            (
                Period::Month,
                "2024-02-29T00:00:00Z",
                "2024-02-01T00:00:00Z",
                "2024-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            let now: Timestamp = now.parse().unwrap();
            assert_eq!(period.begin(now), begin.parse().unwrap(), "{period:?} {now}");
            assert_eq!(period.end(now), end.parse().unwrap(), "{period:?} {now}");
        }
        // At the ends of time, too, there is an answer.
        for period in [Period::Day, Period::Week, Period::Month] {
            assert!(period.begin(Timestamp::MAX) <= period.end(Timestamp::MAX));
            assert!(period.begin(Timestamp::MIN) <= period.end(Timestamp::MIN));
        }
    }
}
