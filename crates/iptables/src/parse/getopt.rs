//! `getopt_long` with non-options in place, over a table of options that grows as matches and targets are loaded.

use fielato_netfilter::syntax::{Arguments, OptionSpec};

/// An option of the language itself, by its short letter. `0` is `--line-numbers`.
pub(super) type Letter = u8;

/// How an option takes its argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    No,
    Required,
    Optional,
}

const LONG: &[(&str, Takes, Letter)] = &[
    ("append", Takes::Required, b'A'),
    ("delete", Takes::Required, b'D'),
    ("check", Takes::Required, b'C'),
    ("insert", Takes::Required, b'I'),
    ("replace", Takes::Required, b'R'),
    ("list", Takes::Optional, b'L'),
    ("list-rules", Takes::Optional, b'S'),
    ("flush", Takes::Optional, b'F'),
    ("zero", Takes::Optional, b'Z'),
    ("new-chain", Takes::Required, b'N'),
    ("delete-chain", Takes::Optional, b'X'),
    ("rename-chain", Takes::Required, b'E'),
    ("policy", Takes::Required, b'P'),
    ("source", Takes::Required, b's'),
    ("destination", Takes::Required, b'd'),
    ("src", Takes::Required, b's'),
    ("dst", Takes::Required, b'd'),
    ("protocol", Takes::Required, b'p'),
    ("in-interface", Takes::Required, b'i'),
    ("jump", Takes::Required, b'j'),
    ("table", Takes::Required, b't'),
    ("match", Takes::Required, b'm'),
    ("numeric", Takes::No, b'n'),
    ("out-interface", Takes::Required, b'o'),
    ("verbose", Takes::No, b'v'),
    ("wait", Takes::Optional, b'w'),
    ("wait-interval", Takes::Optional, b'W'),
    ("exact", Takes::No, b'x'),
    ("fragments", Takes::No, b'f'),
    ("version", Takes::No, b'V'),
    ("help", Takes::Optional, b'h'),
    ("line-numbers", Takes::No, b'0'),
    ("modprobe", Takes::Required, b'M'),
    ("set-counters", Takes::Required, b'c'),
    ("goto", Takes::Required, b'g'),
    ("ipv4", Takes::No, b'4'),
    ("ipv6", Takes::No, b'6'),
];

/// The letters that may stand after one dash.
fn short(letter: u8) -> Option<Takes> {
    Some(match letter {
        b'A' | b'C' | b'D' | b'E' | b'I' | b'M' | b'N' | b'P' | b'R' => Takes::Required,
        b'c' | b'd' | b'g' | b'i' | b'j' | b'm' | b'o' | b'p' | b's' | b't' => Takes::Required,
        b'F' | b'L' | b'X' | b'Z' | b'S' | b'W' | b'h' | b'w' => Takes::Optional,
        b'V' | b'4' | b'6' | b'f' | b'n' | b'v' | b'x' => Takes::No,
        _ => return None,
    })
}

/// What stands next on the command line.
pub(super) enum Item<'a> {
    /// An option of the language.
    Base(Letter, Option<&'a str>),
    /// An option of a loaded module: the module's number, the option, its first word.
    Module(usize, &'static OptionSpec, Option<&'a str>),
    /// A word that is no option.
    Word(&'a str),
    /// An option whose argument is missing.
    Missing,
    /// An unknown or ambiguous option.
    Unknown,
    /// The end, or `--`.
    End,
}

/// A walk along the command line.
pub(super) struct Getopt<'a> {
    words: &'a [&'a str],
    /// The next word to look at (C's `optind`).
    next: usize,
    /// Rest of a cluster of short options.
    cluster: &'a str,
    /// Options of loaded modules, in the order they were loaded; the newest is asked first.
    modules: Vec<&'static [OptionSpec]>,
}

