//! Plans as what the user-space gateway runs: tables of rules, sets, routes, shaping, bans.

mod config;
mod rules;
mod sets;

pub use crate::origin::Origin;
pub(crate) use config::is_supposed;
pub use config::{Exit, HOST, TUNNEL, UPLINK, Uplink, config, rules};
pub use rules::Rules;
