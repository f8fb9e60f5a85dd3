//! tc's units (`man 8 tc`, PARAMETERS): how numbers with a suffix are read and written.

use std::time::Duration;

use crate::spec::Handle;

/// A kind of value: how a word is read, and what to say when it can't be.
pub struct Unit<T> {
    /// What is wanted, for messages: "a rate such as 10mbit".
    pub expected: &'static str,
    /// The value of a word, if it has one.
    pub read: fn(&str) -> Option<T>,
}

/// Bytes per second, from bits or bytes per second.
pub const RATE: Unit<u64> = Unit {
    expected: "a rate such as 10mbit (bit, kbit, mbit, gbit, tbit; bps, kbps, mbps, gbps, tbps are bytes; a bare number is bits per second)",
    read: rate,
};

/// Bytes.
pub const SIZE: Unit<u32> = Unit {
    expected: "a size such as 32k (b, k, m, g are bytes; kbit, mbit, gbit are bits; a bare number is bytes)",
    read: size,
};

/// A length of time.
pub const TIME: Unit<Duration> = Unit {
    expected: "a time such as 20ms (s, ms, us; a bare number is microseconds)",
    read: time,
};

/// A length of time for netem's slots.
pub const PRECISE_TIME: Unit<Duration> = Unit {
    expected: "a time such as 800us (s, ms, us, ns; a bare number is nanoseconds)",
    read: precise_time,
};

/// Where random numbers begin.
pub const SEED: Unit<u64> = Unit {
    expected: "a whole number in decimal",
    read: |word| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?,
};

/// A percentage, 0 to 100.
pub const PERCENT: Unit<f64> = Unit {
    expected: "a percentage from 0% to 100%",
    read: percent,
};

/// A whole number: decimal, `0x` hexadecimal or `0` octal.
pub const NUMBER: Unit<u32> = Unit {
    expected: "a whole number",
    read: number,
};

/// A whole number that may be negative.
pub const SIGNED: Unit<i32> = Unit {
    expected: "a whole number",
    read: |word| word.parse().ok(),
};

/// `MAJOR:` or `MAJOR:MINOR`.
pub const HANDLE: Unit<Handle> = Unit {
    expected: "a handle MAJOR:MINOR in hexadecimal, such as 1:10",
    read: handle,
};

/// `MINOR`, with or without `0x`; always hexadecimal.
pub const MINOR: Unit<u16> = Unit {
    expected: "a class's minor number in hexadecimal, up to ffff",
    read: |word| hexadecimal(word.strip_prefix("0x").unwrap_or(word)),
};

/// Rates above this many bits per second are refused: beyond it a double, which tc reads into, skips numbers.
const MAX_BITS: f64 = (1u64 << 53) as f64;

fn rate(word: &str) -> Option<u64> {
    let (number, suffix) = split(word)?;
    let bits = number
        * match suffix.as_str() {
            "" | "bit" => 1.0,
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            "tbit" => 1e12,
            "kibit" => 1024.0,
            "mibit" => 1024f64.powi(2),
            "gibit" => 1024f64.powi(3),
            "tibit" => 1024f64.powi(4),
            "bps" => 8.0,
            "kbps" => 8e3,
            "mbps" => 8e6,
            "gbps" => 8e9,
            "tbps" => 8e12,
            "kibps" => 8.0 * 1024.0,
            "mibps" => 8.0 * 1024f64.powi(2),
            "gibps" => 8.0 * 1024f64.powi(3),
            "tibps" => 8.0 * 1024f64.powi(4),
            _ => return None,
        };
    (bits <= MAX_BITS).then_some((bits / 8.0) as u64)
}

fn size(word: &str) -> Option<u32> {
    let (number, suffix) = split(word)?;
    let bytes = number
        * match suffix.as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1024.0,
            "m" | "mb" => 1024f64.powi(2),
            "g" | "gb" => 1024f64.powi(3),
            "kbit" => 1024.0 / 8.0,
            "mbit" => 1024f64.powi(2) / 8.0,
            "gbit" => 1024f64.powi(3) / 8.0,
            _ => return None,
        };
    (bytes <= f64::from(u32::MAX)).then_some(bytes as u32)
}

fn time(word: &str) -> Option<Duration> {
    let (number, suffix) = split(word)?;
    let nanoseconds = number
        * match suffix.as_str() {
            "s" | "sec" | "secs" => 1e9,
            "ms" | "msec" | "msecs" => 1e6,
            "" | "us" | "usec" | "usecs" => 1e3,
            _ => return None,
        };
    // tc keeps microseconds in 32 bits.
    (nanoseconds <= f64::from(u32::MAX) * 1e3).then_some(Duration::from_nanos(nanoseconds.round() as u64))
}

fn precise_time(word: &str) -> Option<Duration> {
    let (number, suffix) = split(word)?;
    let nanoseconds = number
        * match suffix.as_str() {
            "s" | "sec" | "secs" => 1e9,
            "ms" | "msec" | "msecs" => 1e6,
            "us" | "usec" | "usecs" => 1e3,
            "" | "ns" | "nsec" | "nsecs" => 1.0,
            _ => return None,
        };
    // Beyond 2^53 a double, which tc reads into, skips numbers.
    (nanoseconds <= MAX_BITS).then_some(Duration::from_nanos(nanoseconds.round() as u64))
}

fn percent(word: &str) -> Option<f64> {
    let (number, suffix) = split(word)?;
    ((suffix.is_empty() || suffix == "%") && number <= 100.0).then_some(number)
}

