//! What a match or target is told when a rule set is compiled, and how it refuses.

use fielato_wire::Family;

use crate::rule::{IpMatch, Match};
use crate::{Hook, HookMask};

/// Where a match or target stands.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'a> {
    /// The rule set's family.
    pub family: Family,
    /// The table's name.
    pub table: &'a str,
    /// Built-in chains from which the rule can be reached; none for a user chain that nothing jumps to.
    pub hooks: HookMask,
    /// The rule's own addresses, protocol and interfaces.
    pub ip: &'a IpMatch,
    /// The rule's matches.
    pub matches: &'a [Match],
}

/// Why a match or target can't stand there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(pub String);

impl CheckContext<'_> {
    /// Refuses when the rule can be reached from a hook outside `allowed`.
    pub fn only_hooks(&self, name: &str, allowed: &[Hook]) -> Result<(), CheckError> {
        if self.hooks.within(HookMask::of(allowed)) {
            return Ok(());
        }
        let names: Vec<_> = allowed.iter().map(|hook| hook.chain()).collect();
        Err(CheckError(format!("{name} is only valid in {}", names.join(", "))))
    }

    /// Refuses in another table than `allowed`.
    pub fn only_tables(&self, name: &str, allowed: &[&str]) -> Result<(), CheckError> {
        if allowed.contains(&self.table) {
            return Ok(());
        }
        Err(CheckError(format!(
            "{name} is only valid in the {} table, not {}",
            allowed.join(" or "),
            self.table
        )))
    }

    /// Refuses unless the rule says `-p` with one of `allowed`, not negated.
    pub fn only_protocols(&self, name: &str, allowed: &[u8]) -> Result<(), CheckError> {
        let protocol = self.ip.protocol;
        if protocol.number != 0 && !protocol.negated && allowed.contains(&protocol.number) {
            return Ok(());
        }
        let names: Vec<_> = allowed.iter().map(u8::to_string).collect();
        Err(CheckError(format!("{name} needs -p {}", names.join(" or -p "))))
    }

    /// Refuses in the other family.
    pub fn only_family(&self, name: &str, family: Family) -> Result<(), CheckError> {
        if self.family == family {
            return Ok(());
        }
        let version = if family == Family::V4 { "IPv4" } else { "IPv6" };
        Err(CheckError(format!("{name} is only valid for {version}")))
    }
}
