//! The thread: packets, events and deadlines, given to whose they are.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fielato_gateway::Buffer;
use fielato_wire::build::{Ip, fragments};
use fielato_wire::{Family, Headers, Offload, checksum, number};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::counters::{Counters, DropReason};
use super::datagram::{Datagrams, Kind};
use super::fragments::Fragments;
use super::inbox::Inbox;
use super::reach::Reach;
use super::stack::Stack;
use super::tcp::Tcp;
use super::timers::Timers;
use super::{Options, Sink, StartError};
use crate::fd::timespec;

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// Packets given to the sink at once, or more when one connection sends more in its turn.
const BATCH: usize = 64;

/// ICMP's echo requests (RFC 792, RFC 4443 §4.1).
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;

/// Whose event or deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    Inbox,
    Tcp(u64),
    Datagram(u64),
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
    /// Longest packet to a member.
    pub(super) mtu: u16,
    pub(super) stack: Stack,
    pub(super) reach: Reach,
    pub(super) timers: Timers,
    pub(super) events: Events,
    pub(super) counters: Arc<Counters>,
    sink: Arc<dyn Sink>,
    superpackets: bool,
    batch: Vec<Buffer>,
    /// Identification of the packet that was made last.
    fragment_id: u32,
    errors: Errors,
}

/// How many ICMP errors of our own there may be, as `net.ipv4.icmp_msgs_per_sec` and `icmp_msgs_burst`.
struct Errors {
    left: u32,
    since: Instant,
}

pub(super) struct Engine {
    pub(super) shared: Shared,
    tcp: Tcp,
    datagrams: Datagrams,
    fragments: Fragments,
}

impl Engine {
    pub(super) fn new(options: Options, counters: Arc<Counters>, sink: Arc<dyn Sink>) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| system("random numbers")(io::Error::other(error)))?;
        let (seed, now) = (u64::from_ne_bytes(seed), Instant::now());
        let shared = Shared {
            now,
            mtu: options.mtu,
            stack: Stack::new(options.mtu, seed, now),
            reach: Reach::new(&options).map_err(system("routing socket"))?,
            timers: Timers::default(),
            events: Events::new().map_err(system("epoll set"))?,
            counters,
            sink,
            superpackets: options.superpackets,
            batch: Vec::new(),
            fragment_id: seed as u32,
            errors: Errors {
                left: Errors::BURST,
                since: now,
            },
        };
        Ok(Self {
            tcp: Tcp::new(options.limits.clone()),
            datagrams: Datagrams::new(options.limits),
            fragments: Fragments::default(),
            shared,
        })
    }

    /// Waits for `inbox` too.
    pub(super) fn watch(&self, inbox: &Inbox) -> io::Result<()> {
        self.shared.events.add(inbox.as_fd(), Token::Inbox, EventFlags::IN)
    }

    /// Runs until the inbox is ended.
    pub(super) fn run(mut self, inbox: &Inbox) {
        // Also when this ends otherwise: then no packet is taken any more.
        let _ending = Ending(inbox);
        let (mut packets, mut events) = (Vec::new(), Vec::with_capacity(EVENTS));
        loop {
            inbox.clear();
            if !inbox.take(&mut packets) {
                return;
            }
            self.handle(&mut packets, &mut events, Instant::now());
            let wait = self.next().map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.shared.events.wait(&mut events, wait) {
                log::error!("proxy: waiting for sockets: {error}; the way out is closed");
                return;
            }
        }
    }

    /// One round, with what came.
    pub(super) fn handle(&mut self, packets: &mut Vec<Buffer>, events: &mut Vec<(Token, EventFlags)>, now: Instant) {
        self.shared.now = now;
        for (token, flags) in events.drain(..) {
            match token {
                Token::Inbox => {}
                Token::Tcp(id) => self.tcp.handle_event(id, flags, &mut self.shared),
                Token::Datagram(id) => self.datagrams.handle_event(id, flags, &mut self.shared),
            }
        }
        for packet in packets.drain(..) {
            self.handle_packet(packet);
        }
        self.handle_deadlines();
        self.tcp.run(&mut self.shared);
        self.shared.flush();
    }

    /// When there is something to do, whatever comes.
    fn next(&self) -> Option<Instant> {
        match self.tcp.is_busy() {
            true => Some(self.shared.now),
            false => [self.shared.timers.next(), self.fragments.next()].into_iter().flatten().min(),
        }
    }

    fn handle_packet(&mut self, packet: Buffer) {
        let Ok(headers) = Headers::receive(&packet.data) else {
            return self.shared.counters.dropped(DropReason::Malformed);
        };
        let Buffer { mut data, offload } = packet;
        data.truncate(headers.len.into());
        if !headers.is_fragment() {
            return self.handle_whole(&headers, data, &offload);
        }
        let (counters, now) = (&self.shared.counters, self.shared.now);
        if let Some(whole) = self.fragments.push(&headers, data, counters, now)
            && let Ok(headers) = Headers::receive(&whole)
        {
            self.handle_whole(&headers, whole, &Offload::default());
        }
    }

    fn handle_whole(&mut self, headers: &Headers, packet: Vec<u8>, offload: &Offload) {
        let shared = &mut self.shared;
        if headers.is_fragment() || headers.lacks_protocol() || !headers.l4_whole {
            return shared.counters.dropped(DropReason::Malformed);
        }
        // Linux doesn't verify what is said to be complete later, or to be right, either (`skb_csum_unnecessary`).
        let vouched = offload.needs_csum.is_some() || offload.data_valid;
        if !vouched && !has_right_checksum(headers, &packet) {
            return shared.counters.dropped(DropReason::Malformed);
        }
        let transport = headers.transport(&packet);
        let mut flow = Flow {
            member: SocketAddr::new(headers.src.to_ip(headers.family), headers.sport),
            remote: SocketAddr::new(headers.dst.to_ip(headers.family), headers.dport),
        };
        match (headers.protocol, headers.icmp_type) {
            (number::TCP, _) => self.tcp.handle_packet(flow, headers, packet, shared),
            (number::UDP, _) => {
                let Some(payload) = udp_payload(transport) else {
                    return shared.counters.dropped(DropReason::Malformed);
                };
                let size = offload
                    .segmentation
                    .map_or(usize::MAX, |segmentation| segmentation.size.into());
                // A datagram without payload is one, too.
                let pieces = payload.chunks(size.max(1)).chain(payload.is_empty().then_some(payload));
                for piece in pieces {
                    self.datagrams.handle(Kind::Udp, flow, piece, &packet, shared);
                }
            }
            (number::ICMP, ECHO_V4) | (number::ICMPV6, ECHO_V6) => {
                let Some(&[id_high, id_low, high, low]) = transport.get(4..8) else {
                    return shared.counters.dropped(DropReason::Malformed);
                };
                let id = u16::from_be_bytes([id_high, id_low]);
                if shared.reach.is_own(flow.remote.ip()) {
                    let data = transport.get(8..).unwrap_or_default();
                    return shared.answer_echo(&flow, id, u16::from_be_bytes([high, low]), data);
                }
                flow.member.set_port(id);
                self.datagrams.handle(Kind::Ping, flow, transport, &packet, shared);
            }
            _ => shared.counters.dropped(DropReason::NotCarried),
        }
    }

    fn handle_deadlines(&mut self) {
        self.fragments.expire(&self.shared.counters, self.shared.now);
        while let Some((at, token)) = self.shared.timers.pop(self.shared.now) {
            match token {
                Token::Inbox => {}
                Token::Tcp(id) => self.tcp.handle_timeout(id, at, &mut self.shared),
                Token::Datagram(id) => self.datagrams.handle_timeout(id, at, &mut self.shared),
            }
        }
    }
}

