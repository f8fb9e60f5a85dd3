//! The iptables language over [`fielato_netfilter`]: commands, listings, save files, the user side of every extension.
//!
//! Words, texts and exit codes are those of iptables 1.8.9 (legacy).

#![forbid(unsafe_code)]

pub mod command;
mod error;
mod execute;
pub mod extensions;
mod help;
pub mod ipchains;
pub mod iptc;
mod names;
pub mod nft;
mod parse;
mod print;
pub mod program;
mod registry;
pub mod remote;
pub mod restore;
pub mod state;
pub mod text;
pub mod xml;

pub use command::{Command, Operation};
pub use error::{Error, Failure, Program, VERSION};
pub use execute::{Executor, Output, check, execute};
pub use names::{BuiltinNames, FileNames};
pub use parse::Parser;
pub use registry::Registry;

/// Rule sets as text.
pub mod save {
    pub use crate::print::{SaveOptions, rule, ruleset, table};
}
