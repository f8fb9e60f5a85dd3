//! Words of options as iptables reads and writes them (`libxtables/xtoptions.c`).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_netfilter::syntax::{Given, Names, SyntaxError};
use fielato_wire::{Addr, Family};

/// A number at the head of `text`, as C's `strtoul` with base 0 reads it (0x: hexadecimal, 0: octal), and what follows.
pub fn number_prefix(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (hex, 16),
        _ if text.starts_with('0') => (text, 8),
        _ => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (head, rest) = digits.split_at(end);
    Some((u64::from_str_radix(head, radix).ok()?, rest))
}

/// A number that is all of `text`, no larger than `max`.
pub fn number(text: &str, max: u64) -> Option<u64> {
    number_prefix(text)
        .filter(|&(number, rest)| rest.is_empty() && number <= max)
        .map(|(number, _)| number)
}

/// A port by number or by name.
pub fn port(text: &str, names: &dyn Names) -> Option<u16> {
    match number(text, 0xffff) {
        Some(port) => Some(port as u16),
        None => names.service(text, "tcp").or_else(|| names.service(text, "udp")),
    }
}

/// An address of `family`.
pub fn address(text: &str, family: Family) -> Option<Addr> {
    match family {
        Family::V4 => text.parse::<Ipv4Addr>().ok().map(Addr::from),
        Family::V6 => text.parse::<Ipv6Addr>().ok().map(Addr::from),
    }
}

/// `ADDRESS`, `ADDRESS/LENGTH` or `ADDRESS/MASK`: the address as it is, and the mask.
pub fn address_mask(text: &str, family: Family) -> Option<(Addr, Addr)> {
    let (head, mask) = match text.split_once('/') {
        None => (text, Addr::mask(family, family.bits())),
        Some((head, mask)) => {
            let length = number(mask, family.bits().into()).map(|length| Addr::mask(family, length as u8));
            (head, length.or_else(|| address(mask, family))?)
        }
    };
    Some((address(head, family)?, mask))
}

/// The length of a prefix mask; none when it has holes.
pub fn prefix_length(mask: Addr, family: Family) -> Option<u8> {
    (0..=family.bits()).find(|&length| Addr::mask(family, length) == mask)
}

/// `ADDRESS/LENGTH`, or `ADDRESS/MASK` when the mask has holes.
pub fn show_network(network: Addr, mask: Addr, family: Family) -> String {
    match prefix_length(mask, family) {
        Some(length) => format!("{}/{length}", network.display(family)),
        None => format!("{}/{}", network.display(family), mask.display(family)),
    }
}

/// A word with a leading space, quoted when it holds more than letters, digits, `_` and `-` (`xtables_save_string`).
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !word.is_empty() && word.chars().all(plain) {
        return format!(" {word}");
    }
    let mut out = String::from(" \"");
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The longest head of `text` of at most `max` bytes.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// The options given to one extension.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    name: &'static str,
    given: &'a [Given],
}

