//! What nftables says of packets that are traced (`meta nftrace`; `nft monitor trace` prints the same): each base chain that a
//! packet enters, each rule that it meets there, and the verdicts. Needs `CAP_NET_ADMIN`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NlasIterator;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::NFNL_SUBSYS_NFTABLES;

// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTRACE: u32 = 9;
// linux/netfilter/nf_tables.h
const NFT_MSG_TRACE: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 17;
const NFTA_TRACE_TABLE: u16 = 1;
const NFTA_TRACE_CHAIN: u16 = 2;
const NFTA_TRACE_RULE_HANDLE: u16 = 3;
const NFTA_TRACE_TYPE: u16 = 4;
const NFTA_TRACE_VERDICT: u16 = 5;
const NFTA_TRACE_ID: u16 = 6;
const NFTA_TRACE_NETWORK_HEADER: u16 = 8;
const NFTA_TRACE_TRANSPORT_HEADER: u16 = 9;
const NFTA_TRACE_IIF: u16 = 10;
const NFTA_TRACE_OIF: u16 = 12;
const NFTA_TRACE_MARK: u16 = 14;
const NFTA_TRACE_POLICY: u16 = 16;
const NFTA_TRACE_CT_STATE: u16 = 21;
const NFT_TRACETYPE_POLICY: u32 = 1;
const NFT_TRACETYPE_RETURN: u32 = 2;
const NFT_TRACETYPE_RULE: u32 = 3;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// Length of `struct nlmsghdr`, and of `struct nfgenmsg` behind it.
const HEADER_LEN: usize = 16;
const FAMILY_LEN: usize = 4;

/// Several events wait while the reader is busy; each is below 1 KiB.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
const BUFFER: usize = 64 * 1024;

/// One thing that happened to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// The same for all events of a packet; used again for later packets.
    pub id: u32,
    /// Family of the table, as nft writes it.
    pub family: &'static str,
    /// Table of the chain.
    pub table: String,
    /// Where it happened.
    pub chain: String,
    /// What happened.
    pub step: Step,
    /// The packet's mark.
    pub mark: u32,
    /// The packet's headers, in the first event of each base chain.
    pub headers: Option<TracedHeaders>,
    /// What connection tracking thinks of the packet; the kernel tells from Linux 6.16 on, and in the first event of a base chain.
    pub state: Option<TracedState>,
}

/// What happened to a packet in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All of a rule's conditions held.
    Rule {
        /// The rule's number in its table.
        handle: u64,
        /// What it decided.
        verdict: TracedVerdict,
    },
    /// The end of a chain that was jumped to.
    Return,
    /// The end of a base chain: its policy decided.
    Policy(TracedVerdict),
}

/// A verdict (linux/netfilter.h, linux/netfilter/nf_tables.h).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TracedVerdict {
    Drop,
    Accept,
    Stolen,
    Queue,
    Continue,
    Break,
    Jump(String),
    Goto(String),
    Return,
    Other(i32),
}

/// A connection's state as one packet has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TracedState {
    Invalid,
    Established,
    Related,
    New,
    Untracked,
}

impl TracedState {
    /// As rules write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Established => "established",
            Self::Related => "related",
            Self::New => "new",
            Self::Untracked => "untracked",
        }
    }
}

/// The headers of a packet as they were in one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedHeaders {
    /// Number of the interface that it came in by.
    pub iif: Option<u32>,
    /// Number of the interface that it will leave by.
    pub oif: Option<u32>,
    /// The IP header with options or extensions, as far as 40 bytes go.
    pub network: Vec<u8>,
    /// The first 20 bytes behind it.
    pub transport: Vec<u8>,
}

/// What was read at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// In their order.
    pub events: Vec<TraceEvent>,
    /// Whether some were lost because they came faster than they were read.
    pub lost: bool,
}

/// A socket that hears of all traced packets of the network namespace in which it was opened.
pub struct Tracer(Socket);

