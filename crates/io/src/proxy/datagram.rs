//! UDP and ping: a socket of the system's for each address and port, or identifier, of a member.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fielato_gateway::Buffer;
use fielato_wire::build::Ip;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::Limits;
use super::counters::{Counters, DropReason};
use super::engine::{Flow, Shared, Token};
use super::error_queue;
use super::reach::Refusal;
use super::timers::Scheduled;

/// A mapping that nobody answered, as in `nf_conntrack_udp_timeout` and `nf_conntrack_icmp_timeout`.
const UNANSWERED: Duration = Duration::from_secs(30);

/// One that somebody answered. RFC 4787 REQ-5: two minutes at least.
const ANSWERED: Duration = Duration::from_secs(180);

/// Whom a mapping talks to, at most; the one longest unheard of goes then.
const REMOTES: usize = 128;

/// After this, a destination is judged anew: addresses and routes of this machine change.
const JUDGED: Duration = Duration::from_secs(30);

/// Datagrams taken from one socket before others have their turn.
const TURN: usize = 64;

/// Longest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// Length of an ICMP echo's header.
const ECHO_HEADER: usize = 8;

/// UDP or ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Udp,
    /// Ports of members are identifiers, and ports of the outside are 0.
    Ping,
}

/// All mappings.
pub(super) struct Datagrams {
    limits: Limits,
    mappings: HashMap<u64, Mapping>,
    by_key: HashMap<Key, u64>,
    by_member: HashMap<(Kind, IpAddr), usize>,
    open: [usize; 2],
    next: u64,
    /// It was said that ping is not permitted.
    said: bool,
    room: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    member: SocketAddr,
}

struct Mapping {
    key: Key,
    socket: Socket,
    remotes: HashMap<SocketAddr, Remote>,
    answered: bool,
    active: Instant,
    scheduled: Scheduled,
}

/// Somebody the member talks to, by the address at which our socket knows it.
struct Remote {
    /// As the member knows it: another one for the hub itself.
    shown: SocketAddr,
    active: Instant,
    judged: Instant,
}

