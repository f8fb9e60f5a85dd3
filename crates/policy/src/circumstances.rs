//! What is true beside the file when a plan is compiled.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Over;
use crate::plan::PerFamily;

/// What a plan depends on beside the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// In which families the machine forwarded packets before `up` touched it; it decides what `transit = "auto"` means.
    pub forwarding_before: PerFamily<bool>,
    /// Temporary access, in the order in which it was granted: accepted before every rule of the file.
    pub grants: &'a [Grant],
    /// Members that have used up a quota of theirs, and what follows from it; of several the [stricter](Over::stricter).
    pub over_quota: &'a BTreeMap<String, Over>,
}

static NOBODY: BTreeMap<String, Over> = BTreeMap::new();

impl Circumstances<'_> {
    /// This time, and nothing special.
    pub fn at(now: Timestamp, forwarding_before: PerFamily<bool>) -> Self {
        Self {
            now,
            forwarding_before,
            grants: &[],
            over_quota: &NOBODY,
        }
    }
}

/// Temporary access of a member to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who.
    pub member: String,
    /// To what.
    pub service: String,
    /// Gone from this moment on.
    pub until: Timestamp,
    /// What for.
    pub reason: Option<String>,
    /// Who gave it.
    pub by: Option<String>,
}
