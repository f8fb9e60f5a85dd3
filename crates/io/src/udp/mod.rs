//! The UDP sockets of a device: for each family and worker one, and one for handshake initiations, all on one port.
//!
//! [`bind`] makes them and [`steer`] tells the system which datagram is whose; [`receive`] and [`send`] move many
//! datagrams with one system call. Answers leave from the address that the peer sent to (`IP_PKTINFO`,
//! `IPV6_PKTINFO`: `man 7 ip`, RFC 3542), so that a hub with several addresses is not mistaken for another.

mod bind;
mod receive;
mod send;
mod steer;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicBool;

use quinn_udp::UdpSocketState;
use socket2::Socket;

pub(crate) use bind::Sockets;
pub(crate) use receive::ReceiveBatch;
pub(crate) use send::{PAYLOAD_MAX, SEGMENTS_MAX, Transmit};

/// The sockets of one worker.
pub(crate) struct Pair {
    pub(crate) v4: Udp,
    /// `None` when the system has no IPv6.
    pub(crate) v6: Option<Udp>,
}

impl Pair {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Udp> {
        std::iter::once(&self.v4).chain(&self.v6)
    }
}

/// A UDP socket that never blocks.
pub(crate) struct Udp {
    socket: Socket,
    /// How quinn-udp receives from it.
    state: UdpSocketState,
    /// Whether the system splits a payload into datagrams; off for good when a device can't.
    segmentation: AtomicBool,
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
