//! Rule sets as people write them: plain data, compared and printed; compiled before they run ([`crate::table`]).

mod ip;
mod ruleset;

pub use crate::matches::Match;
pub use crate::targets::Target;
pub use ip::{AddressMatch, Fragment, InterfaceMatch, IpMatch, ProtocolMatch};
pub use ruleset::{Chain, Counters, Policy, Rule, Ruleset, Table};
