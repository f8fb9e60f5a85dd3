//! Requests about disciplines and classes (`struct tcmsg` and its attributes, linux/rtnetlink.h).

use fielato_qdisc::{Handle, Parent, Qdisc};

use super::attributes::push;
use super::encode::{htb_class_options, qdisc_options, stab};
use super::node::Node;
use super::psched::Psched;
use crate::netlink::{Netlink, NetlinkError};

pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTCLASS: u16 = 40;
const RTM_DELTCLASS: u16 = 41;
const RTM_GETTCLASS: u16 = 42;

pub const TCA_KIND: u16 = 1;
pub const TCA_OPTIONS: u16 = 2;
const TCA_STAB: u16 = 8;

/// `TC_H_ROOT`: the parent of a root discipline, and of a class right under its discipline.
pub const ROOT: u32 = u32::MAX;
/// Length of `struct tcmsg`.
pub const HEADER_LEN: usize = 20;

pub fn number(handle: Handle) -> u32 {
    u32::from(handle.major) << 16 | u32::from(handle.minor)
}

pub fn parent_number(parent: Parent) -> u32 {
    match parent {
        Parent::Root => ROOT,
        Parent::Class(class) => number(class),
    }
}

fn header(ifindex: u32, handle: u32, parent: u32) -> Vec<u8> {
    // Family and padding, then interface, handle, parent and an unused word.
    [0, ifindex, handle, parent, 0]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

/// Adds a node, or changes it: `flags` say which.
pub fn set(netlink: &mut Netlink, ifindex: u32, node: Node<'_>, flags: u16, psched: &Psched) -> Result<(), NetlinkError> {
    let (message_type, mut body, kind, options) = match node {
        Node::Qdisc(qdisc) => (
            RTM_NEWQDISC,
            header(ifindex, qdisc.handle.map_or(0, number), parent_number(qdisc.parent)),
            qdisc.kind.name(),
            qdisc_options(&qdisc.kind, psched),
        ),
        Node::Class(class) => (
            RTM_NEWTCLASS,
            header(ifindex, number(class.classid), number(class.parent)),
            "htb",
            Some(htb_class_options(&class.htb, psched)),
        ),
    };
    push(&mut body, TCA_KIND, format!("{kind}\0").as_bytes());
    if let Some(options) = options {
        push(&mut body, TCA_OPTIONS, &options);
    }
    if let Node::Qdisc(Qdisc { stab: Some(options), .. }) = node
        && let Some(table) = stab(options)
    {
        push(&mut body, TCA_STAB, &table);
    }
    netlink.request_raw(message_type, flags, &body)?;
    Ok(())
}

/// Removes a node, and what hangs below it.
pub fn remove(netlink: &mut Netlink, ifindex: u32, node: Node<'_>) -> Result<(), NetlinkError> {
    let (message_type, body) = match node {
        Node::Qdisc(qdisc) => (RTM_DELQDISC, header(ifindex, 0, parent_number(qdisc.parent))),
        Node::Class(class) => (RTM_DELTCLASS, header(ifindex, number(class.classid), 0)),
    };
    netlink.request_raw(message_type, 0, &body)?;
    Ok(())
}

/// Removes the root discipline; the kernel puts its default there.
pub fn remove_root(netlink: &mut Netlink, ifindex: u32) -> Result<(), NetlinkError> {
    netlink.request_raw(RTM_DELQDISC, 0, &header(ifindex, 0, ROOT))?;
    Ok(())
}

/// The disciplines of a device, each as a `struct tcmsg` with attributes.
pub fn qdiscs(netlink: &mut Netlink, ifindex: u32) -> Result<Vec<Vec<u8>>, NetlinkError> {
    dump(netlink, ifindex, RTM_GETQDISC)
}

/// The classes of a device, each as a `struct tcmsg` with attributes.
pub fn classes(netlink: &mut Netlink, ifindex: u32) -> Result<Vec<Vec<u8>>, NetlinkError> {
    dump(netlink, ifindex, RTM_GETTCLASS)
}

fn dump(netlink: &mut Netlink, ifindex: u32, message_type: u16) -> Result<Vec<Vec<u8>>, NetlinkError> {
    let replies = netlink.request_raw(message_type, NLM_F_DUMP, &header(ifindex, 0, 0))?;
    // The kernel dumps the disciplines of all devices.
    let of_device = |body: &[u8]| body.len() >= HEADER_LEN && body[4..8] == ifindex.to_ne_bytes();
    Ok(replies
        .into_iter()
        .map(|(_, body)| body)
        .filter(|body| of_device(body))
        .collect())
}
