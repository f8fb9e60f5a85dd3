//! The agent's connection to the hub, which never keeps it waiting.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

/// How long to wait for the hub to take a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, or one that is being made.
pub(super) struct Link {
    socket: TcpStream,
    connecting_until: Option<Instant>,
    outgoing: Vec<u8>,
}

/// What has come.
pub(super) enum Happened {
    Nothing,
    Connected,
    Bytes(Vec<u8>),
    Closed(String),
}

impl Link {
    /// Begins to connect, by this interface and no other: without its tunnel the hub's address would lead anywhere.
    pub(super) fn open(to: SocketAddr, interface: &str, now: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
            _ => Ok(Self {
                socket: socket.into(),
                connecting_until: Some(now + PATIENCE),
                outgoing: Vec::new(),
            }),
        }
    }

    pub(super) fn waits_for(&self) -> PollFlags {
        match self.connecting_until.is_some() || !self.outgoing.is_empty() {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.connecting_until
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Does what can be done now.
    pub(super) fn handle(&mut self, ready: PollFlags, now: Instant) -> Happened {
        match self.go_on(ready, now) {
            Ok(happened) => happened,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Happened::Nothing,
            Err(error) => Happened::Closed(error.to_string()),
        }
    }

    fn go_on(&mut self, ready: PollFlags, now: Instant) -> io::Result<Happened> {
        if let Some(until) = self.connecting_until {
            if ready.intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP) {
                if let Some(error) = self.socket.take_error()? {
                    return Err(error);
                }
                self.connecting_until = None;
                return Ok(Happened::Connected);
            }
            return Ok(match now >= until {
                true => Happened::Closed("nobody answers".to_owned()),
                false => Happened::Nothing,
            });
        }
        self.flush()?;
        if ready.intersects(PollFlags::IN | PollFlags::ERR | PollFlags::HUP) {
            let mut bytes = vec![0; 64 * 1024];
            let len = self.socket.read(&mut bytes)?;
            bytes.truncate(len);
            return Ok(match len {
                0 => Happened::Closed("it closed the connection".to_owned()),
                _ => Happened::Bytes(bytes),
            });
        }
        Ok(Happened::Nothing)
    }

    /// Writes what the kernel takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() && self.connecting_until.is_none() {
            match self.socket.write(&self.outgoing) {
                Ok(len) => drop(self.outgoing.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