impl Datagrams {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            mappings: HashMap::new(),
            by_key: HashMap::new(),
            by_member: HashMap::new(),
            open: [0; 2],
            next: 0,
            said: false,
            room: vec![0; DATAGRAM_MAX],
        }
    }

    /// A datagram of a member's: UDP's payload, or an echo request from the ICMP header on. `packet` is what errors quote.
    pub(super) fn handle(&mut self, kind: Kind, flow: Flow, payload: &[u8], packet: &[u8], shared: &mut Shared) {
        let key = Key {
            kind,
            member: flow.member,
        };
        match self.send(key, flow, payload, shared) {
            Ok(()) => Counters::add(&shared.counters.bytes_out, payload.len() as u64),
            Err(Refusal::Named(reason)) => shared.counters.dropped(reason),
            Err(Refusal::Route(errno)) => {
                shared.counters.dropped(DropReason::Unreachable);
                shared.unreachable(&flow, errno, packet);
            }
        }
    }

    fn send(&mut self, key: Key, flow: Flow, payload: &[u8], shared: &mut Shared) -> Result<(), Refusal> {
        let id = match self.by_key.get(&key) {
            Some(&id) => id,
            None => {
                // Before there is a socket: nobody makes one by asking for what is refused.
                shared.reach.outside(flow.remote.ip())?;
                self.open(key, shared)?
            }
        };
        let Some(mapping) = self.mappings.get_mut(&id) else {
            return Err(Refusal::Named(DropReason::System));
        };
        let to = mapping.remote(flow.remote, shared)?;
        let mut sent = mapping.socket.send_to(payload, &to.into());
        if sent.as_ref().is_err_and(|error| !is_own(error)) {
            // An error about an earlier datagram is told to the next one.
            mapping.report(shared);
            sent = mapping.socket.send_to(payload, &to.into());
        }
        mapping.active = shared.now;
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(refusal(&error)),
        }
    }

    fn open(&mut self, key: Key, shared: &mut Shared) -> Result<u64, Refusal> {
        let (most, most_member, all, of_member) = match key.kind {
            Kind::Udp => (
                self.limits.udp,
                self.limits.udp_member,
                DropReason::UdpLimit,
                DropReason::UdpMemberLimit,
            ),
            Kind::Ping => (
                self.limits.ping,
                self.limits.ping_member,
                DropReason::PingLimit,
                DropReason::PingMemberLimit,
            ),
        };
        let member = (key.kind, key.member.ip());
        if self.open[key.kind as usize] >= most {
            return Err(Refusal::Named(all));
        }
        if self.by_member.get(&member).is_some_and(|count| *count >= most_member) {
            return Err(Refusal::Named(of_member));
        }
        let socket = match socket(key.kind, key.member.is_ipv6()) {
            Ok(socket) => socket,
            Err(error) if key.kind == Kind::Ping && error.kind() == io::ErrorKind::PermissionDenied => {
                self.say_ping_is_not_permitted();
                return Err(Refusal::Named(DropReason::PingNotPermitted));
            }
            Err(error) => return Err(refusal(&error)),
        };
        let id = self.next;
        shared
            .events
            .add(socket.as_fd(), Token::Datagram(id), EventFlags::IN)
            .map_err(|error| refusal(&error))?;
        self.next += 1;
        let mut mapping = Mapping {
            key,
            socket,
            remotes: HashMap::new(),
            answered: false,
            active: shared.now,
            scheduled: Scheduled::default(),
        };
        let due = shared.now + UNANSWERED;
        shared.timers.schedule(Token::Datagram(id), &mut mapping.scheduled, due);
        self.mappings.insert(id, mapping);
        self.by_key.insert(key, id);
        *self.by_member.entry(member).or_default() += 1;
        self.open[key.kind as usize] += 1;
        if key.kind == Kind::Udp {
            Counters::add(&shared.counters.udp_opened, 1);
        }
        self.count(shared);
        Ok(id)
    }

    fn say_ping_is_not_permitted(&mut self) {
        if !self.said {
            self.said = true;
            log::warn!(
                "proxy: ICMP sockets are not permitted, so members' pings to elsewhere are dropped and counted as \
                 `ping-not-permitted`; put this process's group into the range: sysctl net.ipv4.ping_group_range='0 2147483647'"
            );
        }
    }

    /// The socket of `id` has something to read, or was told of an error.
    pub(super) fn handle_event(&mut self, id: u64, events: EventFlags, shared: &mut Shared) {
        let Some(mapping) = self.mappings.get_mut(&id) else {
            return;
        };
        if events.contains(EventFlags::ERR) {
            mapping.report(shared);
        }
        for _ in 0..TURN {
            match mapping.receive(&mut self.room) {
                Ok((len, from)) => {
                    let payload = self.room.get(..len).unwrap_or_default();
                    mapping.deliver(payload, from, shared);
                    shared.flush_if_full();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => mapping.report(shared),
            }
        }
    }

    /// A deadline of `id` came up.
    pub(super) fn handle_timeout(&mut self, id: u64, at: Instant, shared: &mut Shared) {
        let Some(mapping) = self.mappings.get_mut(&id) else {
            return;
        };
        if !mapping.scheduled.came_up(at) {
            return;
        }
        let due = mapping.active + mapping.patience();
        if shared.now < due {
            shared.timers.schedule(Token::Datagram(id), &mut mapping.scheduled, due);
            return;
        }
        let key = mapping.key;
        self.mappings.remove(&id);
        self.by_key.remove(&key);
        let member = (key.kind, key.member.ip());
        if let Some(count) = self.by_member.get_mut(&member) {
            *count -= 1;
            if *count == 0 {
                self.by_member.remove(&member);
            }
        }
        self.open[key.kind as usize] -= 1;
        self.count(shared);
    }

    fn count(&self, shared: &Shared) {
        let [udp, ping] = self.open;
        shared.counters.udp_open.store(udp as u64, Ordering::Relaxed);
        shared.counters.ping_open.store(ping as u64, Ordering::Relaxed);
    }
}

impl Mapping {
    fn patience(&self) -> Duration {
        match self.key.kind {
            Kind::Udp if self.answered => ANSWERED,
            Kind::Udp | Kind::Ping => UNANSWERED,
        }
    }

