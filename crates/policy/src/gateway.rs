//! Plans as what the user-space gateway runs: tables of rules, sets, routes, shaping, bans.

mod origin;
mod rules;
mod sets;

pub use origin::Origin;
pub use rules::Rules;
pub use sets::SetConfig;
