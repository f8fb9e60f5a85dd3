//! `-m time`: nft has the hour, the day of the week and the time.

use fielato_netfilter::matches::time::Parameters;

use super::Reason;

pub(super) fn time(p: &Parameters) -> Result<String, Reason> {
    if p.kernel_zone {
        return Err("nft doesn't know the kernel's time zone".to_owned());
    }
    if p.monthdays != Parameters::ALL_MONTHDAYS {
        return Err("nft has no days of the month".to_owned());
    }
    let over_midnight = p.day_stop < p.day_start;
    let whole_week = p.weekdays == Parameters::ALL_WEEKDAYS;
    if p.contiguous && over_midnight && !(whole_week && p.date_start == 0 && p.date_stop >= Parameters::LAST_DATE) {
        return Err("nft can't count what is after midnight to the day before".to_owned());
    }
    let mut words = Vec::new();
    // Plain numbers are UTC to nft, written times are local.
    if p.date_start != 0 || p.date_stop < Parameters::LAST_DATE {
        words.push(format!("meta time {}-{}", p.date_start, p.date_stop));
    }
    if over_midnight {
        // The hours that it doesn't hold; none lie between a start and a stop that touch.
        let (from, to) = (p.day_stop.saturating_add(1), p.day_start.saturating_sub(1));
        if from <= to {
            words.push(format!("meta hour != {from}-{to}"));
        }
    } else if p.day_start != 0 || p.day_stop < Parameters::LAST_SECOND {
        words.push(format!("meta hour {}-{}", p.day_start, p.day_stop));
    }
    if !whole_week {
        // Sunday is 0 to nft, 7 to iptables.
        let days: Vec<String> = (1..=7u8)
            .filter(|day| p.weekdays >> day & 1 != 0)
            .map(|day| (day % 7).to_string())
            .collect();
        words.push(match days.is_empty() {
            true => super::words::NEVER.to_owned(),
            false => format!("meta day {{ {} }}", days.join(", ")),
        });
    }
    Ok(words.join(" "))
}
