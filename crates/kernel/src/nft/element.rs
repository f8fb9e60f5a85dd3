//! Single elements of nftables' sets and maps, by netlink.
//!
//! The program `nft` (1.0.6) reads a whole set from the kernel before it deletes one element, and before it adds one to a set
//! with the flag `interval`; for 10,000 elements that takes 15 and 200 ms. The kernel needs none of that.

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{Family, NFNL_SUBSYS_NFTABLES};
use crate::netlink::{BatchMessage, Netlink, NetlinkError};

// linux/netfilter/nfnetlink.h
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
// linux/netfilter/nf_tables.h
const NFT_MSG_NEWSETELEM: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 12;
const NFT_MSG_DELSETELEM: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 14;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;

/// Why elements could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    /// A table, a set or an element to be deleted is not there.
    #[error("nothing was changed in table {family} {table}: it, one of the sets, or an element to be deleted does not exist")]
    Missing {
        /// The table's family.
        family: Family,
        /// The table.
        table: String,
    },
    /// An element is there with another value, or overlaps another.
    #[error(
        "nothing was changed in table {family} {table}: an element overlaps one that is there, or is there with another value"
    )]
    Conflict {
        /// The table's family.
        family: Family,
        /// The table.
        table: String,
    },
    /// A network for a set of single addresses.
    #[error("{network} can't be an element of {set}, which holds single addresses; give its set the flag `interval`")]
    NotAnAddress {
        /// The network.
        network: IpNet,
        /// The set.
        set: String,
    },
    /// Anything else.
    #[error("cannot change elements in table {family} {table}: {source}")]
    Netlink {
        /// The table's family.
        family: Family,
        /// The table.
        table: String,
        /// What came back.
        source: NetlinkError,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the set or map. Its keys are `ipv4_addr` or `ipv6_addr`, as the element is.
    pub set: String,
    /// Whether the set has the flag `interval`.
    pub interval: bool,
    /// Added or deleted.
    pub action: Action,
    /// The address or network.
    pub element: IpNet,
    /// In a map, the value: a `mark`, a `classid`, or another number that the kernel holds as 4 bytes in its own order.
    pub value: Option<u32>,
}

/// What happens to an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Add it; nothing happens if it is there with the same value.
    Add,
    /// Delete it.
    Delete,
}

/// Makes all the changes, in their order and in one transaction, or none, in the calling thread's network namespace.
///
/// # Errors
/// Any [`ElementError`].
pub fn change(family: Family, table: &str, changes: &[Change]) -> Result<(), ElementError> {
    if changes.is_empty() {
        return Ok(());
    }
    let explain = |source: NetlinkError| {
        let table = table.to_owned();
        match source.errno() {
            Some(libc::ENOENT) => ElementError::Missing { family, table },
            Some(libc::EEXIST | libc::EBUSY | libc::ENOTEMPTY) => ElementError::Conflict { family, table },
            _ => ElementError::Netlink { family, table, source },
        }
    };
    let batch = encode(family, table, changes)?;
    Netlink::open_protocol(NETLINK_NETFILTER)
        .and_then(|mut netlink| netlink.request_batch(&batch))
        .map_err(explain)
}

fn encode(family: Family, table: &str, changes: &[Change]) -> Result<Vec<BatchMessage>, ElementError> {
    let mark = |message_type| BatchMessage {
        message_type,
        flags: 0,
        body: header(0, NFNL_SUBSYS_NFTABLES),
    };
    let mut batch = vec![mark(NFNL_MSG_BATCH_BEGIN)];
    for change in changes {
        let (message_type, flags) = match change.action {
            Action::Add => (NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_ACK),
            Action::Delete => (NFT_MSG_DELSETELEM, NLM_F_ACK),
        };
        let mut body = header(number(family), 0);
        let attributes = [
            text(NFTA_SET_ELEM_LIST_TABLE, table),
            text(NFTA_SET_ELEM_LIST_SET, &change.set),
            nested(NFTA_SET_ELEM_LIST_ELEMENTS, &elements(change)?),
        ];
        body.extend(emit(&attributes));
        batch.push(BatchMessage {
            message_type,
            flags,
            body,
        });
    }
    batch.push(mark(NFNL_MSG_BATCH_END));
    Ok(batch)
}

/// An element of a set with intervals is two: where the interval begins, and the first address after it.
fn elements(change: &Change) -> Result<Vec<DefaultNla>, ElementError> {
    let Change {
        set,
        interval,
        element,
        value,
        ..
    } = change;
    if !interval && element.prefix_len() != element.max_prefix_len() {
        return Err(ElementError::NotAnAddress {
            network: *element,
            set: set.clone(),
        });
    }
    let (first, after) = match element {
        IpNet::V4(net) => {
            let after = u32::from(net.broadcast())
                .checked_add(1)
                .map(|after| after.to_be_bytes().to_vec());
            (net.network().octets().to_vec(), after)
        }
        IpNet::V6(net) => {
            let after = u128::from(net.broadcast())
                .checked_add(1)
                .map(|after| after.to_be_bytes().to_vec());
            (net.network().octets().to_vec(), after)
        }
    };
    let mut begin = vec![nested(NFTA_SET_ELEM_KEY, &[DefaultNla::new(NFTA_DATA_VALUE, first)])];
    begin.extend(value.map(|value| {
        let value = DefaultNla::new(NFTA_DATA_VALUE, value.to_ne_bytes().to_vec());
        nested(NFTA_SET_ELEM_DATA, &[value])
    }));
    let mut elements = vec![nested(NFTA_LIST_ELEM, &begin)];
    // What reaches to the last address of all has no end.
    elements.extend(after.filter(|_| *interval).map(|after| {
        let key = nested(NFTA_SET_ELEM_KEY, &[DefaultNla::new(NFTA_DATA_VALUE, after)]);
        let flags = DefaultNla::new(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END.to_be_bytes().to_vec());
        nested(NFTA_LIST_ELEM, &[key, flags])
    }));
    Ok(elements)
}

/// `struct nfgenmsg`.
pub(super) fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

/// `NFPROTO_*` (linux/netfilter.h).
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Netdev => 5,
        Family::Ip6 => 10,
    }
}

pub(super) fn emit(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

pub(super) fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, emit(attributes))
}

pub(super) fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), b"\0"].concat())
}
