//! Words of options as iptables reads and writes them (`libxtables/xtoptions.c`).

use std::fmt::Write as _;

use fielato_netfilter::syntax::{Given, Names, SyntaxError};

use super::values;

/// A port by number or by name.
pub fn port(text: &str, names: &dyn Names) -> Option<u16> {
    let service = |protocol| values::port(text, protocol, names).ok();
    service("tcp").or_else(|| service("udp"))
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
        values::find(self.given, option)
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
        values::required(self.name, self.given, option).map(Given::value)
    }

    /// An option's number from `min` to `max`.
    pub fn number(&self, option: &str, min: u64, max: u64) -> Result<Option<u64>, SyntaxError> {
        let number = |given| values::integer(self.name, given, min, max);
        self.get(option).map(number).transpose()
    }

    /// An option's `VALUE[/MASK]`, 32 bits each.
    pub fn mark_mask(&self, option: &str) -> Result<Option<(u32, u32)>, SyntaxError> {
        let pair = |given| values::value_mask(self.name, given);
        self.get(option).map(pair).transpose()
    }

    /// Refuses two of `options` together.
    pub fn exclusive(&self, options: &[&str]) -> Result<(), SyntaxError> {
        let mut present = options.iter().filter(|option| self.has(option));
        match (present.next(), present.next()) {
            (Some(first), Some(second)) => values::exclusive(self.name, self.given, second, first),
            _ => Ok(()),
        }
    }

    /// Refuses `option` without `other`.
    pub fn needs(&self, option: &str, other: &str) -> Result<(), SyntaxError> {
        if self.has(option) && !self.has(other) {
            return Err(SyntaxError::new(format!(
                "{}: option \"--{option}\" also requires \"--{other}\".\n",
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
