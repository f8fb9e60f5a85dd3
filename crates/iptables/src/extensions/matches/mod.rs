//! Matches.

use std::sync::Arc;

use fielato_netfilter::syntax::MatchSyntax;

/// All built-in matches, by name.
pub fn all() -> Vec<Arc<dyn MatchSyntax>> {
    vec![]
}
