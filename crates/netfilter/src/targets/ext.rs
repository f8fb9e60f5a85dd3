//! Targets that a program registers beside the built-in ones.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// A registered target with its parameters, as it stands in a rule. Its user side is a [`crate::syntax::TargetSyntax`].
pub trait ExtensionTarget: fmt::Debug + Send + Sync {
    /// `-j NAME`.
    fn name(&self) -> &str;

    /// Whether it may stand here: tables, hooks, protocols. Called each time a rule set is compiled.
    fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError>;

    /// Does it. `slot` is the rule's own state.
    fn apply(&self, cx: &mut Context<'_>, slot: &mut Slot) -> TargetVerdict;

    /// A rule is gone whose check it passed: called once for each successful check.
    fn destroy(&self) {}

    /// Whether `other` has the same parameters.
    fn same(&self, other: &dyn ExtensionTarget) -> bool;

    /// For [`ExtensionTarget::same`] and printing.
    fn as_any(&self) -> &dyn Any;
}

/// A rule's share of a registered target.
#[derive(Clone, Debug)]
pub struct ExtTarget(pub Arc<dyn ExtensionTarget>);

impl PartialEq for ExtTarget {
    fn eq(&self, other: &ExtTarget) -> bool {
        self.0.same(&*other.0)
    }
}

impl std::ops::Deref for ExtTarget {
    type Target = dyn ExtensionTarget;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
