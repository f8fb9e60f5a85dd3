//! Queue handlers in other processes, over a Unix socket (the messages are in `fielato_netfilter::queue::protocol`).
//!
//! [`QueueServer`] stands beside an engine; [`QueueClient`] is what a handler's process uses. The socket is mode 0600: whoever may
//! open it decides about packets.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::queue::protocol::{BadMessage, MAX_MESSAGE, QueuedPacket, Reply, Request};
use fielato_netfilter::queue::{DEFAULT_LENGTH, QueueAnswer};
use fielato_netfilter::{Host, Netfilter, Now};
use rustix::fs::{Mode, chmodat};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, send,
    socket_with,
};

use std::os::fd::OwnedFd;

/// Messages read from one handler before the others have their turn.
const BATCH: usize = 256;

/// Why a queue socket failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The socket could not be made or used.
    #[error("queue socket {path}: {source}")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The other end sent what can't be read.
    #[error("queue socket: {0}")]
    Message(#[from] BadMessage),
    /// The engine refused the queue.
    #[error("queue {queue}: {message}")]
    Refused {
        /// Its number.
        queue: u16,
        /// Why.
        message: String,
    },
}

/// The engine's end.
#[derive(Debug)]
pub struct QueueServer {
    path: PathBuf,
    listener: OwnedFd,
    handlers: Vec<Handler>,
}

#[derive(Debug)]
struct Handler {
    socket: OwnedFd,
    /// The queues it handles, with how many bytes of each packet it wants (0: all).
    queues: HashMap<u16, u32>,
    gone: bool,
}

impl QueueServer {
    /// Listens at `path`, which must not exist.
    ///
    /// # Errors
    /// [`QueueError::Socket`].
    pub fn listen(path: &Path) -> Result<QueueServer, QueueError> {
        let open = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            bind(&listener, &SocketAddrUnix::new(path)?)?;
            chmodat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR, rustix::fs::AtFlags::empty())?;
            listen(&listener, 16)?;
            Ok(listener)
        };
        Ok(QueueServer {
            path: path.to_owned(),
            listener: open().map_err(|source| QueueError::Socket {
                path: path.to_owned(),
                source,
            })?,
            handlers: Vec::new(),
        })
    }

    /// What to poll for input, beside the embedder's own descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let handlers = self.handlers.iter().map(|handler| handler.socket.as_fd());
        std::iter::once(self.listener.as_fd()).chain(handlers)
    }

    /// Takes new handlers, verdicts and farewells, and sends out what waits; never blocks. `done` is told each packet's fate.
    pub fn serve(&mut self, engine: &mut Netfilter, host: &mut dyn Host, now: Now, mut done: impl FnMut(Fate)) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.handlers.push(Handler {
                socket,
                queues: HashMap::new(),
                gone: false,
            });
        }
        let mut buffer = vec![0; MAX_MESSAGE];
        for handler in &mut self.handlers {
            handler.read(&mut buffer, engine, host, now, &mut done);
            handler.write(engine);
        }
        self.handlers.retain(|handler| {
            if handler.gone {
                for &number in handler.queues.keys() {
                    // Fails only without the right, which we have.
                    let _ = engine.execute(Caller::Admin, Command::UnbindQueue(number), now);
                }
            }
            !handler.gone
        });
    }
}

