//! TCP connections: one of smoltcp's towards the member, one of the system's towards the outside, and a buffer for each direction
//! between them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fielato_wire::build::Ip;
use fielato_wire::{Headers, TcpFlags};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket as Stream, SocketBuffer, State};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::Limits;
use super::counters::{Counters, DropReason};
use super::engine::{Flow, Shared, Token};
use super::reach::Refusal;
use super::recovery::{Recovery, Segment};
use super::timers::Scheduled;

/// RFC 5382 REQ-5: an established connection that is idle lives 2 hours and 4 minutes at least.
const IDLE: Duration = Duration::from_secs(7440);

/// RFC 5382 REQ-5: one that is open on one side only, 4 minutes at least.
const IDLE_HALF: Duration = Duration::from_secs(240);

/// How long the outside may take to answer. A member's own attempt lasts about two minutes (`tcp_syn_retries`).
const CONNECT: Duration = Duration::from_secs(60);

/// How long a member may leave data or SYN-ACK unanswered, as in `nf_conntrack_tcp_timeout_unacknowledged`.
const UNACKNOWLEDGED: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(300);

/// An idle outside connection is asked whether it is still there. RFC 9293 §3.8.4: not more often than every two hours.
const KEEPALIVE: Duration = Duration::from_secs(7200);

/// Buffer of one direction, least and most.
const BUFFER_MIN: usize = 32 << 10;
const BUFFER_MAX: usize = 1 << 20;

/// Of the memory that nobody is promised, a new connection takes this part.
const SHARE: usize = 32;

/// Bytes that a connection may move before others have their turn.
const TURN: usize = 256 << 10;

/// All connections.
pub(super) struct Tcp {
    limits: Limits,
    connections: HashMap<u64, Connection>,
    by_flow: HashMap<Flow, u64>,
    by_member: HashMap<IpAddr, usize>,
    /// Those that are over and wait for late segments (TIME-WAIT), oldest first.
    over: BTreeSet<u64>,
    /// Those that may have something to do.
    ready: VecDeque<u64>,
    /// Buffers beyond each connection's least, in bytes.
    spare: usize,
    /// Holds no connection: what it is given is refused.
    nobody: SocketSet<'static>,
    next: u64,
}

struct Connection {
    flow: Flow,
    outside: Socket,
    /// What events said last: the system tells when this changes, not while it is so.
    readable: bool,
    writable: bool,
    state: Progress,
    queued: bool,
    active: Instant,
    scheduled: Scheduled,
}

enum Progress {
    /// The member's SYN waits for the outside.
    Connecting {
        syn: Vec<u8>,
        since: Instant,
    },
    Open(Box<Open>),
}

struct Open {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// Bytes of the buffer of one direction.
    buffer: usize,
    /// The outside has sent all.
    outside_done: bool,
    /// The member has sent all, and the outside knows.
    member_done: bool,
    /// Writing to the outside failed.
    deaf: bool,
    /// The outside has reset the connection, and all that came before is read. When it is delivered, the member hears it.
    broken: bool,
    recovery: Recovery,
}

