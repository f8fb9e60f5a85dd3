//! What the audit log is told.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

/// Something happened on a control connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The host whose overlay address it came from.
    pub host: Option<String>,
    /// Where it came from.
    pub from: IpAddr,
    /// What.
    pub what: Happening,
    /// So many events before this one were not kept, because nobody fetched them.
    pub lost: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// The agent has said who it is and what it enforces.
    #[error("connected")]
    Connected,
    /// The other end has closed, or the connection broke.
    #[error("gone")]
    Gone,
    /// A newer connection of the host has taken this one's place.
    #[error("superseded by a newer connection")]
    Superseded,
    /// The host enforces this revision.
    #[error("enforces revision {0}")]
    Enforced(u64),
    /// The host could not apply a revision, and enforces the one before.
    #[error("could not apply revision {revision}: {why}")]
    Failed {
        /// Which.
        revision: u64,
        /// Why not, in the host's words.
        why: String,
    },
    /// Somebody changed what the agent enforces.
    #[error("drift: {0}")]
    Drift(String),
    /// The host has a key of its own.
    #[error("enrolled")]
    Enrolled,
    /// It was cut off.
    #[error("refused: {0}")]
    Refused(Refusal),
}

/// Why a connection was refused or cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The address is no host's.
    #[error("no protected host has this address")]
    NotAHost,
    /// Words of another version.
    #[error("version {0} is not spoken here; install the hub's version of fielato on the host")]
    Version(u32),
    /// It wants to be another host.
    #[error("the address is not that of host {0}; a host gets its own plan only")]
    AnothersPlan(String),
    /// It acknowledges what it was not given.
    #[error("revision {0} was not sent on this connection")]
    NeverSent(u64),
    /// It acknowledges something else than it was given.
    #[error("revision {0} has another digest")]
    AnothersDigest(u64),
    /// It says something else before it says hello.
    #[error("the first line must be a hello")]
    NotGreeted,
    /// It has not enrolled yet.
    #[error("the host has not enrolled; `fielato agent enrol` comes first")]
    EnrolFirst,
    /// Not a message.
    #[error("not a message of the control channel")]
    NotUnderstood,
    /// A line that is too long.
    #[error("the line is too long")]
    Oversized,
    /// Too many lines.
    #[error("too many lines in too short a time")]
    TooFast,
    /// A line that does not end.
    #[error("a line was begun and not finished")]
    SlowLine,
    /// It does not read.
    #[error("what was sent is not read")]
    SlowReader,
    /// It says nothing at all.
    #[error("nothing was said")]
    NoGreeting,
    /// It has not been heard of for long.
    #[error("not heard of any more")]
    Silent,
    /// The token was used before.
    #[error("this token was used before; make a new one with `fielato host enrol`")]
    TokenUsed,
    /// The token's time is over.
    #[error("this token's time is over; make a new one with `fielato host enrol`")]
    TokenOver,
    /// Not the token that was made for this host.
    #[error("this is not the token that was made for this host; make a new one with `fielato host enrol`")]
    NoToken,
    /// The key could not be put in force.
    #[error("the hub could not take the key: {0}")]
    NotEnrolled(String),
}

impl Refusal {
    /// Whether it is the other end's doing. A machine that was switched off did nothing wrong.
    pub(super) fn is_offence(&self) -> bool {
        !matches!(self, Self::Silent | Self::SlowReader | Self::NotEnrolled(_) | Self::NotAHost)
    }
}

/// Of what a host says, as much as fits a line of a log, without what would look like another line.
pub fn tame(text: &str) -> String {
    const SHOWN: usize = 200;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(SHOWN).collect()
}
