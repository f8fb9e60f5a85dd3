//! A port of the gateway on an Ethernet interface of its own: frames as they come, past the kernel's own stack (packet(7)).
//!
//! The interface has no address of the kernel's, so that the kernel answers nobody there; the gateway has the addresses and finds
//! neighbours itself. Frames come and go many at a time, and superpackets whole, as behind a TUN interface (`PACKET_VNET_HDR`).

mod link;
mod receive;
mod send;
mod socket;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fielato_gateway::Buffer;

use link::Links;
use receive::Receiver;
use send::Sender;

/// An Ethernet interface that belongs to the gateway. One thread can receive while others send.
pub struct PacketPort {
    socket: OwnedFd,
    links: Mutex<Links>,
    name: String,
    index: u32,
    mac: [u8; 6],
    receiver: Mutex<Receiver>,
    sender: Sender,
    lost: Lost,
}

/// [`Losses`], counted by any thread.
#[derive(Default)]
struct Lost {
    kernel: AtomicU64,
    tagged: AtomicU64,
    truncated: AtomicU64,
    refused: AtomicU64,
}

/// Frames that got lost here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// The kernel had no room: they came faster than they were taken.
    pub kernel: u64,
    /// They had a VLAN tag: they are for another interface.
    pub tagged: u64,
    /// They were longer than any superpacket.
    pub truncated: u64,
    /// The interface or the kernel refused to send them: too long, or not what their offload says.
    pub refused: u64,
}

/// Why an interface can't be a port.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none of that name.
    #[error("packet port `{0}`: there is no such interface; `ip link` lists those there are")]
    Missing(String),
    /// It is no Ethernet interface.
    #[error("packet port `{0}` is no Ethernet interface; give one that is, as of a network card, a veth pair or a macvlan")]
    NotEthernet(String),
    /// It is down.
    #[error("packet port `{0}` is down; bring it up: ip link set dev {0} up")]
    Down(String),
    /// The kernel has addresses on it, and would answer there, too.
    #[error(
        "packet port `{name}` has addresses of the kernel's ({}), which would answer beside the gateway: give the gateway an interface \
         of its own, or take them away: ip address flush dev {name}; sysctl -w net.ipv6.conf.{name}.disable_ipv6=1",
        .addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
    )]
    HasAddresses {
        /// The interface.
        name: String,
        /// What it has.
        addresses: Vec<IpAddr>,
    },
    /// The process may not.
    #[error("packet port `{0}`: raw packets need CAP_NET_RAW; run as root, give the capability, or take exit = \"proxy\"")]
    Permission(String),
    /// Something else.
    #[error("packet port `{name}`: {what}: {error}")]
    System {
        /// The interface.
        name: String,
        /// What was asked for.
        what: &'static str,
        /// The answer.
        error: io::Error,
    },
}

impl PacketPort {
    /// Takes the interface of that name in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(name: &str) -> Result<Self, OpenError> {
        let system = |what| {
            move |error: io::Error| OpenError::System {
                name: name.to_owned(),
                what,
                error,
            }
        };
        let mut links = Links::open().map_err(system("routing socket"))?;
        let found = links.named(name).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => OpenError::Missing(name.to_owned()),
            _ => system("its link")(error),
        })?;
        let Some(mac) = found.mac.filter(|_| found.is_ethernet) else {
            return Err(OpenError::NotEthernet(name.to_owned()));
        };
        if !found.is_up {
            return Err(OpenError::Down(name.to_owned()));
        }
        let addresses = links.addresses(found.index).map_err(system("its addresses"))?;
        if !addresses.is_empty() {
            return Err(OpenError::HasAddresses {
                name: name.to_owned(),
                addresses,
            });
        }
        let socket = socket::open(found.index).map_err(|(what, error)| match error.kind() {
            io::ErrorKind::PermissionDenied => OpenError::Permission(name.to_owned()),
            _ => system(what)(error),
        })?;
        Ok(Self {
            socket,
            links: Mutex::new(links),
            name: name.to_owned(),
            index: found.index,
            mac,
            receiver: Mutex::new(Receiver::new()),
            sender: Sender::new(found.index),
            lost: Lost::default(),
        })
    }

    /// The interface's name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's address, which the gateway has on this port.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Largest packet, from the IP header, as it is now: anyone may have changed it.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> io::Result<u32> {
        lock(&self.links).numbered(self.index).map(|link| link.mtu)
    }

    /// Appends what came to `to`, up to a batch: how many. 0 when nothing is there, and when all that was there is lost
    /// ([`PacketPort::losses`]). Each begins with its Ethernet header, and its offload counts from there.
    ///
    /// # Errors
    /// The interface is down or gone (`ENETDOWN`, told once: it can be asked again), or the system fails otherwise.
    pub fn receive(&self, to: &mut Vec<Buffer>) -> io::Result<usize> {
        lock(&self.receiver).receive(self.socket.as_fd(), to, &self.lost)
    }

    /// Sends frames, superpackets among them: how many from the front are done with. What the system refuses for good is done with,
    /// too, and counted. Fewer than all: the rest can be tried again when the port is writable.
    ///
    /// # Errors
    /// The interface is down or gone (`ENETDOWN`, `ENXIO`), or the system fails otherwise.
    pub fn send(&self, frames: &[Buffer]) -> io::Result<usize> {
        self.sender.send(self.socket.as_fd(), frames, &self.lost)
    }

    /// What got lost until now.
    pub fn losses(&self) -> Losses {
        // It is a packet socket, which always has them.
        if let Ok(dropped) = socket::take_dropped(self.socket.as_fd()) {
            self.lost.kernel.fetch_add(dropped.into(), Ordering::Relaxed);
        }
        let Lost {
            kernel,
            tagged,
            truncated,
            refused,
        } = &self.lost;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Losses {
            kernel: read(kernel),
            tagged: read(tagged),
            truncated: read(truncated),
            refused: read(refused),
        }
    }
}

/// What is locked is whole also after a panic: each call leaves it so, or overwrites it first.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsFd for PacketPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
