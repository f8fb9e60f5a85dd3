//! The thread: packets, events and deadlines, given to whose they are.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fielato_wire::build::Ip;
use fielato_wire::{Headers, checksum, number};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::counters::{Counters, DropReason};
use super::inbox::Inbox;
use super::reach::Reach;
use super::stack::Stack;
use super::tcp::Tcp;
use super::timers::Timers;
use super::{Options, Packet, Sink, StartError};
use crate::fd::timespec;

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// Packets given to the sink at once, or more when one connection sends more in its turn.
const BATCH: usize = 64;

/// Whose event or deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    Inbox,
    Tcp(u64),
}

/// A flow of a member's, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) member: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// The set of file descriptors that the thread waits for.
pub(super) struct Events(OwnedFd);

/// What the protocols have in common.
pub(super) struct Shared {
    /// The time, read once for each round.
    pub(super) now: Instant,
    pub(super) stack: Stack,
    pub(super) reach: Reach,
    pub(super) timers: Timers,
    pub(super) events: Events,
    pub(super) counters: Arc<Counters>,
    sink: Arc<dyn Sink>,
    superpackets: bool,
    batch: Vec<Packet>,
}

pub(super) struct Engine {
    shared: Shared,
    tcp: Tcp,
}

impl Engine {
    pub(super) fn new(options: Options, counters: Arc<Counters>, sink: Arc<dyn Sink>) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| system("random numbers")(io::Error::other(error)))?;
        let now = Instant::now();
        let shared = Shared {
            now,
            stack: Stack::new(options.mtu, u64::from_ne_bytes(seed), now),
            reach: Reach::new(&options).map_err(system("routing socket"))?,
            timers: Timers::default(),
            events: Events::new().map_err(system("epoll set"))?,
            counters,
            sink,
            superpackets: options.superpackets,
            batch: Vec::new(),
        };
        Ok(Self {
            tcp: Tcp::new(options.limits),
            shared,
        })
    }

    /// Waits for `inbox` too.
    pub(super) fn watch(&self, inbox: &Inbox) -> io::Result<()> {
        self.shared.events.add(inbox.as_fd(), Token::Inbox, EventFlags::IN)
    }

    /// Runs until the inbox is ended.
    pub(super) fn run(mut self, inbox: &Inbox) {
        let mut packets = Vec::new();
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            inbox.clear();
            if !inbox.take(&mut packets) {
                return;
            }
            self.shared.now = Instant::now();
            for packet in packets.drain(..) {
                self.handle_packet(packet);
            }
            self.handle_deadlines();
            self.tcp.run(&mut self.shared);
            self.shared.flush();

            let wait = match self.tcp.is_busy() {
                true => Some(Duration::ZERO),
                false => self
                    .shared
                    .timers
                    .next()
                    .map(|at| at.saturating_duration_since(Instant::now())),
            };
            if let Err(error) = self.shared.events.wait(&mut events, wait) {
                log::error!("proxy: waiting for sockets: {error}; the way out is closed");
                inbox.end();
                return;
            }
            self.shared.now = Instant::now();
            for (token, flags) in events.drain(..) {
                match token {
                    Token::Inbox => {}
                    Token::Tcp(id) => self.tcp.handle_event(id, flags, &mut self.shared),
                }
            }
        }
    }

    fn handle_packet(&mut self, packet: Packet) {
        let Ok(headers) = Headers::receive(&packet.data) else {
            return self.shared.counters.dropped(DropReason::Malformed);
        };
        let Packet { mut data, offload } = packet;
        data.truncate(headers.len.into());
        if headers.is_fragment() {
            return self.shared.counters.dropped(DropReason::FragmentLimit);
        }
        if headers.lacks_protocol() || !headers.l4_whole {
            return self.shared.counters.dropped(DropReason::Malformed);
        }
        // Linux doesn't verify what is said to be complete later, or to be right, either (`skb_csum_unnecessary`).
        let vouched = offload.needs_csum.is_some() || offload.data_valid;
        if !vouched && !has_right_checksum(&headers, &data) {
            return self.shared.counters.dropped(DropReason::Malformed);
        }
        let flow = Flow {
            member: SocketAddr::new(headers.src.to_ip(headers.family), headers.sport),
            remote: SocketAddr::new(headers.dst.to_ip(headers.family), headers.dport),
        };
        match headers.protocol {
            number::TCP => self.tcp.handle_packet(flow, headers.tcp_flags, data, &mut self.shared),
            _ => self.shared.counters.dropped(DropReason::NotCarried),
        }
    }

    fn handle_deadlines(&mut self) {
        while let Some((at, token)) = self.shared.timers.pop(self.shared.now) {
            match token {
                Token::Inbox => {}
                Token::Tcp(id) => self.tcp.handle_timeout(id, at, &mut self.shared),
            }
        }
    }
}

