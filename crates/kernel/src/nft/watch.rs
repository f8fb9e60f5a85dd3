//! Noticing that somebody changed the tables: `nft flush ruleset`, as Debian's nftables.service does it, takes every table.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NlasIterator;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::element::{emit, header, number, text};
use super::{Family, NFT_MSG_GETTABLE, NFT_MSG_NEWTABLE};
use crate::netlink::{Netlink, NetlinkError};

// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;
/// Length of `struct nfgenmsg`.
const HEADER_LEN: usize = 4;
// linux/netfilter/nf_tables.h
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USE: u16 = 3;
const NFTA_TABLE_HANDLE: u16 = 4;

/// A table as the kernel counts it. Another value for the same name means that it was removed, made again, or lost or
/// gained chains or sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    handle: Vec<u8>,
    chains_and_sets: Vec<u8>,
}

/// The table of that name, if there is one, in the calling thread's network namespace.
///
/// # Errors
/// When the kernel has no nftables or refuses to tell.
pub fn table(family: Family, name: &str) -> Result<Option<Table>, NetlinkError> {
    let mut body = header(number(family), 0);
    body.extend(emit(&[text(NFTA_TABLE_NAME, name)]));
    let replies = match Netlink::open_protocol(NETLINK_NETFILTER)?.request_raw(NFT_MSG_GETTABLE, 0, &body) {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
        replies => replies?,
    };
    let body = replies
        .iter()
        .find(|(kind, _)| *kind == NFT_MSG_NEWTABLE)
        .map(|(_, body)| body);
    let Some(attributes) = body.and_then(|body| body.get(HEADER_LEN..)) else {
        return Ok(None);
    };
    let value = |kind: u16| {
        let mut found = NlasIterator::new(attributes).filter_map(Result::ok);
        found
            .find(|attribute| attribute.kind() == kind)
            .map(|attribute| attribute.value().to_vec())
    };
    Ok(Some(Table {
        handle: value(NFTA_TABLE_HANDLE).unwrap_or_default(),
        chains_and_sets: value(NFTA_TABLE_USE).unwrap_or_default(),
    }))
}

/// A socket that becomes readable when any table changes in the network namespace it was opened in.
pub struct Watch(Socket);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFNLGRP_NFTABLES)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Forgets what was heard; tells whether there was something.
    pub fn drain(&self) -> bool {
        let mut heard = false;
        let mut buffer = Vec::with_capacity(64 * 1024);
        loop {
            buffer.clear();
            match self.0.recv(&mut buffer, 0) {
                Ok(_) => heard = true,
                // More was said than the buffer holds: that too says that something changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heard = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return heard,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