fn number(word: &str) -> Option<u32> {
    if let Some(digits) = word.strip_prefix("0x") {
        return plain(digits, 16);
    }
    match word.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => plain(digits, 8),
        _ => plain(word, 10),
    }
}

fn handle(word: &str) -> Option<Handle> {
    let (major, minor) = word.split_once(':')?;
    let handle = Handle {
        major: hexadecimal(major)?,
        minor: if minor.is_empty() { 0 } else { hexadecimal(minor)? },
    };
    // 0: is the kernel's own default discipline, ffff: its ingress.
    (handle.major != 0 && handle.major != 0xffff).then_some(handle)
}

fn hexadecimal(digits: &str) -> Option<u16> {
    plain(digits, 16)?.try_into().ok()
}

/// Digits only: unlike `from_str_radix` alone, no sign.
fn plain(digits: &str, radix: u32) -> Option<u32> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| u32::from_str_radix(digits, radix).ok())?
}

/// A decimal number and its suffix in lower case: tc compares suffixes without regard to case.
fn split(word: &str) -> Option<(f64, String)> {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, suffix) = word.split_at(end);
    Some((number.parse().ok()?, suffix.to_ascii_lowercase()))
}

/// A rate as tc would take it back: the largest unit that divides it.
pub fn write_rate(bytes: u64) -> String {
    let bits = u128::from(bytes) * 8;
    for (unit, scale) in [
        ("tbit", 1_000_000_000_000),
        ("gbit", 1_000_000_000),
        ("mbit", 1_000_000),
        ("kbit", 1_000),
    ] {
        if bits != 0 && bits.is_multiple_of(scale) {
            return format!("{}{unit}", bits / scale);
        }
    }
    format!("{bits}bit")
}

/// A size as tc would take it back.
pub fn write_size(bytes: u32) -> String {
    for (unit, scale) in [("mb", 1 << 20), ("kb", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    format!("{bytes}b")
}

/// A time as tc would take it back; fractions of a microsecond as a decimal.
pub fn write_time(time: Duration) -> String {
    let nanoseconds = time.as_nanos();
    for (unit, scale) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if nanoseconds != 0 && nanoseconds.is_multiple_of(scale) {
            return format!("{}{unit}", nanoseconds / scale);
        }
    }
    format!("{}.{:03}us", nanoseconds / 1_000, nanoseconds % 1_000)
}

/// A time of a slot as tc would take it back.
pub fn write_precise_time(time: Duration) -> String {
    match time.as_nanos() {
        nanoseconds if nanoseconds.is_multiple_of(1_000) => write_time(time),
        nanoseconds => format!("{nanoseconds}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_powers_of_a_thousand_bits() {
        for (word, bytes) in [
            ("8", 1),
            ("8bit", 1),
            ("1kbit", 125),
            ("1.5mbit", 187_500),
            ("10Mbit", 1_250_000),
            ("1gbit", 125_000_000),
            ("1tbit", 125_000_000_000),
            ("1kibit", 128),
            ("1mibit", 131_072),
            ("1bps", 1),
            ("1kbps", 1_000),
            ("1mbps", 1_000_000),
            ("1MiBps", 1 << 20),
        ] {
            assert_eq!(rate(word), Some(bytes), "{word}");
        }
        for word in [
            "",
            "mbit",
            "10mb",
            "10%",
            "-1mbit",
            "1e6",
            "nan",
            "inf",
            "1 mbit",
            "9999tbit9",
            "99999tbit",
        ] {
            assert_eq!(rate(word), None, "{word}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024_even_in_bits() {
        for (word, bytes) in [
            ("1600", 1600),
            ("1600b", 1600),
            ("15k", 15_360),
            ("15kb", 15_360),
            ("1m", 1 << 20),
            ("32kbit", 4096),
            ("1mbit", 131_072),
        ] {
            assert_eq!(size(word), Some(bytes), "{word}");
        }
        for word in ["", "k", "4g", "-1", "10kib", "15kbps"] {
            assert_eq!(size(word), None, "{word}");
        }
    }

    #[test]
    fn bare_times_are_microseconds() {
        for (word, nanoseconds) in [
            ("100", 100_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("20usecs", 20_000),
            ("0.25us", 250),
            ("0", 0),
        ] {
            assert_eq!(time(word), Some(Duration::from_nanos(nanoseconds)), "{word}");
        }
        for word in ["", "ms", "10ns", "1h", "-1ms", "5000s"] {
            assert_eq!(time(word), None, "{word}");
        }
    }

    #[test]
    fn percentages_and_numbers() {
        assert_eq!(percent("25%"), Some(25.0));
        assert_eq!(percent("0.3"), Some(0.3));
        assert_eq!(percent("101%"), None);
        assert_eq!(percent("5%%"), None);
        assert_eq!(number("0x10"), Some(16));
        assert_eq!(number("010"), Some(8));
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("+1"), None);
        assert_eq!(number("4294967296"), None);
    }

    #[test]
    fn handles_are_hexadecimal() {
        assert_eq!(handle("1:10"), Some(Handle { major: 1, minor: 0x10 }));
        assert_eq!(handle("8001:"), Some(Handle { major: 0x8001, minor: 0 }));
        for word in ["1", ":1", "0:1", "ffff:", "1:10000", "1:1:1", "+1:", "1:-1", "g:"] {
            assert_eq!(handle(word), None, "{word}");
        }
        assert_eq!((MINOR.read)("30"), Some(0x30));
        assert_eq!((MINOR.read)("0x30"), Some(0x30));
    }
}