impl Tcp {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            spare: limits.tcp_memory.saturating_sub(limits.tcp * 2 * BUFFER_MIN),
            limits,
            connections: HashMap::new(),
            by_flow: HashMap::new(),
            by_member: HashMap::new(),
            over: BTreeSet::new(),
            ready: VecDeque::new(),
            nobody: SocketSet::new(Vec::new()),
            next: 0,
        }
    }

    /// A segment from a member, whose checksums are right.
    pub(super) fn handle_packet(&mut self, flow: Flow, headers: &Headers, packet: Vec<u8>, shared: &mut Shared) {
        let flags = headers.tcp_flags;
        let opens = flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN);
        let Some(&id) = self.by_flow.get(&flow) else {
            match opens {
                true => self.open(flow, packet, shared),
                // A connection that nobody knows any more.
                false => shared.stack.input(&mut self.nobody, packet, shared.now),
            }
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match &mut connection.state {
            // Anything else is the same SYN again.
            Progress::Connecting { .. } if flags.has(TcpFlags::RST) => self.remove(id, shared),
            Progress::Connecting { .. } => {}
            Progress::Open(open) if opens && open.state() == State::TimeWait => {
                self.remove(id, shared);
                self.open(flow, packet, shared);
            }
            Progress::Open(open) => {
                let segment = Segment::read(headers, &packet);
                shared.stack.input(&mut open.sockets, packet, shared.now);
                if let Some(repeated) = segment.and_then(|segment| open.recovery.received(segment, shared.now)) {
                    open.repeat(&flow, &repeated, shared);
                }
                connection.active = shared.now;
                self.enqueue(id);
            }
        }
    }

    fn open(&mut self, flow: Flow, syn: Vec<u8>, shared: &mut Shared) {
        let to = match shared.reach.outside(flow.remote.ip()) {
            Ok(ip) => SocketAddr::new(ip, flow.remote.port()),
            Err(Refusal::Named(reason)) => return shared.counters.dropped(reason),
            Err(Refusal::Route(errno)) => {
                shared.counters.dropped(DropReason::Unreachable);
                return shared.unreachable(&flow, errno, &syn);
            }
        };
        let member = flow.member.ip();
        if self.connections.len() >= self.limits.tcp && !self.make_room(|_| true, shared) {
            return shared.counters.dropped(DropReason::TcpLimit);
        }
        let count = self.by_member.get(&member).copied().unwrap_or_default();
        if count >= self.limits.tcp_member && !self.make_room(|flow| flow.member.ip() == member, shared) {
            return shared.counters.dropped(DropReason::TcpMemberLimit);
        }
        let outside = match connect(to) {
            Ok(outside) => outside,
            Err(error) => return self.failed(&flow, &error, syn, shared),
        };
        let id = self.next;
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = shared.events.add(outside.as_fd(), Token::Tcp(id), events) {
            return self.failed(&flow, &error, syn, shared);
        }
        self.next += 1;
        let mut connection = Connection {
            flow,
            outside,
            readable: false,
            writable: false,
            state: Progress::Connecting { syn, since: shared.now },
            queued: false,
            active: shared.now,
            scheduled: Scheduled::default(),
        };
        shared
            .timers
            .schedule(Token::Tcp(id), &mut connection.scheduled, shared.now + CONNECT);
        self.connections.insert(id, connection);
        self.by_flow.insert(flow, id);
        *self.by_member.entry(member).or_default() += 1;
        shared
            .counters
            .tcp_open
            .store(self.connections.len() as u64, Ordering::Relaxed);
    }

    /// Forgets the oldest connection that is over and only waits for late segments, among those that fit.
    fn make_room(&mut self, fits: impl Fn(&Flow) -> bool, shared: &mut Shared) -> bool {
        let fits = |id: &u64| self.connections.get(id).is_some_and(|connection| fits(&connection.flow));
        let Some(oldest) = self.over.iter().copied().find(|id| fits(id)) else {
            return false;
        };
        self.remove(oldest, shared);
        true
    }

    /// The outside connection did not come about: the member hears what a router or the other end would have said.
    fn failed(&mut self, flow: &Flow, error: &io::Error, syn: Vec<u8>, shared: &mut Shared) {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED | Errno::CONNRESET) => {
                Counters::add(&shared.counters.tcp_refused, 1);
                shared.stack.input(&mut self.nobody, syn, shared.now);
            }
            Some(Errno::TIMEDOUT) => shared.counters.dropped(DropReason::ConnectTimeout),
            Some(Errno::MFILE | Errno::NFILE) => shared.counters.dropped(DropReason::Descriptors),
            Some(errno @ (Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM)) => {
                shared.counters.dropped(DropReason::Unreachable);
                shared.unreachable(flow, errno, &syn);
            }
            _ => shared.counters.dropped(DropReason::System),
        }
    }

    /// The outside connection of `id` can be read or written, or is broken.
    pub(super) fn handle_event(&mut self, id: u64, events: EventFlags, shared: &mut Shared) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let broken = events.intersects(EventFlags::ERR | EventFlags::HUP);
        connection.readable |= broken || events.intersects(EventFlags::IN | EventFlags::RDHUP);
        connection.writable |= broken || events.contains(EventFlags::OUT);
        match &mut connection.state {
            Progress::Open(_) => self.enqueue(id),
            Progress::Connecting { syn, .. } => {
                if !connection.writable {
                    return;
                }
                let syn = std::mem::take(syn);
                // A failed attempt can be told by its error alone: HUP comes with an answer that ends at once, too.
                match connection.outside.take_error() {
                    Ok(None) => self.answer(id, syn, shared),
                    Ok(Some(error)) | Err(error) => {
                        let flow = connection.flow;
                        self.remove(id, shared);
                        self.failed(&flow, &error, syn, shared);
                    }
                }
            }
        }
    }

    /// The outside connection stands: the member's SYN is answered.
    fn answer(&mut self, id: u64, syn: Vec<u8>, shared: &mut Shared) {
        let extra = (self.spare / SHARE / 2).min(BUFFER_MAX - BUFFER_MIN);
        let buffer = BUFFER_MIN + extra;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut stream = Stream::new(SocketBuffer::new(vec![0; buffer]), SocketBuffer::new(vec![0; buffer]));
        stream.set_congestion_control(CongestionControl::Cubic);
        // Who sent small segments here had a reason to.
        stream.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        if stream.listen(connection.flow.remote).is_err() {
            return self.remove(id, shared);
        }
        let handle = sockets.add(stream);
        let mut open = Box::new(Open {
            sockets,
            handle,
            buffer,
            outside_done: false,
            member_done: false,
            deaf: false,
            broken: false,
            recovery: Recovery::default(),
        });
        shared.stack.input(&mut open.sockets, syn, shared.now);
        self.spare -= 2 * extra;
        connection.active = shared.now;
        connection.state = Progress::Open(open);
        Counters::add(&shared.counters.tcp_memory, 2 * buffer as u64);
        Counters::add(&shared.counters.tcp_opened, 1);
        self.enqueue(id);
    }

    fn enqueue(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Gives every connection that may have something to do one turn.
    pub(super) fn run(&mut self, shared: &mut Shared) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.queued = false;
            match connection.turn(shared) {
                Turn::Over => self.remove(id, shared),
                Turn::More => self.enqueue(id),
                Turn::TimeWait(at) => {
                    self.over.insert(id);
                    shared.timers.schedule(Token::Tcp(id), &mut connection.scheduled, at);
                }
                Turn::Waits(at) => shared.timers.schedule(Token::Tcp(id), &mut connection.scheduled, at),
            }
            shared.flush_if_full();
        }
    }

    /// Whether a connection is not done with what it could do now.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A deadline of `id` came up.
    pub(super) fn handle_timeout(&mut self, id: u64, at: Instant, shared: &mut Shared) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.scheduled.came_up(at) {
            return;
        }
        match &mut connection.state {
            Progress::Connecting { since, .. } if shared.now >= *since + CONNECT => {
                shared.counters.dropped(DropReason::ConnectTimeout);
                self.remove(id, shared);
            }
            Progress::Connecting { since, .. } => {
                shared
                    .timers
                    .schedule(Token::Tcp(id), &mut connection.scheduled, *since + CONNECT);
            }
            Progress::Open(open) => {
                if shared.now >= connection.active + open.patience() {
                    open.stream().abort();
                }
                self.enqueue(id);
            }
        }
    }

    fn remove(&mut self, id: u64, shared: &mut Shared) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.by_flow.remove(&connection.flow);
        self.over.remove(&id);
        let member = connection.flow.member.ip();
        if let Some(count) = self.by_member.get_mut(&member) {
            *count -= 1;
            if *count == 0 {
                self.by_member.remove(&member);
            }
        }
        if let Progress::Open(open) = &connection.state {
            self.spare += 2 * (open.buffer - BUFFER_MIN);
            shared
                .counters
                .tcp_memory
                .fetch_sub(2 * open.buffer as u64, Ordering::Relaxed);
            if !(open.outside_done && open.member_done) {
                // Ends with RST, as the member's side did: a FIN would say that the data was whole.
                let _ = connection.outside.set_linger(Some(Duration::ZERO));
            }
        }
        shared
            .counters
            .tcp_open
            .store(self.connections.len() as u64, Ordering::Relaxed);
    }
}

