//! What goes wrong, with iptables' words and exit codes.

use std::fmt::Write as _;

/// What the program calls itself in texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `iptables`, `ip6tables-restore`, …
    pub name: String,
    /// As `-V` prints it after the `v`.
    pub version: String,
}

/// The version whose language this is.
pub const VERSION: &str = "1.8.9";

impl Program {
    /// A program of this name that speaks as iptables 1.8.9 (legacy) does.
    pub fn legacy(name: impl Into<String>) -> Program {
        Program {
            name: name.into(),
            version: format!("{VERSION} (legacy)"),
        }
    }
}

/// Why an operation on a table was refused: libiptc's errors, by the function that gave them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// ENOENT.
    #[error("No chain/target/match by that name")]
    NotFound,
    /// `-N`, `-E`
    #[error("Chain already exists")]
    ChainExists,
    /// `-E` onto a name that is taken.
    #[error("File exists")]
    NameTaken,
    /// `-X` of a chain that has rules.
    #[error("Directory not empty")]
    NotEmpty,
    /// `-X` of a chain that rules jump to.
    #[error("Too many links")]
    References,
    /// `-X` of a built-in chain, or what a match or target refuses.
    #[error("Invalid argument")]
    Invalid,
    /// `-I` too far.
    #[error("Index of insertion too big")]
    InsertIndex,
    /// `-R` too far.
    #[error("Index of replacement too big")]
    ReplaceIndex,
    /// `-D` too far.
    #[error("Index of deletion too big")]
    DeleteIndex,
    /// `-Z` too far.
    #[error("Index of counter too big")]
    CounterIndex,
    /// `-D`, `-C` of a rule that isn't there.
    #[error("Bad rule (does a matching rule exist in that chain?)")]
    BadRule,
    /// `-P` of a chain that isn't built in.
    #[error("Bad built-in chain name")]
    BadChain,
    /// `-P` with another word than ACCEPT or DROP.
    #[error("Bad policy name")]
    BadPolicy,
    /// Jumps that come back.
    #[error("Too many levels of symbolic links")]
    Loop,
    /// Another writer committed in between.
    #[error("Resource temporarily unavailable")]
    Stale,
    /// The table can't be had.
    #[error("Table does not exist (do you need to insmod?)")]
    NoTable,
    /// Anything else that the store says.
    #[error("{0}")]
    Store(String),
}

impl Failure {
    /// The failure whose text this is.
    pub fn from_text(text: &str) -> Failure {
        let known = [
            Failure::NotFound,
            Failure::Invalid,
            Failure::Loop,
            Failure::Stale,
            Failure::NoTable,
        ];
        let found = known.into_iter().find(|failure| failure.to_string() == text);
        found.unwrap_or_else(|| Failure::Store(text.to_owned()))
    }
}

/// Why a command line was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Refused words: exit code 2.
    #[error("{0}")]
    Parameter(String),
    /// Refused words that iptables says without its name before them; empty for none. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Another problem: exit code 1.
    #[error("{0}")]
    Other(String),
    /// A problem that iptables says without its name before it: exit code 1.
    #[error("{0}")]
    Plain(String),
    /// A table that can't be had: exit code 3.
    #[error("{0}")]
    Version(String),
    /// The rule set refused the command: exit code 1, or 4 when another writer was faster.
    #[error("{0}")]
    Failed(Failure),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Failed(failure)
    }
}

impl Error {
    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Other(_) | Error::Plain(_) => 1,
            Error::Parameter(_) | Error::Usage(_) => 2,
            Error::Version(_) => 3,
            Error::Failed(Failure::Stale) => 4,
            Error::Failed(_) => 1,
        }
    }

    /// The text for standard error, with its line ends. `line` is the line of a restore file.
    pub fn render(&self, program: &Program, line: Option<usize>) -> String {
        let Program { name, version } = program;
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = match self {
            Error::Parameter(message) => writeln!(text, "{name} v{version}: {message}"),
            Error::Usage(message) if message.is_empty() => Ok(()),
            Error::Usage(message) => writeln!(text, "{message}"),
            Error::Plain(message) => writeln!(text, "{message}"),
            Error::Other(message) => writeln!(text, "{name} v{version}: {message}"),
            Error::Version(message) => {
                writeln!(
                    text,
                    "{name} v{version}: {message}\nPerhaps {name} or your kernel needs to be upgraded."
                )
            }
            Error::Failed(failure) => match line {
                Some(line) => writeln!(text, "{name}: line {line} failed"),
                None if matches!(failure, Failure::Invalid | Failure::BadPolicy) => {
                    writeln!(text, "{name}: {failure}. Run `dmesg' for more information.")
                }
                None => writeln!(text, "{name}: {failure}."),
            },
        };
        if matches!(self, Error::Parameter(_) | Error::Usage(_)) {
            if let Some(line) = line {
                let _ = writeln!(text, "Error occurred at line: {line}");
            }
            let _ = writeln!(text, "Try `{name} -h' or '{name} --help' for more information.");
        }
        text
    }
}
