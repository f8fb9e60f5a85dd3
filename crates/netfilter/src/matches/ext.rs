//! Matches that a program registers beside the built-in ones.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// A registered match with its parameters, as it stands in a rule. Its user side is a [`crate::syntax::MatchSyntax`].
pub trait ExtensionMatch: fmt::Debug + Send + Sync {
    /// `-m NAME`.
    fn name(&self) -> &str;

    /// Whether it may stand here: tables, hooks, protocols. Called each time a rule set is compiled.
    fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError>;

    /// Whether it holds for the packet. `slot` is the rule's own state.
    fn matches(&self, cx: &mut Context<'_>, slot: &mut Slot) -> bool;

    /// A rule is gone whose check it passed: called once for each successful check.
    fn destroy(&self) {}

    /// Whether `other` has the same parameters.
    fn same(&self, other: &dyn ExtensionMatch) -> bool;

    /// For [`ExtensionMatch::same`] and printing.
    fn as_any(&self) -> &dyn Any;
}

/// A rule's share of a registered match.
#[derive(Clone, Debug)]
pub struct ExtMatch(pub Arc<dyn ExtensionMatch>);

impl PartialEq for ExtMatch {
    fn eq(&self, other: &ExtMatch) -> bool {
        self.0.same(&*other.0)
    }
}

impl std::ops::Deref for ExtMatch {
    type Target = dyn ExtensionMatch;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