/// TCP, UDP and ICMP.
fn has_right_checksum(headers: &Headers, packet: &[u8]) -> bool {
    let transport = headers.transport(packet);
    match headers.protocol {
        number::ICMP => checksum::checksum(transport) == 0,
        number::UDP if transport.get(6..8) == Some(&[0, 0]) => headers.family == fielato_wire::Family::V4,
        number::TCP | number::UDP | number::ICMPV6 => {
            let len = transport.len() as u32;
            let total = checksum::pseudo(headers.src, headers.dst, headers.protocol, len) + checksum::sum(transport);
            checksum::fold(total) == 0xffff
        }
        _ => true,
    }
}

impl Shared {
    /// A packet for a member.
    pub(super) fn send(&mut self, packet: Packet) {
        self.stack.outgoing().push(packet);
    }

    /// Tells the member that its packet got no further, as the router would that has no way for it.
    pub(super) fn unreachable(&mut self, flow: &Flow, errno: Errno, packet: &[u8]) {
        // RFC 792 and RFC 1812 §5.2.7.1; RFC 4443 §3.1.
        let (v4, v6) = match errno {
            Errno::NETUNREACH => (0, 0),
            Errno::ACCESS | Errno::PERM => (13, 1),
            Errno::CONNREFUSED => (3, 4),
            _ => (1, 3),
        };
        self.icmp_error(flow.remote.ip(), flow.member.ip(), (3, v4), (1, v6), packet);
    }

    /// An ICMP error about a member's packet, as if its destination had sent it; type and code for each family.
    fn icmp_error(&mut self, from: IpAddr, to: IpAddr, v4: (u8, u8), v6: (u8, u8), packet: &[u8]) {
        let (kind, code) = if to.is_ipv4() { v4 } else { v6 };
        if let Some(ip) = Ip::between(from, to) {
            self.send(Packet::plain(ip.icmp_error(kind, code, 0, packet)));
        }
    }

    pub(super) fn flush_if_full(&mut self) {
        if self.stack.outgoing().len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let outgoing = self.stack.outgoing();
        if outgoing.is_empty() {
            return;
        }
        if self.superpackets {
            self.batch.append(outgoing);
        } else {
            for packet in outgoing.drain(..) {
                packet.cut(&mut self.batch);
            }
        }
        self.sink.send(&mut self.batch);
        self.batch.clear();
    }
}

impl Token {
    fn to_bits(self) -> u64 {
        match self {
            Token::Inbox => 0,
            Token::Tcp(id) => id << 2 | 1,
        }
    }

    fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            1 => Token::Tcp(bits >> 2),
            _ => Token::Inbox,
        }
    }
}

impl Events {
    fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token.to_bits()), flags)?)
    }

    /// Waits until something happens or the time, in whole milliseconds rounded up, is over.
    fn wait(&self, events: &mut Vec<(Token, EventFlags)>, timeout: Option<Duration>) -> io::Result<()> {
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut happened = [nothing; EVENTS];
        let timeout = timeout.map(timespec);
        match epoll::wait(&self.0, &mut happened, timeout.as_ref()) {
            Ok(count) => {
                let read = |event: &Event| (Token::from_bits(event.data.u64()), event.flags);
                events.extend(happened.iter().take(count).map(read));
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
