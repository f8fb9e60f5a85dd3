//! nftables by the program `nft`: whole rule sets as one transaction.
//!
//! The program works in the calling thread's network namespace.

pub mod element;
pub mod probe;
pub mod trace;
mod watch;

use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::process::{Command, Output, Stdio};

pub use watch::{Table, Watch, table};

// linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const NFT_MSG_GETTABLE: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 1;

/// Why `nft` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not installed.
    #[error("the program `nft` is missing; install it (Debian's package nftables)")]
    NoProgram,
    /// The program could not be run.
    #[error("cannot run nft: {0}")]
    Run(#[source] io::Error),
    /// The text was refused, and nothing of it was done.
    #[error("nft refused the rules, and nothing was changed: {0}")]
    Refused(Complaint),
    /// The program's output is not the JSON it should be.
    #[error("cannot read what nft printed: {0}")]
    Output(#[source] serde_json::Error),
}

/// What `nft` said, and of which line of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The program's first error, or all it printed when that has another form.
    pub message: String,
    /// Number and content of the line, when the program named one.
    pub line: Option<(usize, String)>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            Some((number, line)) => write!(f, "{} (line {number}: `{line}`)", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// nft's address families (man 8 nft).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Family {
    Ip,
    Ip6,
    Inet,
    Netdev,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Netdev => "netdev",
        })
    }
}

/// Whether the program can be run.
///
/// # Errors
/// [`NftError::NoProgram`], or another.
pub fn check() -> Result<(), NftError> {
    run(&["--version"], "").map(|_| ())
}

/// Does all that the text says, or nothing of it.
///
/// # Errors
/// [`NftError::Refused`] with the program's complaint, or another when there was none.
pub fn apply(text: &str) -> Result<(), NftError> {
    run(&["-f", "-"], text).map(|_| ())
}

/// Removes a table with all that is in it; does nothing when there is none.
///
/// # Errors
/// Any [`NftError`].
pub fn delete_table(family: Family, name: &str) -> Result<(), NftError> {
    // Adding first makes the deletion succeed in either case; `destroy` needs Linux 6.3.
    apply(&format!("add table {family} {name}\ndelete table {family} {name}\n"))
}

/// A table as `nft -j list table` describes it (man 5 libnftables-json).
///
/// # Errors
/// [`NftError::Refused`] when there is no such table, or another.
pub fn list_table_json(family: Family, name: &str) -> Result<serde_json::Value, NftError> {
    json(&["-j", "list", "table", &family.to_string(), name])
}

/// Everything as `nft -j list ruleset` describes it (man 5 libnftables-json), but without the elements of sets.
///
/// # Errors
/// Any [`NftError`].
pub fn list_ruleset_json() -> Result<String, NftError> {
    let output = run(&["-j", "-t", "list", "ruleset"], "")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Every table's rules with their handles, but without the elements of sets, as `nft -a -t list ruleset` prints them.
///
/// # Errors
/// Any [`NftError`].
pub fn list_rules() -> Result<String, NftError> {
    let output = run(&["-a", "-t", "list", "ruleset"], "")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn json(arguments: &[&str]) -> Result<serde_json::Value, NftError> {
    serde_json::from_slice(&run(arguments, "")?.stdout).map_err(NftError::Output)
}

fn run(arguments: &[&str], text: &str) -> Result<Output, NftError> {
    run_program("nft", arguments, text)
}

fn run_program(program: &str, arguments: &[&str], text: &str) -> Result<Output, NftError> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(whole(text).map_err(NftError::Run)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftError::NoProgram,
        _ => NftError::Run(error),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let complaint = complaint(&String::from_utf8_lossy(&output.stderr), text);
    Err(NftError::Refused(Complaint {
        message: if complaint.message.is_empty() {
            output.status.to_string()
        } else {
            complaint.message
        },
        ..complaint
    }))
}

/// The text as a file in memory. Through a pipe, a program whose writer is killed would read a part, which may be rules as well.
fn whole(text: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("rules", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Reads `/dev/stdin:3:12-20: Error: syntax error, unexpected …`. The lines after it repeat the text and underline a part.
fn complaint(stderr: &str, text: &str) -> Complaint {
    /// Of a line: a set of thousands of elements may stand on one.
    const SHOWN: usize = 160;
    let place = |line: &str| {
        let (place, message) = line.split_once(": Error: ")?;
        let mut numbers = place.rsplit(':').skip(1);
        let number: usize = numbers.next()?.parse().ok()?;
        Some((number, message.to_owned()))
    };
    let Some((number, message)) = stderr.lines().find_map(place) else {
        return Complaint {
            message: stderr.trim().to_owned(),
            line: None,
        };
    };
    let line = text.lines().nth(number.saturating_sub(1)).map(|line| {
        let line = line.trim();
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => (number, format!("{} …", &line[..end])),
            None => (number, line.to_owned()),
        }
    });
    Complaint { message, line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = run_program("/no/such/nft", &[], "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program `nft` is missing; install it (Debian's package nftables)"
        );
    }

    #[test]
    fn the_offending_line_is_shown_but_not_all_of_a_long_one() {
        let text = format!("table t {{\n  set s {{ {} }}\n}}\n", "ä, ".repeat(10_000));
        let seen = complaint("/dev/stdin:2:9-12: Error: no such type\n  set s { …\n ^^^^\n", &text);
        assert_eq!(seen.message, "no such type");
        let (number, line) = seen.line.unwrap();
        assert!(
            number == 2 && line.starts_with("set s { ä, ä,") && line.ends_with(" …"),
            "{line}"
        );
        assert!(line.chars().count() < 170);

        let other = complaint("nft: something else went wrong\n", &text);
        assert_eq!(
            other,
            Complaint {
                message: "nft: something else went wrong".to_owned(),
                line: None
            }
        );
    }
}
