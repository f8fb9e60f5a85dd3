//! The thread that has the sockets.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fielato_fleet::hub::{ConnectionId, Output};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use socket2::Socket;

use super::{EnrolRequest, Shared, State, drain, now, signal};

/// What the eventfd's events carry.
const WAKE: u64 = 0;
/// The first number of a connection; smaller ones are the listeners'.
const FIRST: u64 = 64;
/// Connections accepted in one go, so that a flood of them does not keep the others waiting.
const ACCEPTED_AT_ONCE: usize = 256;
/// Bytes read from one connection in one go.
const READ_AT_ONCE: usize = 64 * 1024;
/// How long a connection that is being closed is kept, so that the other end can read why. A socket with unread bytes would be reset.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much of what it still says is thrown away; who says more is not reading.
const FAREWELL_BYTES: usize = 256 * 1024;
/// Connections that are being closed, at most.
const FAREWELLS: usize = 256;

pub(super) struct Server {
    shared: Arc<Shared>,
    poll: OwnedFd,
    listeners: Vec<Socket>,
    streams: HashMap<ConnectionId, Stream>,
    closing: BTreeMap<u64, Closing>,
    next: u64,
    buffer: Vec<u8>,
}

/// A connection that was ended here, until the other end has read why.
struct Closing {
    socket: TcpStream,
    since: Instant,
    /// Bytes that are still read and thrown away.
    patience: usize,
}

struct Stream {
    socket: TcpStream,
    /// Whether the kernel is asked to tell when there is room to write.
    waits_to_write: bool,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>, listeners: Vec<Socket>) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &shared.wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        for (number, listener) in (1..FIRST).zip(&listeners) {
            epoll::add(&poll, listener, EventData::new_u64(number), EventFlags::IN)?;
        }
        Ok(Self {
            shared,
            poll,
            listeners,
            streams: HashMap::new(),
            closing: BTreeMap::new(),
            next: FIRST,
            buffer: vec![0; READ_AT_ONCE],
        })
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut ready = [MaybeUninit::<epoll::Event>::uninit(); 512];
        loop {
            let wait = {
                let mut state = shared.state();
                self.carry_out(&mut state)?;
                if state.stop {
                    return Ok(());
                }
                state.hub.next_time(now())
            };
            let wait = wait.or((!self.closing.is_empty()).then(|| Instant::now() + FAREWELL));
            let timeout = wait
                .map(|at| Timespec::try_from(at.saturating_duration_since(Instant::now())))
                .transpose()?;
            let events = match epoll::wait(&self.poll, &mut ready, timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("cannot wait for the agents"),
            };
            let mut state = shared.state();
            for event in events {
                match event.data.u64() {
                    WAKE => drain(&shared.wake),
                    number if number < FIRST => self.accept(number, &mut state),
                    number => self.serve(number, event.flags, &mut state),
                }
            }
            state.hub.handle_time(now());
            self.closing.retain(|_, closing| closing.since.elapsed() < FAREWELL);
        }
    }

    fn accept(&mut self, number: u64, state: &mut State) {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let Some(listener) = self.listeners.get(index) else { return };
        for _ in 0..ACCEPTED_AT_ONCE {
            // Out of sockets, or nobody is there any more: the listener stays readable, and others may close meanwhile.
            let Ok((socket, from)) = listener.accept() else { return };
            let Some(from) = from.as_socket() else { continue };
            let id = ConnectionId(self.next);
            self.next += 1;
            let ready = socket
                .set_nonblocking(true)
                .and_then(|()| socket.set_tcp_nodelay(true))
                .and_then(|()| epoll::add(&self.poll, &socket, EventData::new_u64(id.0), EventFlags::IN).map_err(Into::into));
            if ready.is_err() {
                continue;
            }
            let stream = Stream {
                socket: socket.into(),
                waits_to_write: false,
            };
            self.streams.insert(id, stream);
            state.hub.handle_open(id, from.ip(), now());
        }
    }

    fn serve(&mut self, number: u64, flags: EventFlags, state: &mut State) {
        let id = ConnectionId(number);
        if flags.contains(EventFlags::OUT) {
            self.write(id, state);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        if let Some(closing) = self.closing.get_mut(&number) {
            let left = match closing.socket.read(&mut self.buffer) {
                Ok(len @ 1..) => closing.patience.checked_sub(len),
                _ => None,
            };
            match left {
                Some(left) => closing.patience = left,
                None => drop(self.closing.remove(&number)),
            }
            return;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match stream.socket.read(&mut self.buffer) {
            Ok(len @ 1..) => {
                let bytes = self.buffer.get(..len).unwrap_or_default();
                state.hub.handle_bytes(id, bytes, now());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(0) | Err(_) => {
                self.streams.remove(&id);
                state.hub.handle_closed(id, now());
            }
        }
    }

    /// Does what the hub orders.
    fn carry_out(&mut self, state: &mut State) -> Result<()> {
        let mut news = false;
        while let Some(output) = state.hub.poll_output() {
            match output {
                Output::Write(id) => self.write(id, state),
                Output::Close(id, last) => self.close(id, &last),
                Output::Enrol {
                    connection,
                    host,
                    public_key,
                } => {
                    news = true;
                    state.requests.push(EnrolRequest {
                        connection,
                        host,
                        public_key,
                    });
                }
                // The hub looks at the time itself: also for tokens that were made before it was started again.
                Output::EnrolmentOver(_) => news = true,
            }
        }
        if news || state.hub.has_events() {
            signal(&self.shared.news);
        }
        Ok(())
    }

    fn write(&mut self, id: ConnectionId, state: &mut State) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        loop {
            let bytes = state.hub.outgoing(id);
            if bytes.is_empty() {
                break;
            }
            match stream.socket.write(bytes) {
                Ok(len @ 1..) => state.hub.handle_sent(id, len, now()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => {
                    self.streams.remove(&id);
                    return state.hub.handle_closed(id, now());
                }
            }
        }
        let waits = !state.hub.outgoing(id).is_empty();
        if waits != stream.waits_to_write {
            let flags = if waits {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            // It is in the set, so the kernel has nothing to refuse.
            epoll::modify(&self.poll, &stream.socket, EventData::new_u64(id.0), flags).ok();
            stream.waits_to_write = waits;
        }
    }

    fn close(&mut self, id: ConnectionId, last: &[u8]) {
        let Some(Stream { mut socket, .. }) = self.streams.remove(&id) else {
            return;
        };
        if last.is_empty() || self.closing.len() >= FAREWELLS {
            return;
        }
        // What does not fit the socket's buffer is not worth waiting for.
        let said = socket.write(last).and_then(|_| socket.shutdown(Shutdown::Write));
        let kept = epoll::modify(&self.poll, &socket, EventData::new_u64(id.0), EventFlags::IN);
        if said.is_ok() && kept.is_ok() {
            let closing = Closing {
                socket,
                since: Instant::now(),
                patience: FAREWELL_BYTES,
            };
            self.closing.insert(id.0, closing);
        }
    }
}
