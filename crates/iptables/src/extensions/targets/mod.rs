//! Targets.

use std::sync::Arc;

use fielato_netfilter::syntax::TargetSyntax;

/// All built-in targets, by name.
pub fn all() -> Vec<Arc<dyn TargetSyntax>> {
    vec![]
}