/// What a connection wants after its turn.
enum Turn {
    Over,
    More,
    /// As the next one, and nothing comes any more but late segments.
    TimeWait(Instant),
    Waits(Instant),
}

impl Connection {
    /// Moves what can be moved, both ways.
    fn turn(&mut self, shared: &mut Shared) -> Turn {
        let Progress::Open(open) = &mut self.state else {
            return Turn::Waits(shared.now + CONNECT);
        };
        let moved_out = open.feed_outside(&self.outside, &mut self.writable, &mut self.readable);
        let moved_in = open.feed_member(&self.outside, &mut self.readable);
        let stream = open.sockets.get_mut::<Stream>(open.handle);
        if open.broken && stream.send_queue() == 0 {
            stream.abort();
        }
        // smoltcp's timeout is for idle connections, too, which have their own.
        let owes = matches!(stream.state(), State::SynReceived) || stream.send_queue() > 0;
        stream.set_timeout(owes.then_some(UNACKNOWLEDGED));
        Counters::add(&shared.counters.bytes_out, moved_out as u64);
        Counters::add(&shared.counters.bytes_in, moved_in as u64);
        if moved_out + moved_in > 0 {
            self.active = shared.now;
        }
        if let Some(silent) = open.recovery.probe(shared.now) {
            open.repeat(&self.flow, &silent, shared);
        }
        if let Some(end) = shared.stack.output(&mut open.sockets, shared.now) {
            open.recovery.sent(end, shared.now);
        }
        let stream = open.sockets.get_mut::<Stream>(open.handle);
        // What was listened for and did not become a connection is none either.
        if matches!(stream.state(), State::Closed | State::Listen) {
            return Turn::Over;
        }
        if moved_out >= TURN || moved_in >= TURN {
            return Turn::More;
        }
        let idle = self.active + open.patience();
        let wanted = shared.stack.wants(&open.sockets, shared.now);
        let at = [wanted, open.recovery.probe_at()]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min);
        match open.state() {
            State::TimeWait => Turn::TimeWait(at),
            _ => Turn::Waits(at),
        }
    }
}