impl<'a> Options<'a> {
    /// The options `given` to the extension of this name.
    pub const fn new(name: &'static str, given: &'a [Given]) -> Options<'a> {
        Options { name, given }
    }

    /// An option as it was given.
    pub fn get(&self, option: &str) -> Option<&'a Given> {
        self.given.iter().find(|given| given.option == option)
    }

    /// Whether an option was given.
    pub fn has(&self, option: &str) -> bool {
        self.get(option).is_some()
    }

    /// Whether an option was given after `!`.
    pub fn negated(&self, option: &str) -> bool {
        self.get(option).is_some_and(|given| given.negated)
    }

    /// An option's word.
    pub fn text(&self, option: &str) -> Option<&'a str> {
        self.get(option).map(Given::value)
    }

    /// An option's word, which must be given.
    pub fn required(&self, option: &str) -> Result<&'a str, SyntaxError> {
        self.text(option)
            .ok_or_else(|| SyntaxError::new(format!("{}: option \"--{option}\" must be specified", self.name)))
    }

    /// An option's number from `min` to `max`.
    pub fn number(&self, option: &str, min: u64, max: u64) -> Result<Option<u64>, SyntaxError> {
        let Some(text) = self.text(option) else {
            return Ok(None);
        };
        match number(text, max).filter(|&number| number >= min) {
            Some(number) => Ok(Some(number)),
            None => Err(SyntaxError::new(format!(
                "{}: bad value for option \"--{option}\", or out of range ({min}-{max}).",
                self.name
            ))),
        }
    }

    /// An option's `VALUE[/MASK]`, 32 bits each.
    pub fn mark_mask(&self, option: &str) -> Result<Option<(u32, u32)>, SyntaxError> {
        let Some(text) = self.text(option) else {
            return Ok(None);
        };
        let all = u64::from(u32::MAX);
        let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
        let pair = number(value, all).zip(mask.map_or(Some(all), |mask| number(mask, all)));
        match pair {
            Some((value, mask)) => Ok(Some((value as u32, mask as u32))),
            None => Err(SyntaxError::new(format!(
                "{}: bad mark value for option \"--{option}\", or out of range.",
                self.name
            ))),
        }
    }

    /// Refuses two of `options` together.
    pub fn exclusive(&self, options: &[&str]) -> Result<(), SyntaxError> {
        let mut present = options.iter().filter(|option| self.has(option));
        match (present.next(), present.next()) {
            (Some(first), Some(second)) => Err(SyntaxError::new(format!(
                "{}: option \"--{second}\" cannot be used together with \"--{first}\".",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses `option` without `other`.
    pub fn needs(&self, option: &str, other: &str) -> Result<(), SyntaxError> {
        if self.has(option) && !self.has(other) {
            return Err(SyntaxError::new(format!(
                "{}: option \"--{option}\" also requires \"--{other}\".",
                self.name
            )));
        }
        Ok(())
    }
}

/// Help: a heading and a line per option and what it does.
pub fn help(heading: &str, lines: &[(&str, &str)]) -> String {
    let mut out = format!("{heading} options:\n");
    for (option, meaning) in lines {
        let _ = writeln!(out, "  {option:<30} {meaning}");
    }
    out
}

/// `NAME src,dst,...` of `-m set` and `-j SET`.
pub mod sides {
    use fielato_netfilter::matches::set::Sides;
    use fielato_netfilter::syntax::{Given, ParseContext, SyntaxError};

    /// Reads the two words of an option.
    pub fn parse(given: &Given, cx: &ParseContext<'_>) -> Result<(Box<str>, Sides), SyntaxError> {
        let [name, flags] = given.values.as_slice() else {
            return Err(SyntaxError::new(format!("--{} requires two args.", given.written)));
        };
        if name.len() > 31 {
            return Err(SyntaxError::new(format!("setname `{name}' too long, max 31 characters.")));
        }
        if !cx.names.has_set(name) {
            return Err(SyntaxError::new(format!("Set {name} doesn't exist.\n")));
        }
        let mut sides = Sides::default();
        for flag in flags.split(',') {
            if sides.count == Sides::MAX {
                return Err(SyntaxError::new("Can't be more src/dst options than 6."));
            }
            match flag.get(..3) {
                Some("src") => sides.source |= 1 << sides.count,
                Some("dst") => {}
                _ => {
                    return Err(SyntaxError::new(
                        "You must spefify (the comma separated list of) 'src' or 'dst'.",
                    ));
                }
            }
            sides.count += 1;
        }
        Ok((name.as_str().into(), sides))
    }

    /// As they were written.
    pub fn show(sides: Sides) -> String {
        let words = (0..usize::from(sides.count)).map(|place| if sides.is_source(place) { "src" } else { "dst" });
        words.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_c_does() {
        for (text, number) in [("10", 10), ("0x1F", 31), ("017", 15), ("0", 0), ("4294967295", 4_294_967_295)] {
            assert_eq!(super::number(text, u64::from(u32::MAX)), Some(number), "{text}");
        }
        for text in ["", "-1", "08", "1a", "4294967296", "0x"] {
            assert_eq!(super::number(text, u64::from(u32::MAX)), None, "{text}");
        }
        assert_eq!(number_prefix("42-1234"), Some((42, "-1234")));
    }

    #[test]
    fn quotes_what_needs_it() {
        assert_eq!(quoted("plain_1-2"), " plain_1-2");
        assert_eq!(quoted("test: "), " \"test: \"");
        assert_eq!(quoted("a\"b\\c'"), " \"a\\\"b\\\\c\\'\"");
        assert_eq!(quoted(""), " \"\"");
    }

    #[test]
    fn shows_masks_with_holes_as_masks() {
        let mask = address("255.0.255.0", Family::V4).unwrap();
        assert_eq!(show_network(Addr::ZERO, mask, Family::V4), "0.0.0.0/255.0.255.0");
        assert_eq!(
            address_mask("dead::/64", Family::V6).map(|(n, m)| show_network(n, m, Family::V6)),
            Some("dead::/64".to_owned())
        );
    }
}
