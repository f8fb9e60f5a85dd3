//! Expectations: connections that a helper has read the announcement of (`nf_conntrack_expect.c`).

use fielato_wire::Addr;

use super::{ConnId, Direction, HelperKind, Tuple, Zone};

/// What NAT does to an expected connection (`nf_nat_follow_master`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectNat {
    /// Nothing.
    None,
    /// It is led to where its master's translation leads.
    Follow {
        /// Direction of the master that will carry the expected packets.
        direction: Direction,
        /// The address as announced before translation.
        saved_addr: Addr,
        /// The port as announced before translation.
        saved_port: u16,
    },
}

/// A connection to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The tuple to come.
    pub tuple: Tuple,
    /// Bits of the source address that count.
    pub src_mask: Addr,
    /// Bits of the source port that count.
    pub sport_mask: u16,
    /// The connection that announced it.
    pub master: ConnId,
    /// Zone.
    pub zone: Zone,
    /// The helper of the connection to come, if any.
    pub helper: Option<HelperKind>,
    /// The helper that made it.
    pub class: HelperKind,
    /// It stays when it has been met.
    pub permanent: bool,
    /// What NAT does.
    pub nat: ExpectNat,
    /// When it expires, in nanoseconds of [`crate::Now::mono`].
    pub deadline: u64,
}
