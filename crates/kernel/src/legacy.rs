//! Tables of the old kind (`ip_tables`), which nft doesn't list. They are only read.
//!
//! In the calling thread's network namespace.

use std::fs;
use std::io::{self, ErrorKind};
use std::process::{Command, Stdio};

use fielato_wire::Family;

/// Why they can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// There are some, and nothing that could read them.
    #[error(
        "there are tables of iptables-legacy ({tables}), and no program to read them; install it (Debian's package iptables)"
    )]
    NoProgram {
        /// Their names.
        tables: String,
    },
    /// The program could not be run.
    #[error("cannot run {program}: {error}")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The program failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// Which.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

/// What `iptables-legacy-save -c` says of a family; `None` where there are no such tables, as on most machines.
///
/// # Errors
/// There are some, and they can't be read.
pub fn save(family: Family) -> Result<Option<String>, LegacyError> {
    let (names, programs) = match family {
        Family::V4 => ("/proc/self/net/ip_tables_names", ["iptables-legacy-save", "iptables-save"]),
        Family::V6 => ("/proc/self/net/ip6_tables_names", ["ip6tables-legacy-save", "ip6tables-save"]),
    };
    // Where the kernel has no such tables there is no such file.
    let names = fs::read_to_string(names).unwrap_or_default();
    let tables: Vec<&str> = names.split_whitespace().collect();
    if tables.is_empty() {
        return Ok(None);
    }
    for program in programs {
        if program.contains("legacy") || is_legacy(program) {
            match run(program, "-c") {
                Err(LegacyError::Run { error, .. }) if error.kind() == ErrorKind::NotFound => {}
                said => return said.map(Some),
            }
        }
    }
    Err(LegacyError::NoProgram {
        tables: tables.join(", "),
    })
}

/// The other kind, which reads nft's tables, says so in brackets behind its version.
fn is_legacy(program: &'static str) -> bool {
    run(program, "--version").is_ok_and(|version| !version.contains("nf_tables"))
}

fn run(program: &'static str, argument: &str) -> Result<String, LegacyError> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let output = output.map_err(|error| LegacyError::Run { program, error })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(LegacyError::Failed { program, message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
