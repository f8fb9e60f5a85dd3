//! The kernel's own packet queues (nfnetlink_queue): a handler written for the engine's queues judges here too.
//!
//! Message and attribute numbers are those of linux/netfilter/nfnetlink_queue.h. Needs `CAP_NET_ADMIN`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use fielato_netfilter::queue::{QueueAnswer, QueueHandler, QueueVerdict};
use fielato_netfilter::{Hook, Interface, Packet};
use netlink_packet_core::{DefaultNla, Nla as _, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const SUBSYSTEM: u16 = 3;
const MSG_PACKET: u16 = SUBSYSTEM << 8;
const MSG_VERDICT: u16 = SUBSYSTEM << 8 | 1;
const MSG_CONFIG: u16 = SUBSYSTEM << 8 | 2;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMETERS: u16 = 2;
const CONFIG_MAX_LENGTH: u16 = 3;
const COMMAND_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const MARK: u16 = 3;
const IN_INTERFACE: u16 = 5;
const OUT_INTERFACE: u16 = 6;
const PAYLOAD: u16 = 10;

const MESSAGE_ERROR: u16 = 2;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// A packet of 65,535 bytes with its attributes.
const BUFFER: usize = 70_000;
/// The kernel answers while the request is being sent.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a queue of the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum NfqueueError {
    /// The queue can't be had: somebody else has it, or the right is missing.
    #[error("kernel queue {queue}: {source}")]
    Bind {
        /// Its number.
        queue: u16,
        /// Why: `EPERM` without CAP_NET_ADMIN or when another program has it.
        source: io::Error,
    },
    /// Reading or answering failed.
    #[error("kernel queue {queue}: {source}")]
    Socket {
        /// Its number.
        queue: u16,
        /// Why.
        source: io::Error,
    },
}

/// A queue of the kernel, bound to this process.
pub struct Nfqueue {
    queue: u16,
    socket: Socket,
    buffer: Vec<u8>,
    /// Interface names by index, as met.
    interfaces: HashMap<u32, Interface>,
}

/// A packet that waits in the kernel.
#[derive(Debug)]
struct Waiting {
    id: u32,
    hook: Hook,
    /// `None` when its bytes are no IP packet.
    packet: Option<Packet>,
}

