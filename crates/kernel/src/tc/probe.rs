//! Items are tried where they do no harm before a device is touched.

use super::error::TcError;
use super::message::{NLM_F_CREATE, NLM_F_EXCL, remove_root, set};
use super::node::Node;
use super::psched::Psched;
use crate::netlink::Netlink;
use crate::netns;

/// The loopback's index in a namespace of its own.
const LOOPBACK: u32 = 1;

/// What is known after [`probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// The kernel takes every item.
    Accepted,
    /// There was nowhere to try them: a new namespace needs `CAP_SYS_ADMIN`, which a confined service has not.
    Nowhere,
}

/// Builds `nodes` on the loopback of a fresh network namespace, which vanishes with its thread: nothing is left behind,
/// not even by a kill, and nobody sees a device come and go. Modules that the kernel can load itself are loaded by this.
pub fn probe(nodes: &[Node<'_>], psched: &Psched) -> Result<Probed, TcError> {
    match netns::in_a_new_one(|| probe_here(nodes, psched)).map_err(TcError::Probe)? {
        Some(result) => result.map(|()| Probed::Accepted),
        None => Ok(Probed::Nowhere),
    }
}

fn probe_here(nodes: &[Node<'_>], psched: &Psched) -> Result<(), TcError> {
    let mut netlink = Netlink::open()?;
    let mut tried = Vec::new();
    for &node in nodes {
        let Node::Qdisc(qdisc) = node else { continue };
        let kind = qdisc.kind.name();
        if tried.contains(&kind) {
            continue;
        }
        tried.push(kind);
        // As a root, so that "no such entry" can only mean the discipline itself.
        let mut alone = qdisc.clone();
        alone.parent = fielato_qdisc::Parent::Root;
        match set(&mut netlink, LOOPBACK, Node::Qdisc(&alone), NLM_F_CREATE | NLM_F_EXCL, psched) {
            Ok(()) => remove_root(&mut netlink, LOOPBACK)?,
            Err(error) if error.errno() == Some(libc::ENOENT) => return Err(TcError::lacks(qdisc)),
            Err(source) => {
                return Err(TcError::Refused {
                    item: node.to_string(),
                    source,
                });
            }
        }
    }
    for &node in nodes {
        set(&mut netlink, LOOPBACK, node, NLM_F_CREATE | NLM_F_EXCL, psched).map_err(|source| TcError::Refused {
            item: node.to_string(),
            source,
        })?;
    }
    Ok(())
}
