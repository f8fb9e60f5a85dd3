//! Questions to the kernel about links, addresses and routes (rtnetlink(7)).

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers while it is asked; this passes only if an answer was lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket to ask by, in the network namespace of the thread that opened it.
pub(crate) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Gives every message of the answer to `each`: one, or a list when `flags` ask for one (`NLM_F_DUMP`).
    ///
    /// # Errors
    /// The kernel's own answer, among others.
    pub(crate) fn ask(
        &mut self,
        question: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(question));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len..).unwrap_or_default();
                // The answer to a question that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                let is_list = message.header.flags & NLM_F_MULTIPART != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => return Ok(()),
                }
                if !is_list {
                    return Ok(());
                }
            }
        }
    }
}