/// Ends the inbox when it goes.
struct Ending<'a>(&'a Inbox);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a UDP header says is its payload (RFC 768); 0 is for jumbograms, which there are none of.
fn udp_payload(transport: &[u8]) -> Option<&[u8]> {
    let len = u16::from_be_bytes(*transport.get(4..)?.first_chunk()?);
    transport.get(8..usize::from(len))
}

/// TCP, UDP and ICMP.
fn has_right_checksum(headers: &Headers, packet: &[u8]) -> bool {
    let transport = headers.transport(packet);
    match headers.protocol {
        number::ICMP => checksum::checksum(transport) == 0,
        number::UDP if transport.get(6..8) == Some(&[0, 0]) => headers.family == Family::V4,
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
    pub(super) fn send(&mut self, packet: Buffer) {
        self.stack.outgoing().push(packet);
    }

    /// A packet for a member on `ip`, in fragments if it is longer than the MTU.
    pub(super) fn send_cut(&mut self, ip: &Ip, packet: &dyn Fn(&Ip) -> Vec<u8>) {
        self.fragment_id = self.fragment_id.wrapping_add(1);
        let packet = match ip.family {
            Family::V4 => packet(&ip.clone().id(self.fragment_id & 0xffff)),
            Family::V6 => packet(ip),
        };
        if packet.len() <= self.mtu.into() {
            return self.send(Buffer::from(packet));
        }
        match fragments(&packet, self.mtu.into(), self.fragment_id) {
            Ok(pieces) => pieces.into_iter().for_each(|piece| self.send(Buffer::from(piece))),
            Err(_) => self.counters.dropped(DropReason::TooLong),
        }
    }

    /// Answers a ping to the hub itself.
    fn answer_echo(&mut self, flow: &Flow, id: u16, sequence: u16, data: &[u8]) {
        let Some(ip) = Ip::between(flow.remote.ip(), flow.member.ip()) else {
            return;
        };
        self.send_cut(&ip, &|ip| ip.echo_reply(id, sequence, data));
    }

    /// Tells the member that its packet got no further, as the router would that has no way for it.
    pub(super) fn unreachable(&mut self, flow: &Flow, errno: Errno, packet: &[u8]) {
        if !self.errors.allow(self.now) {
            return;
        }
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
            self.send(Buffer::from(ip.icmp_error(kind, code, 0, packet)));
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
                packet.split(&mut |packet| self.batch.push(packet));
            }
        }
        self.sink.send(&mut self.batch);
        self.batch.clear();
    }
}

impl Errors {
    const BURST: u32 = 50;
    const INTERVAL: Duration = Duration::from_millis(1);

    fn allow(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let more = (passed.as_nanos() / Self::INTERVAL.as_nanos()).min(Self::BURST.into()) as u32;
        if more > 0 {
            self.left = Self::BURST.min(self.left + more);
            self.since = now;
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

impl Token {
    fn to_bits(self) -> u64 {
        match self {
            Token::Inbox => 0,
            Token::Tcp(id) => id << 2 | 1,
            Token::Datagram(id) => id << 2 | 2,
        }
    }

    fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            1 => Token::Tcp(bits >> 2),
            2 => Token::Datagram(bits >> 2),
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
    pub(super) fn wait(&self, events: &mut Vec<(Token, EventFlags)>, timeout: Option<Duration>) -> io::Result<()> {
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
