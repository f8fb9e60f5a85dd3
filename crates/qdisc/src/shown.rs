//! Numbers as `tc … show` prints them. What it prints is rounded, and not always what it reads.

/// Bytes per second as tc prints them: `10Mbit`.
pub fn rate(bytes: u64) -> String {
    let mut bits = u128::from(bytes) * 8;
    for unit in ["", "K", "M", "G"] {
        // Below a million of a unit, only whole thousands go over into the next.
        if bits < 1000 || (bits % 1000 != 0 && bits < 1_000_000) {
            return format!("{bits}{unit}bit");
        }
        bits /= 1000;
    }
    format!("{bits}Tbit")
}

/// Bytes as tc prints them: `15Kb`.
pub fn size(bytes: u32) -> String {
    let near = |unit: f64, slack: f64| {
        let count = (f64::from(bytes) / unit).round_ties_even();
        (f64::from(bytes) >= unit && (count * unit - f64::from(bytes)).abs() < slack).then_some(count)
    };
    match (near(1024.0 * 1024.0, 1024.0), near(1024.0, 16.0)) {
        (Some(megabytes), _) => format!("{megabytes}Mb"),
        (None, Some(kilobytes)) => format!("{kilobytes}Kb"),
        (None, None) => format!("{bytes}b"),
    }
}

/// Microseconds as tc prints them, in three digits: `400ms`.
pub fn time(microseconds: f64) -> String {
    if microseconds >= 1e6 {
        format!("{}s", general(microseconds / 1e6, 3))
    } else if microseconds >= 1e3 {
        format!("{}ms", general(microseconds / 1e3, 3))
    } else {
        format!("{}us", microseconds.trunc())
    }
}

/// A number of at least 1e-4 in so many significant digits without closing zeros, as C's `%g` writes it below 10^digits.
pub fn general(number: f64, digits: i32) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let decimals = (digits - 1 - number.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_tcs() {
        for (bytes, text) in [
            (1, "8bit"),
            (125, "1Kbit"),
            (187_500, "1500Kbit"),
            (1_250_000, "10Mbit"),
            (154_321_000, "1234Mbit"),
        ] {
            assert_eq!(rate(bytes), text);
        }
        for (bytes, text) in [
            (1600, "1600b"),
            (15_360, "15Kb"),
            (4_095, "4Kb"),
            (1_048_576, "1Mb"),
            (10, "10b"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (microseconds, text) in [
            (400_000.0, "400ms"),
            (1_500_000.0, "1.5s"),
            (999.0, "999us"),
            (12_345.0, "12.3ms"),
            (0.0, "0us"),
        ] {
            assert_eq!(time(microseconds), text);
        }
    }
}