impl Drop for QueueServer {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Handler {
    fn read(&mut self, buffer: &mut [u8], engine: &mut Netfilter, host: &mut dyn Host, now: Now, done: &mut impl FnMut(Fate)) {
        for _ in 0..BATCH {
            let length = match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.gone = true;
                    return;
                }
                Ok((length, _)) => length,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            };
            match Request::parse(&buffer[..length]) {
                Ok(Request::Bind { queue, length, copy }) => self.bind(queue, length, copy, engine, now),
                Ok(Request::Verdict { queue, id, answer }) if self.queues.contains_key(&queue) => {
                    // An unknown number is a verdict that came twice, or after the queue was closed.
                    if let Some(fate) = engine.reinject(queue, id, answer, host, now) {
                        done(fate);
                    }
                }
                Ok(Request::Verdict { queue, .. }) => self.say(&Reply::Error {
                    queue,
                    message: format!("queue {queue} is not yours: bind it first"),
                }),
                Err(bad) => {
                    let message = bad.to_string();
                    self.say(&Reply::Error { queue: 0, message });
                }
            }
        }
    }

    fn bind(&mut self, queue: u16, length: u32, copy: u32, engine: &mut Netfilter, now: Now) {
        let length = match length {
            0 => DEFAULT_LENGTH,
            length => length as usize,
        };
        match engine.execute(Caller::Admin, Command::BindQueue { number: queue, length }, now) {
            Ok(_) => {
                self.queues.insert(queue, copy);
                self.say(&Reply::Bound { queue });
            }
            Err(refused) => self.say(&Reply::Error {
                queue,
                message: refused.to_string(),
            }),
        }
    }

    /// Sends what waits, as far as the socket takes it: what it doesn't take now stays in the queue.
    fn write(&mut self, engine: &mut Netfilter) {
        for (&number, &copy) in &self.queues {
            loop {
                if !writable(&self.socket) {
                    return;
                }
                let Some(queued) = engine.next_queued(number) else {
                    break;
                };
                let message = Reply::Packet(QueuedPacket::of(number, queued, copy)).emit();
                if send(&self.socket, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
                    // The packet is given out and will not be answered: end this handler, which drops it.
                    self.gone = true;
                    return;
                }
            }
        }
    }

    fn say(&mut self, reply: &Reply) {
        if send(&self.socket, &reply.emit(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
            self.gone = true;
        }
    }
}

fn writable(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    let zero = rustix::event::Timespec::default();
    poll(&mut polled, Some(&zero)).is_ok_and(|ready| ready == 1) && polled[0].revents().contains(PollFlags::OUT)
}

/// A handler's end.
#[derive(Debug)]
pub struct QueueClient {
    path: PathBuf,
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl QueueClient {
    /// Connects to the engine that listens at `path`.
    ///
    /// # Errors
    /// [`QueueError::Socket`].
    pub fn connect(path: &Path) -> Result<QueueClient, QueueError> {
        let open = || -> io::Result<OwnedFd> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            connect(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(socket)
        };
        Ok(QueueClient {
            path: path.to_owned(),
            socket: open().map_err(|source| QueueError::Socket {
                path: path.to_owned(),
                source,
            })?,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// Asks for the packets of a queue.
    ///
    /// # Errors
    /// [`QueueError::Refused`] when somebody else handles it.
    pub fn bind(&mut self, queue: u16, length: u32, copy: u32) -> Result<(), QueueError> {
        self.send(&Request::Bind { queue, length, copy })?;
        loop {
            match self.receive()? {
                Some(Reply::Bound { queue: bound }) if bound == queue => return Ok(()),
                Some(Reply::Error { queue: refused, message }) if refused == queue => {
                    return Err(QueueError::Refused { queue, message });
                }
                Some(_) => {}
                None => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// The next packet that waits; `None` when the engine is gone.
    ///
    /// # Errors
    /// [`QueueError::Refused`] carries what the engine has against an earlier message.
    pub fn next_packet(&mut self) -> Result<Option<QueuedPacket>, QueueError> {
        loop {
            match self.receive()? {
                Some(Reply::Packet(packet)) => return Ok(Some(packet)),
                Some(Reply::Error { queue, message }) => return Err(QueueError::Refused { queue, message }),
                Some(Reply::Bound { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// Decides about a packet.
    ///
    /// # Errors
    /// [`QueueError::Socket`].
    pub fn verdict(&mut self, packet: &QueuedPacket, answer: QueueAnswer) -> Result<(), QueueError> {
        self.send(&Request::Verdict {
            queue: packet.queue,
            id: packet.id,
            answer,
        })
    }

    /// Lets `judge` decide about packets until the engine is gone.
    ///
    /// # Errors
    /// As [`QueueClient::next_packet`].
    pub fn run(&mut self, mut judge: impl FnMut(&QueuedPacket) -> QueueAnswer) -> Result<(), QueueError> {
        while let Some(packet) = self.next_packet()? {
            let answer = judge(&packet);
            self.verdict(&packet, answer)?;
        }
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<(), QueueError> {
        send(&self.socket, &request.emit(), SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| self.failed(errno.into()))
    }

    fn receive(&mut self) -> Result<Option<Reply>, QueueError> {
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((0, _)) | Err(rustix::io::Errno::CONNRESET) => Ok(None),
            Ok((length, _)) => Ok(Some(Reply::parse(&self.buffer[..length])?)),
            Err(errno) => Err(self.failed(errno.into())),
        }
    }

    fn failed(&self, source: io::Error) -> QueueError {
        QueueError::Socket {
            path: self.path.clone(),
            source,
        }
    }
}

impl AsFd for QueueClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
