//! Why traffic control could not be changed or shown.

use std::io;

use fielato_qdisc::{Handle, Qdisc};

use crate::netlink::NetlinkError;
use crate::netns::NetnsError;

/// Why traffic control could not be changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum TcError {
    /// The kernel has no such discipline, neither built in nor as a module that could be loaded.
    #[error(
        "qdisc {kind}: this kernel lacks {module}; install or load that module (modprobe {module}), or shape with another discipline"
    )]
    Lacks {
        /// The discipline.
        kind: &'static str,
        /// The module that brings it.
        module: String,
    },
    /// The device's root discipline is somebody else's.
    #[error(
        "interface {ifindex} has a root discipline of somebody else, `{kind} {handle}`; remove it first \
         (tc qdisc del dev DEV root) or don't shape this interface"
    )]
    Foreign {
        /// The interface.
        ifindex: u32,
        /// The discipline there.
        kind: String,
        /// Its handle.
        handle: String,
    },
    /// An item hangs under nothing. The kernel would quietly make such a class a child of the root.
    #[error("`{item}` hangs under {parent}, which nothing before it makes")]
    NoParent {
        /// The item in tc's words.
        item: String,
        /// What is missing.
        parent: Handle,
    },
    /// A filter. In the kernel a packet's class is its priority, which the rules set.
    #[error(
        "`{item}`: the kernel is given no filters; say by `for` in [[shape]] who goes into a class, encrypt with our own device \
         (`fielato up --wireguard userspace`), or use engine = \"userspace\""
    )]
    Filter {
        /// The item in tc's words.
        item: String,
    },
    /// An option that only our own engine has.
    #[error(
        "`{item}`: the kernel's fq_codel knows no hosts; leave out `hosts`, shape with cake (`cake dual-dsthost`), or use \
         engine = \"userspace\""
    )]
    KnowsNoHosts {
        /// The item in tc's words.
        item: String,
    },
    /// A link layer that only our own engine has.
    #[error(
        "`{item}`: the kernel knows no `linklayer wireguard`; give `overhead` alone (60 or 80 bytes for each packet), or use \
         engine = \"userspace\""
    )]
    KnowsNoWireguard {
        /// The item in tc's words.
        item: String,
    },
    /// The kernel refused one item; found out before the device was touched.
    #[error("the kernel refuses `{item}`: {source}")]
    Refused {
        /// The item in tc's words.
        item: String,
        /// The kernel's reason.
        source: NetlinkError,
    },
    /// The kernel refused one item on the device itself; what we had set up before was put back.
    #[error("`{item}` failed on interface {ifindex}, which has what we set up before, or else the kernel's default: {source}")]
    PutBack {
        /// The interface.
        ifindex: u32,
        /// The item in tc's words.
        item: String,
        /// The kernel's reason.
        source: NetlinkError,
    },
    /// The kernel refused one item on the device itself, and then what was there before: the device has the kernel's default.
    #[error(
        "`{item}` failed on interface {ifindex}, and what was there before could not be put back ({again}); it is not shaped now: {source}"
    )]
    Lost {
        /// The interface.
        ifindex: u32,
        /// The item in tc's words.
        item: String,
        /// The kernel's reason.
        source: NetlinkError,
        /// Why the earlier state could not be had.
        again: NetlinkError,
    },
    /// The scheduler's clock can't be read.
    #[error("cannot read /proc/net/psched: {0}")]
    Psched(#[source] io::Error),
    /// There is nowhere to try the items before the device is touched.
    #[error("cannot try queueing disciplines in a network namespace of their own: {0}")]
    Probe(#[source] NetnsError),
    /// A dump or a removal failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl TcError {
    pub(super) fn lacks(qdisc: &Qdisc) -> Self {
        let kind = qdisc.kind.name();
        TcError::Lacks {
            kind,
            module: format!("sch_{kind}"),
        }
    }
}
