//! What an analysis says.

use std::fmt;

use serde::Serialize;

/// One thing that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// What it is about.
    pub about: About,
    /// What is so.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Not to be applied.
    Refused,
    /// Probably not what was meant.
    Warning,
    /// To be known.
    Note,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A rule that decides over no packet, since earlier ones decide over them all.
    NeverReached,
    /// A rule that no packet could ever meet.
    NoPacket,
    /// Two rules that say the opposite of the same packets.
    Contradiction,
    /// A member that can begin no connection.
    ReachesNothing,
    /// A service that anybody can reach.
    OpenToEveryone,
    /// Networks that have addresses in common and should not.
    Overlap,
    /// Somebody would be cut off.
    LockOut,
    /// Others' rules on this machine that may stop what ours let pass.
    ForeignRules,
    /// The analysis was ended before its end.
    Unfinished,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum About {
    /// A `[[rule]]`, by its place among them, 1-based.
    Rule(usize),
    /// A member.
    Member(String),
    /// A host.
    Host(String),
    /// A service.
    Service(String),
    /// The hub's section of the file.
    Hub,
    /// The machine, not the file.
    Machine,
    /// Nothing in particular.
    Policy,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Refused => "refused",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}
