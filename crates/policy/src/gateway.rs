//! Plans as what the user-space gateway runs: tables of rules, sets, routes, shaping, bans.

mod config;
mod origin;
mod rules;
mod sets;

pub(crate) use config::is_supposed;
pub use config::{Exit, HOST, TUNNEL, UPLINK, Uplink, config, rules};
pub use origin::Origin;
pub use rules::Rules;
