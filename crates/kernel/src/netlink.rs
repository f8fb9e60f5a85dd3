//! Blocking netlink: one request, all its replies, and errors in the kernel's own words.
//!
//! A socket belongs to the network namespace of the thread that opened it, whatever that thread does later.

use std::fmt;
use std::io;
use std::time::Duration;

use netlink_packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkHeader, NlasIterator, ParseableParametrized as _,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_timeout};

/// `NLMSG_MIN_TYPE` (linux/netlink.h): below it are control messages, from it on the protocol's own.
const FIRST_PROTOCOL_MESSAGE: u16 = 0x10;
const MESSAGE_NOOP: u16 = 1;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const MESSAGE_OVERRUN: u16 = 4;
/// Length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;

/// `NLMSGERR_ATTR_MSG` (linux/netlink.h): the kernel's reason as text.
const EXTACK_MESSAGE: u16 = 1;

/// The kernel fills at most 32 KiB per datagram of a dump; a single link with many virtual functions may need more.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// Room for the replies to one request: a large dump arrives piece by piece, but notifications of other requests don't wait.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// The kernel answers while the request is being sent, so this passes only when a reply was lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a dump is started again because the tables changed meanwhile.
const DUMP_ATTEMPTS: usize = 10;

/// Why a netlink request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket could be had.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The request could not be sent.
    #[error("cannot send a netlink request: {0}")]
    Send(#[source] io::Error),
    /// No reply could be read.
    #[error("no reply to a netlink request: {0}")]
    Receive(#[source] io::Error),
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The kernel's reply can't be read.
    #[error("cannot read the kernel's netlink reply: {0}")]
    Malformed(String),
    /// The tables changed during each of several dumps.
    #[error("the kernel's tables changed during each of {DUMP_ATTEMPTS} dumps; try again")]
    Interrupted,
    /// The kernel has no such generic netlink family.
    #[error("this kernel has no generic netlink family {0:?}; load the module that brings it")]
    NoFamily(String),
}

impl NetlinkError {
    /// The kernel's error number, when the kernel refused the request.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            _ => None,
        }
    }
}

/// The kernel's no: its error number, and its reason when it gave one (extended ACK).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error number, positive.
    pub errno: i32,
    /// The kernel's own words.
    pub reason: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        match &self.reason {
            Some(reason) => write!(f, "{error}; the kernel says: {reason}"),
            None => error.fmt(f),
        }
    }
}

/// One message of several that are sent together.
pub(crate) struct BatchMessage {
    /// The protocol's message type.
    pub message_type: u16,
    /// Flags beyond `NLM_F_REQUEST`.
    pub flags: u16,
    /// Everything after `struct nlmsghdr`.
    pub body: Vec<u8>,
}