    /// The address by which our socket reaches `shown`, noted so that its answers are let in.
    fn remote(&mut self, shown: SocketAddr, shared: &mut Shared) -> Result<SocketAddr, Refusal> {
        if let Some(remote) = self.remotes.get_mut(&shown)
            && remote.shown == shown
            && shared.now < remote.judged + JUDGED
        {
            remote.active = shared.now;
            return Ok(shown);
        }
        let to = SocketAddr::new(shared.reach.outside(shown.ip())?, shown.port());
        if self.remotes.len() >= REMOTES
            && !self.remotes.contains_key(&to)
            && let Some(oldest) = self.remotes.iter().min_by_key(|(_, remote)| remote.active).map(|(to, _)| *to)
        {
            self.remotes.remove(&oldest);
        }
        let remote = Remote {
            shown,
            active: shared.now,
            judged: shared.now,
        };
        self.remotes.insert(to, remote);
        Ok(to)
    }

    fn receive(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) =
            rustix::net::recvfrom(&self.socket, room, rustix::net::RecvFlags::DONTWAIT).map(|(_, len, from)| (len, from))?;
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        from.map(|from| (len, from)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Takes a datagram from outside to the member.
    fn deliver(&mut self, payload: &[u8], from: SocketAddr, shared: &mut Shared) {
        let from = match (self.key.kind, from) {
            (Kind::Ping, from) => SocketAddr::new(from.ip(), 0),
            // Without the scope and flow that the system tells.
            (Kind::Udp, from) => SocketAddr::new(from.ip(), from.port()),
        };
        let Some(remote) = self.remotes.get_mut(&from) else {
            return shared.counters.dropped(DropReason::Stranger);
        };
        remote.active = shared.now;
        let member = self.key.member;
        let Some(ip) = Ip::between(remote.shown.ip(), member.ip()) else {
            return;
        };
        self.answered = true;
        self.active = shared.now;
        let port = remote.shown.port();
        match (self.key.kind, payload.split_at_checked(ECHO_HEADER)) {
            (Kind::Udp, _) => shared.send_cut(&ip, &|ip| ip.udp(port, member.port(), payload)),
            (Kind::Ping, Some((&[_, _, _, _, _, _, high, low], data))) => {
                let sequence = u16::from_be_bytes([high, low]);
                shared.send_cut(&ip, &|ip| ip.echo_reply(member.port(), sequence, data));
            }
            (Kind::Ping, _) => return shared.counters.dropped(DropReason::Malformed),
        }
        Counters::add(&shared.counters.bytes_in, payload.len() as u64);
    }

    /// Tells the member what the network says about its datagrams.
    fn report(&mut self, shared: &mut Shared) {
        for report in error_queue::drain(&self.socket) {
            let Some(remote) = self.remotes.get(&SocketAddr::new(report.to.ip(), report.to.port())) else {
                continue;
            };
            let (member, shown) = (self.key.member, remote.shown);
            let (Some(there), Some(back)) = (Ip::between(member.ip(), shown.ip()), Ip::between(shown.ip(), member.ip())) else {
                continue;
            };
            let quoted = match self.key.kind {
                Kind::Udp => there.udp(member.port(), shown.port(), &report.payload),
                Kind::Ping => match report.payload.split_at_checked(ECHO_HEADER) {
                    Some((&[_, _, _, _, _, _, high, low], data)) => {
                        there.echo_request(member.port(), u16::from_be_bytes([high, low]), data)
                    }
                    _ => continue,
                },
            };
            shared.send(Buffer::from(back.icmp_error(report.kind, report.code, 0, &quoted)));
        }
    }
}

fn socket(kind: Kind, v6: bool) -> io::Result<Socket> {
    let (domain, any): (_, SocketAddr) = match v6 {
        false => (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into()),
        true => (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into()),
    };
    let protocol = match (kind, v6) {
        (Kind::Udp, _) => Protocol::UDP,
        (Kind::Ping, false) => Protocol::ICMPV4,
        (Kind::Ping, true) => Protocol::ICMPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol))?;
    if v6 {
        socket.set_only_v6(true)?;
    }
    error_queue::enable(&socket, v6)?;
    // So that answers are let in from the first datagram on, and none from before.
    socket.bind(&any.into())?;
    Ok(socket)
}

/// An error of sending itself, which no earlier datagram can have caused.
fn is_own(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EMSGSIZE | libc::ENOBUFS | libc::EINVAL | libc::EPERM)
    )
}

fn refusal(error: &io::Error) -> Refusal {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => Refusal::Named(DropReason::Descriptors),
        Some(Errno::MSGSIZE) => Refusal::Named(DropReason::TooLong),
        Some(errno @ (Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM)) => Refusal::Route(errno),
        _ => Refusal::Named(DropReason::System),
    }
}
