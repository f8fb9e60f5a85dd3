//! What can go wrong around a comparison; a mismatch is a result and not an error.

use std::io;

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step of setting up or asking the kernel.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name.
        program: String,
        /// What it wrote.
        output: String,
    },
    /// Rules were refused.
    #[error("{subject} refuses the rules: {reason}")]
    Rules {
        /// Which subject.
        subject: &'static str,
        /// Its words.
        reason: String,
    },
    /// The kernel's answer can't be read.
    #[error("cannot read {what} of the kernel: {why}")]
    Reply {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A case file can't be read.
    #[error("{file}, line {line}: {why}")]
    CaseFile {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
}

impl Error {
    /// For `map_err`: wraps the system's answer with what was tried.
    pub fn system<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |source| Error::System {
            doing: doing.into(),
            source: source.into(),
        }
    }
}
