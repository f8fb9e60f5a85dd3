//! The options of iptables-save, iptables-restore and iptables-xml: plain `getopt_long`, with the C library's own messages.

use super::Exit;
use crate::command::Wait;
use crate::error::{Error, Program};
use crate::parse::{parse_wait, parse_wait_interval};
use crate::xml::XmlOptions;

/// `iptables-save`'s.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SaveArguments<'a> {
    pub(super) counters: bool,
    pub(super) table: Option<&'a str>,
    pub(super) file: Option<&'a str>,
}

const SAVE: &[Known] = &[
    Known::new('c', "counters", false),
    Known::new('d', "dump", false),
    Known::new('t', "table", true),
    Known::new('M', "modprobe", true),
    Known::new('f', "file", true),
    Known::new('V', "version", false),
];

impl<'a> SaveArguments<'a> {
    /// What the words say; `None` for `-V`.
    pub(super) fn parse(invoked: &str, name: &str, words: &[&'a str]) -> Result<Option<SaveArguments<'a>>, Exit> {
        let mut arguments = SaveArguments::default();
        let mut scan = Scan::new(words, SAVE);
        let advice = format!("Look at manual page `{name}.8' for more information.\n");
        while let Some((letter, value)) = scan.next().map_err(|problem| problem.exit(invoked, &advice))? {
            match letter {
                'c' => arguments.counters = true,
                't' => arguments.table = value,
                'f' => arguments.file = value,
                'V' => return Ok(None),
                // -d prints what is printed anyway; -M loads modules, of which there are none.
                _ => {}
            }
        }
        match scan.rest.is_empty() {
            true => Ok(Some(arguments)),
            false => Err(unknown_arguments()),
        }
    }
}

/// `iptables-restore`'s.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RestoreArguments<'a> {
    Read(ReadArguments<'a>),
    Version,
    Help,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadArguments<'a> {
    pub(super) counters: bool,
    pub(super) verbose: u8,
    pub(super) test: bool,
    pub(super) noflush: bool,
    pub(super) wait: Wait,
    pub(super) table: Option<&'a str>,
    pub(super) file: Option<&'a str>,
    /// What to say beforehand.
    pub(super) warning: String,
}

const RESTORE: &[Known] = &[
    Known::new('c', "counters", false),
    Known::new('v', "verbose", false),
    Known::new('V', "version", false),
    Known::new('t', "test", false),
    Known::new('h', "help", false),
    Known::new('n', "noflush", false),
    Known::new('M', "modprobe", true),
    Known::new('T', "table", true),
    Known::new('w', "wait", false).optional(),
    Known::new('W', "wait-interval", false).optional(),
];

impl<'a> RestoreArguments<'a> {
    pub(super) fn parse(invoked: &str, name: &str, words: &[&'a str]) -> Result<RestoreArguments<'a>, Exit> {
        let mut arguments = ReadArguments::default();
        let mut scan = Scan::new(words, RESTORE);
        let advice = format!("Try `{name} -h' for more information.\n");
        let refused = |error: Error| Exit {
            code: error.exit_code(),
            message: error.render(&Program::legacy(name), None),
        };
        let mut interval = false;
        while let Some((letter, value)) = scan.next().map_err(|problem| problem.exit(invoked, &advice))? {
            match letter {
                'c' => arguments.counters = true,
                'v' => arguments.verbose = arguments.verbose.saturating_add(1),
                't' => arguments.test = true,
                'n' => arguments.noflush = true,
                'T' => arguments.table = value,
                'w' => arguments.wait = parse_wait(value.or_else(|| scan.further())).map_err(refused)?,
                'W' => {
                    interval = true;
                    let said = parse_wait_interval(value.or_else(|| scan.further())).map_err(refused)?;
                    arguments.warning = said + "\n";
                }
                'V' => return Ok(RestoreArguments::Version),
                'h' => return Ok(RestoreArguments::Help),
                _ => {}
            }
        }
        match scan.rest[..] {
            [] => {}
            [file] => arguments.file = Some(file),
            _ => return Err(unknown_arguments()),
        }
        if interval && arguments.wait == Wait::No {
            return Err(Exit {
                code: 1,
                message: "Option --wait-interval requires option --wait\n".to_owned(),
            });
        }
        Ok(RestoreArguments::Read(arguments))
    }
}

/// `iptables-xml`'s.
#[derive(Debug, Default)]
pub(super) struct XmlArguments<'a> {
    pub(super) options: XmlOptions,
    pub(super) file: Option<&'a str>,
}

const XML: &[Known] = &[
    Known::new('v', "verbose", false),
    Known::new('c', "combine", false),
    Known::new('h', "help", false),
];

const XML_USAGE: &str = "\
Usage: iptables-xml [-c] [-v] [-h]
          [--combine ]
\t   [ --verbose ]
\t   [ --help ]
";

impl<'a> XmlArguments<'a> {
    pub(super) fn parse(invoked: &str, words: &[&'a str]) -> Result<XmlArguments<'a>, Exit> {
        let mut arguments = XmlArguments::default();
        let mut scan = Scan::new(words, XML);
        while let Some((letter, _)) = scan.next().map_err(|problem| problem.exit(invoked, XML_USAGE))? {
            match letter {
                'c' => arguments.options.combine = true,
                'v' => arguments.options.verbose = true,
                // Help is given on standard error, with exit code 1, as there.
                _ => {
                    return Err(Exit {
                        code: 1,
                        message: XML_USAGE.to_owned(),
                    });
                }
            }
        }
        match scan.rest[..] {
            [] => {}
            [file] => arguments.file = Some(file),
            _ => return Err(unknown_arguments()),
        }
        Ok(arguments)
    }
}

fn unknown_arguments() -> Exit {
    Exit {
        code: 1,
        message: "Unknown arguments found on commandline\n".to_owned(),
    }
}

pub(super) struct Known {
    letter: char,
    name: &'static str,
    argument: bool,
    /// `--name=value` may be, a following word is not taken.
    optional: bool,
}

impl Known {
    pub(super) const fn new(letter: char, name: &'static str, argument: bool) -> Known {
        Known {
            letter,
            name,
            argument,
            optional: false,
        }
    }

    const fn optional(self) -> Known {
        Known { optional: true, ..self }
    }
}

/// What the C library complains of, without the program's name.
pub(super) struct Problem(String);

impl Problem {
    pub(super) fn exit(self, invoked: &str, advice: &str) -> Exit {
        Exit {
            code: 1,
            message: format!("{invoked}: {}\n{advice}", self.0),
        }
    }
}

pub(super) struct Scan<'a, 'w> {
    words: std::iter::Peekable<std::slice::Iter<'w, &'a str>>,
    known: &'static [Known],
    cluster: &'a str,
    /// Words that are no options.
    pub(super) rest: Vec<&'a str>,
}

impl<'a, 'w> Scan<'a, 'w> {
    pub(super) fn new(words: &'w [&'a str], known: &'static [Known]) -> Scan<'a, 'w> {
        Scan {
            words: words.iter().peekable(),
            known,
            cluster: "",
            rest: Vec::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<(char, Option<&'a str>)>, Problem> {
        loop {
            if let Some(letter) = self.cluster.chars().next() {
                self.cluster = self.cluster.get(letter.len_utf8()..).unwrap_or("");
                return self.short(letter).map(Some);
            }
            let Some(word) = self.words.next().copied() else {
                return Ok(None);
            };
            if word == "--" {
                self.rest.extend(self.words.by_ref().copied());
            } else if let Some(long) = word.strip_prefix("--") {
                return self.long(long).map(Some);
            } else if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
                self.cluster = cluster;
            } else {
                self.rest.push(word);
            }
        }
    }

    /// The next word if it is no option.
    fn further(&mut self) -> Option<&'a str> {
        self.words.next_if(|word| !word.starts_with(['-', '!'])).copied()
    }

    fn short(&mut self, letter: char) -> Result<(char, Option<&'a str>), Problem> {
        let Some(known) = self.known.iter().find(|known| known.letter == letter) else {
            return Err(Problem(format!("invalid option -- '{letter}'")));
        };
        if !known.argument {
            return Ok((letter, None));
        }
        let rest = std::mem::take(&mut self.cluster);
        let value = Some(rest)
            .filter(|rest| !rest.is_empty())
            .or_else(|| self.words.next().copied());
        match value {
            Some(value) => Ok((letter, Some(value))),
            None => Err(Problem(format!("option requires an argument -- '{letter}'"))),
        }
    }

    fn long(&mut self, long: &'a str) -> Result<(char, Option<&'a str>), Problem> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let exact = self.known.iter().find(|known| known.name == name);
        let fitting: Vec<&Known> = self.known.iter().filter(|known| known.name.starts_with(name)).collect();
        let known = match (exact, &fitting[..]) {
            (Some(known), _) => known,
            (None, [known]) => *known,
            (None, []) => return Err(Problem(format!("unrecognized option '--{long}'"))),
            (None, several) => {
                let names: String = several.iter().map(|known| format!(" '--{}'", known.name)).collect();
                return Err(Problem(format!("option '--{long}' is ambiguous; possibilities:{names}")));
            }
        };
        match value {
            Some(_) if !known.argument && !known.optional => {
                Err(Problem(format!("option '--{}' doesn't allow an argument", known.name)))
            }
            None if known.argument => match self.words.next() {
                Some(word) => Ok((known.letter, Some(word))),
                None => Err(Problem(format!("option '--{}' requires an argument", known.name))),
            },
            value => Ok((known.letter, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn save_options() {
        let parse = |words: &[&'static str]| SaveArguments::parse("x-save", "iptables-save", words);
        let wanted = SaveArguments {
            counters: true,
            table: Some("nat"),
            file: Some("out"),
        };
        assert_eq!(parse(&["-ctnat", "--fi=out"]), Ok(Some(wanted)));
        assert_eq!(parse(&["-V"]), Ok(None));
        let message = |words| parse(words).unwrap_err().message;
        let advice = "Look at manual page `iptables-save.8' for more information.\n";
        assert_eq!(message(&["-z"]), format!("x-save: invalid option -- 'z'\n{advice}"));
        assert_eq!(
            message(&["-t"]),
            format!("x-save: option requires an argument -- 't'\n{advice}")
        );
        assert_eq!(
            message(&["--table"]),
            format!("x-save: option '--table' requires an argument\n{advice}")
        );
        assert_eq!(message(&["more"]), "Unknown arguments found on commandline\n");
    }

    #[test]
    fn restore_options() {
        let parse = |words: &[&'static str]| RestoreArguments::parse("r", "iptables-restore", words);
        let wanted = ReadArguments {
            counters: true,
            verbose: 2,
            noflush: true,
            wait: Wait::Seconds(5),
            table: Some("raw"),
            file: Some("file"),
            ..Default::default()
        };
        let words = ["-cnvv", "-w", "5", "--table", "raw", "--", "file"];
        assert_eq!(parse(&words), Ok(RestoreArguments::Read(wanted)));
        assert_eq!(parse(&["-h"]), Ok(RestoreArguments::Help));
        let message = |words| parse(words).unwrap_err().message;
        let advice = "Try `iptables-restore -h' for more information.\n";
        assert_eq!(
            message(&["--t"]),
            format!("r: option '--t' is ambiguous; possibilities: '--test' '--table'\n{advice}")
        );
        assert_eq!(
            message(&["--no=4"]),
            format!("r: option '--noflush' doesn't allow an argument\n{advice}")
        );
        assert_eq!(message(&["-W", "1"]), "Option --wait-interval requires option --wait\n");
    }
}
