//! Which matches and targets the language knows.

use std::sync::Arc;

use fielato_netfilter::syntax::{MatchSyntax, TargetSyntax};
use fielato_wire::Family;

/// Matches and targets by name: the built-in ones, and what a program registers.
#[derive(Clone, Debug)]
pub struct Registry {
    matches: Vec<Arc<dyn MatchSyntax>>,
    targets: Vec<Arc<dyn TargetSyntax>>,
}

impl Registry {
    /// The built-in ones.
    pub fn builtin() -> Registry {
        Registry {
            matches: crate::extensions::matches::all(),
            targets: crate::extensions::targets::all(),
        }
    }

    /// Adds a match; it takes the place of one of the same name and family.
    pub fn register_match(&mut self, syntax: Arc<dyn MatchSyntax>) {
        self.matches.insert(0, syntax);
    }

    /// Adds a target; it takes the place of one of the same name and family.
    pub fn register_target(&mut self, syntax: Arc<dyn TargetSyntax>) {
        self.targets.insert(0, syntax);
    }

    /// The match of this name.
    pub fn find_match(&self, name: &str, family: Family) -> Option<&Arc<dyn MatchSyntax>> {
        self.matches
            .iter()
            .find(|syntax| syntax.name() == name && syntax.families().contains(&family))
    }

    /// The target of this name.
    pub fn find_target(&self, name: &str, family: Family) -> Option<&Arc<dyn TargetSyntax>> {
        self.targets
            .iter()
            .find(|syntax| syntax.name() == name && syntax.families().contains(&family))
    }
}
