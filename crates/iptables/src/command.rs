//! A command line, understood.

use fielato_netfilter::rule::Policy;
use fielato_netfilter::{Counters, Rule};

/// How long to wait for the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    #[default]
    No,
    /// As long as it takes (`-w`).
    Forever,
    /// Seconds (`-w 5`).
    Seconds(u32),
}

/// A command line, understood.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to do.
    pub operation: Operation,
    /// `-t`
    pub table: String,
    /// `-w`
    pub wait: Wait,
    /// `-v`, as often as it was given.
    pub verbose: u8,
    /// `-n`
    pub numeric: bool,
    /// `-x`
    pub exact: bool,
    /// `--line-numbers`
    pub line_numbers: bool,
    /// Lines for standard error beside the result.
    pub warnings: Vec<String>,
}

/// What counters to zero after a listing (`-L -Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroAfter {
    /// None.
    No,
    /// Those of the chains listed.
    Chains,
    /// Those of the rule listed.
    Rule,
}

/// What to do. Rules are numbered from 1.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the words of the option")]
pub enum Operation {
    /// `-A`; several rules for several addresses.
    Append { chain: String, rules: Vec<Rule> },
    /// `-I`
    Insert { chain: String, number: usize, rules: Vec<Rule> },
    /// `-R`
    Replace { chain: String, number: usize, rule: Box<Rule> },
    /// `-D CHAIN RULE`
    Delete { chain: String, rules: Vec<Rule> },
    /// `-D CHAIN NUMBER`
    DeleteNumber { chain: String, number: usize },
    /// `-C`
    Check { chain: String, rules: Vec<Rule> },
    /// `-L`, with `-Z` or without.
    List {
        chain: Option<String>,
        number: Option<usize>,
        zero: ZeroAfter,
    },
    /// `-S`, with `-Z` or without.
    ListRules {
        chain: Option<String>,
        number: Option<usize>,
        zero: ZeroAfter,
    },
    /// `-F`
    Flush { chain: Option<String> },
    /// `-Z`
    Zero { chain: Option<String> },
    /// `-Z CHAIN NUMBER`
    ZeroNumber { chain: String, number: usize },
    /// `-N`
    NewChain { chain: String },
    /// `-X`
    DeleteChain { chain: Option<String> },
    /// `-E`
    RenameChain { from: String, to: String },
    /// `-P`; `None` for a word that is no policy.
    Policy {
        chain: String,
        policy: Option<Policy>,
        counters: Option<Counters>,
    },
    /// `-h`, `-V`: a text to print.
    Print(String),
    /// `-4` in a file for IPv6 or `-6` in one for IPv4: the line is passed over.
    Ignored,
}