impl Nfqueue {
    /// Binds a queue in the calling thread's network namespace, with room for `length` waiting packets, copied whole.
    ///
    /// # Errors
    /// [`NfqueueError::Bind`].
    pub fn bind(queue: u16, length: u32) -> Result<Nfqueue, NfqueueError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let explain = |source| NfqueueError::Bind { queue, source };
        let mut bound = Nfqueue {
            queue,
            socket: open().map_err(explain)?,
            buffer: Vec::with_capacity(BUFFER),
            interfaces: HashMap::new(),
        };
        // Before the copy mode is set the kernel has nothing to send: no packet comes between these answers.
        bound
            .configure(DefaultNla::new(CONFIG_COMMAND, vec![COMMAND_BIND, 0, 0, 0]))
            .map_err(explain)?;
        bound
            .configure(DefaultNla::new(CONFIG_MAX_LENGTH, length.to_be_bytes().to_vec()))
            .map_err(explain)?;
        let mut parameters = u32::from(u16::MAX).to_be_bytes().to_vec();
        parameters.push(COPY_PACKET);
        bound
            .configure(DefaultNla::new(CONFIG_PARAMETERS, parameters))
            .map_err(explain)?;
        Ok(bound)
    }

    /// Lets `handler` judge what comes within `patience`, then whatever waits; how many packets that were.
    ///
    /// # Errors
    /// [`NfqueueError::Socket`].
    pub fn handle(&mut self, handler: &mut dyn QueueHandler, patience: Duration) -> Result<usize, NfqueueError> {
        let mut judged = 0;
        let mut patience = patience;
        while self.wait(patience)? {
            patience = Duration::ZERO;
            for waiting in self.receive()? {
                let answer = match &waiting.packet {
                    Some(packet) => handler.handle(packet, waiting.hook),
                    None => QueueAnswer::plain(QueueVerdict::Drop),
                };
                self.answer(waiting.id, &answer)?;
                judged += 1;
            }
        }
        Ok(judged)
    }

    fn wait(&self, patience: Duration) -> Result<bool, NfqueueError> {
        let patience = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut polled, Some(&patience)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(self.failed(errno.into())),
        }
    }

    fn receive(&mut self) -> Result<Vec<Waiting>, NfqueueError> {
        self.buffer.clear();
        if let Err(error) = self.socket.recv(&mut self.buffer, 0) {
            // ENOBUFS: packets came faster than they were read, and the kernel dropped some.
            let harmless = error.kind() == io::ErrorKind::Interrupted || error.raw_os_error() == Some(libc::ENOBUFS);
            return if harmless { Ok(Vec::new()) } else { Err(self.failed(error)) };
        }
        let mut waiting = Vec::new();
        for (kind, body) in messages(&self.buffer) {
            if kind == MSG_PACKET
                && let Some(packet) = read_packet(body, &mut self.interfaces)
            {
                waiting.push(packet);
            }
        }
        Ok(waiting)
    }

    fn answer(&mut self, id: u32, answer: &QueueAnswer) -> Result<(), NfqueueError> {
        let QueueAnswer { verdict, mark, data } = answer;
        let verdict: u32 = match verdict {
            QueueVerdict::Drop => 0,
            QueueVerdict::Accept => 1,
            QueueVerdict::Queue(other) => u32::from(*other) << 16 | 3,
            QueueVerdict::Repeat => 4,
        };
        let header = [verdict.to_be_bytes(), id.to_be_bytes()].concat();
        let mut attributes = vec![DefaultNla::new(VERDICT_HEADER, header)];
        attributes.extend(mark.map(|mark| DefaultNla::new(MARK, mark.to_be_bytes().to_vec())));
        attributes.extend(data.as_ref().map(|data| DefaultNla::new(PAYLOAD, data.clone())));
        let message = message(MSG_VERDICT, FLAG_REQUEST, self.queue, &attributes);
        self.socket.send(&message, 0).map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Sends one setting and waits for the kernel's answer.
    fn configure(&mut self, attribute: DefaultNla) -> io::Result<()> {
        let message = message(MSG_CONFIG, FLAG_REQUEST | FLAG_ACK, self.queue, &[attribute]);
        self.socket.send(&message, 0)?;
        let timeout = Timespec {
            tv_sec: REPLY_TIMEOUT.as_secs() as i64,
            tv_nsec: 0,
        };
        if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        for (kind, body) in messages(&self.buffer) {
            if kind == MESSAGE_ERROR
                && let Some(&code) = body.first_chunk::<4>()
            {
                return match i32::from_ne_bytes(code) {
                    0 => Ok(()),
                    code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
                };
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn failed(&self, source: io::Error) -> NfqueueError {
        NfqueueError::Socket {
            queue: self.queue,
            source,
        }
    }
}

impl AsFd for Nfqueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One message, with `struct nlmsghdr` and `struct nfgenmsg`.
fn message(kind: u16, flags: u16, queue: u16, attributes: &[DefaultNla]) -> Vec<u8> {
    let body: Vec<u8> = attributes.iter().flat_map(emit).collect();
    let length = (HEADER + FAMILY_HEADER + body.len()) as u32;
    let mut bytes = Vec::with_capacity(length as usize);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0, 0]);
    bytes.extend(queue.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn emit(attribute: &DefaultNla) -> Vec<u8> {
    use netlink_packet_core::Emitable as _;
    let length = attribute.value_len() + 4;
    let mut bytes = vec![0; length.next_multiple_of(4)];
    attribute.emit(&mut bytes);
    bytes
}

/// The messages of a datagram: type, and what follows `struct nlmsghdr`.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes([*rest.get(4)?, *rest.get(5)?]);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn read_packet(body: &[u8], interfaces: &mut HashMap<u32, Interface>) -> Option<Waiting> {
    let (mut id, mut hook, mut mark) = (None, None, 0);
    let (mut in_interface, mut out_interface) = (Interface::NONE, Interface::NONE);
    let mut payload = Vec::new();
    let number = |value: &[u8]| value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    for attribute in NlasIterator::new(body.get(FAMILY_HEADER..)?).filter_map(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            PACKET_HEADER => {
                id = number(value);
                hook = value.get(6).and_then(|&hook| Hook::ALL.get(usize::from(hook)).copied());
            }
            MARK => mark = number(value)?,
            IN_INTERFACE => in_interface = interface(number(value)?, interfaces),
            OUT_INTERFACE => out_interface = interface(number(value)?, interfaces),
            PAYLOAD => payload = value.to_vec(),
            _ => {}
        }
    }
    let mut packet = Packet::local(payload).ok();
    if let Some(packet) = &mut packet {
        packet.mark = mark;
        packet.in_interface = in_interface;
        packet.out_interface = out_interface;
    }
    Some(Waiting {
        id: id?,
        hook: hook?,
        packet,
    })
}

fn interface(index: u32, known: &mut HashMap<u32, Interface>) -> Interface {
    *known.entry(index).or_insert_with(|| {
        let name = index_to_name(index).unwrap_or_default();
        Interface::new(index, &name).unwrap_or(Interface {
            index,
            ..Interface::NONE
        })
    })
}

fn index_to_name(index: u32) -> Option<String> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    netdevice::index_to_name(&socket, index).ok()
}
