//! `-m time` (`xt_time.c`).

use crate::Now;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m time`.
#[derive(Clone, Debug, PartialEq)]
pub struct Time(pub Box<Parameters>);

/// The parameters of `-m time`. Times are UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// First second since 1970.
    pub date_start: u32,
    /// Last second since 1970.
    pub date_stop: u32,
    /// First second of the day.
    pub day_start: u32,
    /// Last second of the day; before the first, the span goes over midnight.
    pub day_stop: u32,
    /// Days of the month, bits 1 to 31.
    pub monthdays: u32,
    /// Days of the week, bits 1 (Monday) to 7 (Sunday).
    pub weekdays: u8,
    /// `--kerneltz`: the kernel's zone, which is UTC here.
    pub kernel_zone: bool,
    /// `--contiguous`: what is after midnight belongs to the day before.
    pub contiguous: bool,
}

const DAY: u64 = 86_400;

impl Parameters {
    /// All days of a month.
    pub const ALL_MONTHDAYS: u32 = 0xffff_fffe;
    /// All days of a week.
    pub const ALL_WEEKDAYS: u8 = 0xfe;
    /// The last second of a day.
    pub const LAST_SECOND: u32 = DAY as u32 - 1;
    /// The last date, as iptables has it.
    pub const LAST_DATE: u32 = i32::MAX as u32;

    fn hold(&self, seconds: u64) -> bool {
        if seconds < u64::from(self.date_start) || seconds > u64::from(self.date_stop) {
            return false;
        }
        let of_day = (seconds % DAY) as u32;
        let mut day = seconds / DAY;
        if self.day_start < self.day_stop {
            if !(self.day_start..=self.day_stop).contains(&of_day) {
                return false;
            }
        } else {
            if of_day < self.day_start && of_day > self.day_stop {
                return false;
            }
            if self.contiguous && of_day <= self.day_stop {
                day = day.saturating_sub(1);
            }
        }
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3) % 7 + 1;
        u64::from(self.weekdays) >> weekday & 1 != 0
            && (self.monthdays == Parameters::ALL_MONTHDAYS || self.monthdays >> monthday(day) & 1 != 0)
    }
}

/// The day of the month, 1 to 31, of a day since 1970.
fn monthday(day: u64) -> u32 {
    // Years begin in March, so that the leap day is the last; 719,468 days from 0000-03-01 to 1970-01-01.
    let day = (day + 719_468) % 146_097;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (of_year - (153 * month + 2) / 5 + 1) as u32
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            date_start: 0,
            date_stop: Parameters::LAST_DATE,
            day_start: 0,
            day_stop: Parameters::LAST_SECOND,
            monthdays: Parameters::ALL_MONTHDAYS,
            weekdays: Parameters::ALL_WEEKDAYS,
            kernel_zone: false,
            contiguous: false,
        }
    }
}

impl Time {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let p = &*self.0;
        if p.day_start > Parameters::LAST_SECOND || p.day_stop > Parameters::LAST_SECOND {
            return Err(CheckError("time: a time of day is after 23:59:59".to_owned()));
        }
        if p.contiguous && p.day_start < p.day_stop {
            return Err(CheckError("time: --contiguous needs a span over midnight".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.0.hold(cx.now.wall / Now::SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_calendar() {
        // 1970-01-01, 1972-02-29, 2000-02-29, 2000-03-01, 2026-11-22, 2038-01-19
        for (day, of_month) in [(0, 1), (789, 29), (11_016, 29), (11_017, 1), (20_779, 22), (24_855, 19)] {
            assert_eq!(monthday(day), of_month, "day {day}");
        }
    }

    #[test]
    fn holds_in_its_span() {
        let span = |start: u32, stop: u32, contiguous: bool, weekdays: u8| Parameters {
            day_start: start * 3600,
            day_stop: stop * 3600,
            contiguous,
            weekdays,
            ..Parameters::default()
        };
        // 1970-01-01 was a Thursday: bit 4.
        let cases = [
            (span(8, 17, false, 0xfe), 12, true),
            (span(8, 17, false, 0xfe), 18, false),
            (span(22, 6, false, 0xfe), 23, true),
            (span(22, 6, false, 0xfe), 5, true),
            (span(22, 6, false, 0xfe), 12, false),
            (span(22, 6, false, 1 << 4), 24 + 5, false),
            (span(22, 6, true, 1 << 4), 24 + 5, true),
            (span(0, 23, false, 1 << 5), 12, false),
        ];
        for (parameters, hour, holds) in cases {
            assert_eq!(parameters.hold(hour * 3600), holds, "{parameters:?} at {hour}:00");
        }
    }
}