impl Open {
    fn stream(&mut self) -> &mut Stream<'static> {
        self.sockets.get_mut::<Stream>(self.handle)
    }

    /// Lets smoltcp hear an acknowledgement as often as makes it send the next segment again.
    fn repeat(&mut self, flow: &Flow, segment: &Segment, shared: &mut Shared) {
        let Some(ip) = Ip::between(flow.member.ip(), flow.remote.ip()) else {
            return;
        };
        for tcp in segment.repeated(flow.member.port(), flow.remote.port()) {
            shared.stack.input(&mut self.sockets, ip.tcp(&tcp), shared.now);
        }
    }

    /// Gives the outside what the member sent: how many bytes.
    fn feed_outside(&mut self, outside: &Socket, writable: &mut bool, readable: &mut bool) -> usize {
        let stream = self.sockets.get_mut::<Stream>(self.handle);
        let mut moved = 0;
        while *writable && !self.deaf && !self.broken && stream.can_recv() && moved < TURN {
            let taken = stream.recv(|data| match outside.send_with_flags(data, libc::MSG_NOSIGNAL) {
                Ok(len) => (len, Ok(len)),
                Err(error) => (0, Err(error)),
            });
            match taken {
                Ok(Ok(len)) => moved += len,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => *writable = false,
                // Reset by the outside. What it sent before that can be read still.
                Ok(Err(_)) => (*writable, *readable, self.deaf) = (false, true, true),
                Err(_) => break,
            }
        }
        let finished = matches!(
            stream.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if finished && !self.member_done && !stream.can_recv() {
            self.member_done = true;
            // It fails when the outside has reset the connection, which reading tells.
            let _ = outside.shutdown(Shutdown::Write);
        }
        moved
    }

    /// Gives the member what the outside sent: how many bytes.
    fn feed_member(&mut self, outside: &Socket, readable: &mut bool) -> usize {
        let stream = self.sockets.get_mut::<Stream>(self.handle);
        let mut moved = 0;
        while *readable && !self.outside_done && !self.broken && stream.can_send() && moved < TURN {
            let mut outside = outside;
            let given = stream.send(|room| match outside.read(room) {
                Ok(len) => (len, Ok(len)),
                Err(error) => (0, Err(error)),
            });
            match given {
                // The error itself was told when writing.
                Ok(Ok(0)) if self.deaf => self.broken = true,
                Ok(Ok(0)) => {
                    self.outside_done = true;
                    stream.close();
                }
                Ok(Ok(len)) => moved += len,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => *readable = false,
                Ok(Err(_)) => self.broken = true,
                Err(_) => break,
            }
        }
        moved
    }

    fn state(&self) -> State {
        self.sockets.get::<Stream>(self.handle).state()
    }

    /// How long nothing may happen.
    fn patience(&self) -> Duration {
        if self.outside_done || self.member_done || self.broken {
            IDLE_HALF
        } else {
            IDLE
        }
    }
}

/// A connection under way.
fn connect(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}