impl<'a> Getopt<'a> {
    pub(super) fn new(words: &'a [&'a str]) -> Getopt<'a> {
        Getopt {
            words,
            next: 0,
            cluster: "",
            modules: Vec::new(),
        }
    }

    /// Makes a module's options known; gives its number.
    pub(super) fn load(&mut self, options: &'static [OptionSpec]) -> usize {
        self.modules.push(options);
        self.modules.len() - 1
    }

    pub(super) fn next_item(&mut self) -> Item<'a> {
        if !self.cluster.is_empty() {
            return self.short_option();
        }
        let Some(&word) = self.words.get(self.next) else {
            return Item::End;
        };
        self.next += 1;
        if word == "--" {
            return Item::End;
        }
        if let Some(long) = word.strip_prefix("--") {
            return self.long_option(long);
        }
        match word.strip_prefix('-') {
            Some(cluster) if !cluster.is_empty() => {
                self.cluster = cluster;
                self.short_option()
            }
            _ => Item::Word(word),
        }
    }

    /// Looks at the last word again, after its option became known.
    pub(super) fn again(&mut self) {
        self.next = self.next.saturating_sub(1);
        self.cluster = "";
    }

    /// The word before the next one, for messages.
    pub(super) fn last_word(&self) -> &'a str {
        self.next
            .checked_sub(1)
            .and_then(|last| self.words.get(last))
            .copied()
            .unwrap_or("")
    }

    /// The next word if it is neither an option nor `!`: a further argument.
    pub(super) fn further(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next).copied()?;
        if word.starts_with(['-', '!']) {
            return None;
        }
        self.next += 1;
        Some(word)
    }

    /// The whole command line.
    pub(super) fn words(&self) -> &'a [&'a str] {
        self.words
    }

    /// Whether words are left.
    pub(super) fn has_rest(&self) -> bool {
        self.next < self.words.len()
    }

    fn short_option(&mut self) -> Item<'a> {
        let Some(letter) = self.cluster.chars().next() else {
            return Item::Unknown;
        };
        let rest = self.cluster.get(letter.len_utf8()..).unwrap_or("");
        let takes = u8::try_from(letter).ok().and_then(|letter| Some((letter, short(letter)?)));
        let Some((letter, takes)) = takes else {
            self.cluster = rest;
            return Item::Unknown;
        };
        if takes == Takes::No {
            self.cluster = rest;
            return Item::Base(letter, None);
        }
        self.cluster = "";
        if !rest.is_empty() {
            return Item::Base(letter, Some(rest));
        }
        if takes == Takes::Optional {
            return Item::Base(letter, None);
        }
        match self.required() {
            Some(word) => Item::Base(letter, Some(word)),
            None => Item::Missing,
        }
    }

    fn required(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next).copied()?;
        self.next += 1;
        Some(word)
    }

    fn long_option(&mut self, long: &'a str) -> Item<'a> {
        let (name, given) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let Some(found) = self.find_long(name) else {
            return Item::Unknown;
        };
        let takes = match found {
            Found::Base(takes, _) => takes,
            Found::Module(_, spec) => match spec.arguments {
                Arguments::None => Takes::No,
                Arguments::One | Arguments::Two => Takes::Required,
                Arguments::Optional => Takes::Optional,
            },
        };
        let value = match (takes, given) {
            (Takes::No, Some(_)) => return Item::Unknown,
            (Takes::No | Takes::Optional, None) => None,
            (Takes::Required | Takes::Optional, Some(value)) => Some(value),
            (Takes::Required, None) => match self.required() {
                Some(word) => Some(word),
                None => return Item::Missing,
            },
        };
        match found {
            Found::Base(_, letter) => Item::Base(letter, value),
            Found::Module(module, spec) => Item::Module(module, spec, value),
        }
    }

    /// The option of this name; else the only one it is an abbreviation of.
    fn find_long(&self, name: &str) -> Option<Found> {
        let all = || {
            let base = LONG.iter().map(|&(name, takes, letter)| (name, Found::Base(takes, letter)));
            let modules = self.modules.iter().enumerate().rev();
            base.chain(
                modules.flat_map(|(number, options)| options.iter().map(move |spec| (spec.name, Found::Module(number, spec)))),
            )
        };
        if let Some((_, found)) = all().find(|(known, _)| *known == name) {
            return Some(found);
        }
        let mut fitting = all().filter(|(known, _)| known.starts_with(name)).map(|(_, found)| found);
        let first = fitting.next()?;
        fitting.all(|other| other.same(&first)).then_some(first)
    }
}

#[derive(Clone, Copy)]
enum Found {
    Base(Takes, Letter),
    Module(usize, &'static OptionSpec),
}

impl Found {
    /// Two names of one option don't make an abbreviation ambiguous.
    fn same(&self, other: &Found) -> bool {
        match (self, other) {
            (Found::Base(_, one), Found::Base(_, two)) => one == two,
            (Found::Module(one, a), Found::Module(two, b)) => one == two && a.canonical == b.canonical,
            _ => false,
        }
    }
}