impl Tracer {
    /// Begins to listen.
    ///
    /// # Errors
    /// `EPERM` without the right, or another.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFNLGRP_NFTRACE)?;
        socket.set_non_blocking(true)?;
        if set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)?;
        }
        Ok(Self(socket))
    }

    /// What has been said since the last time, up to `most` events or a few more.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn read(&self, most: usize) -> io::Result<Traced> {
        let mut traced = Traced::default();
        let mut buffer = Vec::with_capacity(BUFFER);
        while traced.events.len() < most {
            buffer.clear();
            match self.0.recv(&mut buffer, 0) {
                Ok(_) => traced.events.extend(messages(&buffer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => traced.lost = true,
                Err(error) => return Err(error),
            }
        }
        Ok(traced)
    }
}

impl AsFd for Tracer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The events of one datagram; what is none is passed over.
fn messages(mut datagram: &[u8]) -> Vec<TraceEvent> {
    let mut events = Vec::new();
    while let Some((length, kind)) = header(datagram) {
        let Some(message) = datagram.get(..length) else { break };
        if kind == NFT_MSG_TRACE
            && let Some((family, attributes)) = message
                .get(HEADER_LEN..)
                .and_then(|body| body.split_first_chunk::<FAMILY_LEN>())
        {
            events.extend(event(family_name(family[0]), attributes));
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    events
}

/// Length and type of a netlink message.
fn header(message: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(*message.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    (length >= HEADER_LEN && length <= message.len()).then_some((length, kind))
}

/// `NFPROTO_*` (linux/netfilter.h).
fn family_name(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "other",
    }
}

fn event(family: &'static str, attributes: &[u8]) -> Option<TraceEvent> {
    let (mut id, mut kind, mut handle, mut policy, mut mark) = (None, None, 0, None, 0);
    let (mut table, mut chain) = (String::new(), String::new());
    let (mut verdict, mut state) = (None, None);
    let (mut iif, mut oif) = (None, None);
    let (mut network, mut transport) = (Vec::new(), Vec::new());
    for attribute in NlasIterator::new(attributes).filter_map(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            NFTA_TRACE_TABLE => table = text(value),
            NFTA_TRACE_CHAIN => chain = text(value),
            NFTA_TRACE_RULE_HANDLE => handle = u64::from_be_bytes(*value.first_chunk()?),
            NFTA_TRACE_TYPE => kind = number(value),
            NFTA_TRACE_VERDICT => verdict = parse_verdict(value),
            NFTA_TRACE_ID => id = number(value),
            NFTA_TRACE_NETWORK_HEADER => network = value.to_vec(),
            NFTA_TRACE_TRANSPORT_HEADER => transport = value.to_vec(),
            NFTA_TRACE_IIF => iif = number(value),
            NFTA_TRACE_OIF => oif = number(value),
            NFTA_TRACE_MARK => mark = number(value).unwrap_or(0),
            NFTA_TRACE_POLICY => policy = number(value),
            NFTA_TRACE_CT_STATE => state = number(value).and_then(parse_state),
            _ => {}
        }
    }
    let step = match kind? {
        NFT_TRACETYPE_RULE => Step::Rule {
            handle,
            verdict: verdict?,
        },
        NFT_TRACETYPE_RETURN => Step::Return,
        NFT_TRACETYPE_POLICY => Step::Policy(code(policy? as i32, None)),
        _ => return None,
    };
    Some(TraceEvent {
        id: id?,
        family,
        table,
        chain,
        step,
        mark,
        headers: (!network.is_empty()).then_some(TracedHeaders {
            iif,
            oif,
            network,
            transport,
        }),
        state,
    })
}

fn parse_verdict(attributes: &[u8]) -> Option<TracedVerdict> {
    let (mut number_of, mut chain) = (None, None);
    for attribute in NlasIterator::new(attributes).filter_map(Result::ok) {
        match attribute.kind() {
            NFTA_VERDICT_CODE => number_of = number(attribute.value()),
            NFTA_VERDICT_CHAIN => chain = Some(text(attribute.value())),
            _ => {}
        }
    }
    Some(code(number_of? as i32, chain))
}

fn code(code: i32, chain: Option<String>) -> TracedVerdict {
    match (code, chain) {
        (0, _) => TracedVerdict::Drop,
        (1, _) => TracedVerdict::Accept,
        (2, _) => TracedVerdict::Stolen,
        // The queue's number stands in the upper half.
        (queue, _) if queue >= 0 && queue & 0xff == 3 => TracedVerdict::Queue,
        (-1, _) => TracedVerdict::Continue,
        (-2, _) => TracedVerdict::Break,
        (-3, chain) => TracedVerdict::Jump(chain.unwrap_or_default()),
        (-4, chain) => TracedVerdict::Goto(chain.unwrap_or_default()),
        (-5, _) => TracedVerdict::Return,
        (other, _) => TracedVerdict::Other(other),
    }
}

/// `NF_CT_STATE_INVALID_BIT`, `NF_CT_STATE_BIT` and `NF_CT_STATE_UNTRACKED_BIT` (linux/netfilter/nf_conntrack_common.h).
fn parse_state(bits: u32) -> Option<TracedState> {
    Some(match bits {
        1 => TracedState::Invalid,
        2 => TracedState::Established,
        4 => TracedState::Related,
        8 => TracedState::New,
        64 => TracedState::Untracked,
        _ => return None,
    })
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;

    use super::super::element::{emit, header, nested};
    use super::*;

    fn message(attributes: &[DefaultNla]) -> Vec<u8> {
        let mut body = header(1, 0);
        body.extend(emit(attributes));
        let length = (HEADER_LEN + body.len()) as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(NFT_MSG_TRACE.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    fn number(kind: u16, value: u32) -> DefaultNla {
        DefaultNla::new(kind, value.to_be_bytes().to_vec())
    }

    fn name(kind: u16, text: &str) -> DefaultNla {
        DefaultNla::new(kind, format!("{text}\0").into_bytes())
    }

    #[test]
    fn a_rule_and_a_policy_are_read() {
        let rule = message(&[
            number(NFTA_TRACE_TYPE, NFT_TRACETYPE_RULE),
            number(NFTA_TRACE_ID, 0x1234),
            name(NFTA_TRACE_CHAIN, "forward"),
            name(NFTA_TRACE_TABLE, "fielato"),
            DefaultNla::new(NFTA_TRACE_RULE_HANDLE, 9_u64.to_be_bytes().to_vec()),
            nested(
                NFTA_TRACE_VERDICT,
                &[number(NFTA_VERDICT_CODE, -3_i32 as u32), name(NFTA_VERDICT_CHAIN, "other")],
            ),
            number(NFTA_TRACE_IIF, 7),
            DefaultNla::new(NFTA_TRACE_NETWORK_HEADER, vec![0x45; 20]),
            DefaultNla::new(NFTA_TRACE_TRANSPORT_HEADER, vec![1; 8]),
            number(NFTA_TRACE_CT_STATE, 8),
        ]);
        let policy = message(&[
            number(NFTA_TRACE_TYPE, NFT_TRACETYPE_POLICY),
            number(NFTA_TRACE_ID, 0x1234),
            number(NFTA_TRACE_POLICY, 0),
            number(NFTA_TRACE_MARK, 5),
        ]);
        let both = [rule, policy].concat();
        let wanted = [
            TraceEvent {
                id: 0x1234,
                family: "inet",
                table: "fielato".into(),
                chain: "forward".into(),
                step: Step::Rule {
                    handle: 9,
                    verdict: TracedVerdict::Jump("other".into()),
                },
                mark: 0,
                headers: Some(TracedHeaders {
                    iif: Some(7),
                    oif: None,
                    network: vec![0x45; 20],
                    transport: vec![1; 8],
                }),
                state: Some(TracedState::New),
            },
            TraceEvent {
                id: 0x1234,
                family: "inet",
                table: String::new(),
                chain: String::new(),
                step: Step::Policy(TracedVerdict::Drop),
                mark: 5,
                headers: None,
                state: None,
            },
        ];
        assert_eq!(messages(&both), wanted);
        // Whatever is cut off or changed, nothing panics.
        for cut in 0..both.len() {
            assert!(messages(&both[..cut]).len() < 2);
            for value in [0, 3, 0x7f, 0xff] {
                let mut changed = both.clone();
                changed[cut] = value;
                assert!(messages(&changed).len() <= 2);
            }
        }
    }
}