/// A netlink socket.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// A socket for links, addresses, routes and queueing disciplines, in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        Self::open_protocol(protocols::NETLINK_ROUTE)
    }

    /// A socket of another netlink protocol.
    pub(crate) fn open_protocol(protocol: isize) -> Result<Self, NetlinkError> {
        Self::connect(protocol).map_err(NetlinkError::Open)
    }

    fn connect(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Forcing past net.core.rmem_max needs CAP_NET_ADMIN; without it the system's limit must do.
        if set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)?;
        }
        set_socket_timeout(&socket, Timeout::Recv, Some(REPLY_TIMEOUT))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(RECEIVE_BUFFER),
        })
    }

    /// Sends a routing message and returns what the kernel replied before its ACK or the end of its dump.
    ///
    /// `flags` are those beyond `NLM_F_REQUEST`, and `NLM_F_ACK` is added unless this is a dump. In a dump, an entry that
    /// can't be parsed is left out with a warning in the log: an exotic link must not hide all the others.
    ///
    /// # Errors
    /// Any [`NetlinkError`] but `NoFamily`.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        let mut replies = Vec::new();
        for (message_type, body) in self.request_raw(message.message_type(), flags, &body)? {
            match RouteNetlinkMessage::parse_with_param(&body, message_type) {
                Ok(reply) => replies.push(reply),
                Err(error) if is_dump(flags) => log::warn!("an entry of a netlink dump is left out: {error}"),
                Err(error) => return Err(NetlinkError::Malformed(error.to_string())),
            }
        }
        Ok(replies)
    }

    /// Sends a message given as type and body, and returns the replies in the same form.
    ///
    /// `flags` as in [`Netlink::request`].
    ///
    /// # Errors
    /// Any [`NetlinkError`] but `NoFamily`.
    pub fn request_raw(&mut self, message_type: u16, flags: u16, body: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let acknowledge = if is_dump(flags) { 0 } else { NLM_F_ACK };
            let first = self.send(&[(message_type, flags | acknowledge, body)])?;
            match self.replies(first, 1, 1) {
                Err(NetlinkError::Interrupted) => {}
                // The socket's buffer overflowed, so replies were lost. Asking twice for a dump does no harm.
                Err(NetlinkError::Receive(error)) if is_dump(flags) && error.raw_os_error() == Some(libc::ENOBUFS) => {}
                result => return result,
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Sends messages as one datagram and waits for an ACK of each that asks for one. The first refusal is returned.
    pub(crate) fn request_batch(&mut self, messages: &[BatchMessage]) -> Result<(), NetlinkError> {
        let parts: Vec<_> = messages
            .iter()
            .map(|message| (message.message_type, message.flags, message.body.as_slice()))
            .collect();
        let awaited = messages.iter().filter(|message| message.flags & NLM_F_ACK != 0).count();
        let first = self.send(&parts)?;
        self.replies(first, messages.len(), awaited).map(|_| ())
    }

    /// Sends messages of (type, flags, body) as one datagram and returns the first one's sequence number.
    fn send(&mut self, messages: &[(u16, u16, &[u8])]) -> Result<u32, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for (message_type, flags, body) in messages {
            self.sequence = self.sequence.wrapping_add(1);
            push_message(&mut datagram, *message_type, flags | NLM_F_REQUEST, self.sequence, body);
        }
        self.socket.send(&datagram, 0).map_err(NetlinkError::Send)?;
        Ok(first)
    }

    /// Reads what comes back to `count` messages numbered from `first`, until `awaited` ACKs or ends of dumps, or an error.
    fn replies(&mut self, first: u32, count: usize, mut awaited: usize) -> Result<Vec<(u16, Vec<u8>)>, NetlinkError> {
        let mut replies = Vec::new();
        let mut interrupted = false;
        while awaited > 0 {
            self.receive()?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(|error| NetlinkError::Malformed(error.to_string()))?;
                rest = &rest[aligned(message.length() as usize).min(rest.len())..];
                // A notification, or what is left of a request given up earlier.
                if message.sequence_number().wrapping_sub(first) as usize >= count {
                    continue;
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    MESSAGE_NOOP => {}
                    MESSAGE_OVERRUN => return Err(NetlinkError::Receive(io::Error::from_raw_os_error(libc::ENOBUFS))),
                    MESSAGE_ERROR | MESSAGE_DONE => match refusal(&message) {
                        Some(refusal) => return Err(NetlinkError::Refused(refusal)),
                        None => awaited = awaited.saturating_sub(1),
                    },
                    kind if kind >= FIRST_PROTOCOL_MESSAGE => replies.push((kind, message.payload().to_vec())),
                    kind => return Err(NetlinkError::Malformed(format!("unknown control message {kind}"))),
                }
            }
        }
        if interrupted {
            Err(NetlinkError::Interrupted)
        } else {
            Ok(replies)
        }
    }

    /// Reads one datagram into the buffer.
    fn receive(&mut self) -> Result<(), NetlinkError> {
        loop {
            self.buffer.clear();
            // With MSG_TRUNC the true length comes back, so that a datagram that was cut off is noticed.
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(length) if length <= RECEIVE_BUFFER => return Ok(()),
                Ok(length) => {
                    return Err(NetlinkError::Malformed(format!(
                        "a datagram of {length} bytes, over the {RECEIVE_BUFFER} expected"
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetlinkError::Receive(error)),
            }
        }
    }
}

/// Both bits of `NLM_F_DUMP`. With requests that change something the same bits mean "replace" and "only if absent", which
/// nobody asks for together.
fn is_dump(flags: u16) -> bool {
    flags & NLM_F_DUMP == NLM_F_DUMP
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn push_message(datagram: &mut Vec<u8>, message_type: u16, flags: u16, sequence_number: u32, body: &[u8]) {
    let start = datagram.len();
    let length = HEADER_LEN + body.len();
    datagram.resize(start + HEADER_LEN, 0);
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(length).expect("a netlink message is far below 4 GiB");
    header.message_type = message_type;
    header.flags = flags;
    header.sequence_number = sequence_number;
    header.emit(&mut datagram[start..]);
    datagram.extend_from_slice(body);
    datagram.resize(start + aligned(length), 0);
}

/// The refusal in an error message or at the end of a dump; `None` for an ACK and a dump that ended well.
fn refusal(message: &NetlinkBuffer<&[u8]>) -> Option<Refusal> {
    let payload = message.payload();
    let code = payload
        .get(..4)
        .map_or(0, |code| i32::from_ne_bytes(code.try_into().expect("four bytes")));
    if code == 0 {
        return None;
    }
    let mut attributes = &payload[4..];
    if message.message_type() == MESSAGE_ERROR {
        // The request follows the code: its header only when the reply is capped, else the whole of it.
        let request = attributes.get(..4).map_or(0, |length| {
            u32::from_ne_bytes(length.try_into().expect("four bytes")) as usize
        });
        let skipped = if message.flags() & NLM_F_CAPPED != 0 {
            HEADER_LEN
        } else {
            aligned(request)
        };
        attributes = attributes.get(skipped..).unwrap_or_default();
    }
    let reason = (message.flags() & NLM_F_ACK_TLVS != 0)
        .then(|| {
            NlasIterator::new(attributes)
                .filter_map(Result::ok)
                .find(|attribute| attribute.kind() == EXTACK_MESSAGE)
                .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
        })
        .flatten();
    Some(Refusal {
        errno: code.wrapping_neg(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    #[test]
    fn a_dump_of_links_has_the_loopback() {
        let mut netlink = Netlink::open().unwrap();
        let links = netlink
            .request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)
            .unwrap();
        let has_loopback = links
            .iter()
            .any(|link| matches!(link, RouteNetlinkMessage::NewLink(link) if link.header.index == 1));
        assert!(has_loopback, "{links:?}");
    }

    #[test]
    fn a_refusal_carries_the_errno_and_the_socket_stays_usable() {
        let mut netlink = Netlink::open().unwrap();
        let mut message = LinkMessage::default();
        message.header.index = 0x7fff_fff0;
        let error = netlink.request(RouteNetlinkMessage::GetLink(message), 0).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV), "{error}");
        let mut message = LinkMessage::default();
        message.header.index = 1;
        assert_eq!(netlink.request(RouteNetlinkMessage::GetLink(message), 0).unwrap().len(), 1);
    }

    fn error_message(flags: u16, code: i32, request: &[u8], reason: &str) -> Vec<u8> {
        let mut body = code.to_ne_bytes().to_vec();
        body.extend_from_slice(request);
        let length = u16::try_from(4 + reason.len() + 1).unwrap();
        body.extend_from_slice(&length.to_ne_bytes());
        body.extend_from_slice(&EXTACK_MESSAGE.to_ne_bytes());
        body.extend_from_slice(reason.as_bytes());
        body.push(0);
        let mut datagram = Vec::new();
        push_message(&mut datagram, MESSAGE_ERROR, flags, 7, &body);
        datagram
    }

    #[test]
    fn the_kernels_words_are_found_with_and_without_the_request_in_the_reply() {
        let mut whole_request = Vec::new();
        push_message(&mut whole_request, 16, 0, 7, &[1; 21]);
        for (flags, request) in [(NLM_F_CAPPED, &whole_request[..HEADER_LEN]), (0, &whole_request[..])] {
            let datagram = error_message(flags | NLM_F_ACK_TLVS, -libc::EINVAL, request, "no such thing");
            let refusal = refusal(&NetlinkBuffer::new_checked(&datagram[..]).unwrap()).unwrap();
            assert_eq!(
                refusal,
                Refusal {
                    errno: libc::EINVAL,
                    reason: Some("no such thing".to_owned())
                }
            );
            assert_eq!(
                refusal.to_string(),
                "Invalid argument (os error 22); the kernel says: no such thing"
            );
        }
        let datagram = error_message(NLM_F_CAPPED, 0, &whole_request[..HEADER_LEN], "");
        assert_eq!(refusal(&NetlinkBuffer::new_checked(&datagram[..]).unwrap()), None);
    }
}
