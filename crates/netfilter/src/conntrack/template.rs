//! What `-j CT` asks of the connection that a packet is about to make (`nf_ct_tmpl_alloc`, `xt_CT.c`).

use super::{HelperKind, Zone};

/// Wishes for a new connection. A packet that has one carries it from table `raw` to [`super::Conntrack::track`], which looks
/// the connection up in the template's zone and gives a new connection the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Zone, for looking up as well as for making.
    pub zone: Zone,
    /// The zone number is the packet's mark (`--zone mark`).
    pub zone_from_mark: bool,
    /// Helper of the connection.
    pub helper: Option<HelperKind>,
    /// The name of a timeout policy (`--timeout`), see `Extra::timeouts`.
    pub timeout: Option<String>,
    /// Events wanted (`--ctevents`), bits of `enum ip_conntrack_events`; `None` for all.
    pub events: Option<u32>,
    /// Expectation events wanted (`--expevents`).
    pub expect_events: Option<u32>,
}
