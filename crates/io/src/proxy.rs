//! The way out by ordinary sockets: TCP, UDP and ping of members end here and go on from sockets of this process, which needs no
//! privilege, no interface and no masquerade.
//!
//! One thread holds everything: packets come in through a bounded queue, sockets through one epoll set, and what is for members
//! leaves through a [`Sink`]. TCP is ended by smoltcp; UDP and ping need no stack. The outside sees an ordinary program: it
//! connects only outwards, so nothing from outside reaches a member that did not ask for it.
//!
//! - **TCP**: the outside connection is made first; the member hears SYN-ACK when it stands, RST when it is refused, and an ICMP
//!   error when there is no way. What one side closes is closed for writing on the other. Each direction has one bounded buffer:
//!   who reads slowly is sent slowly to.
//! - **UDP**: one socket for each address and port of a member, whatever it talks to (RFC 4787 REQ-1), and answers only from
//!   whom it talked to, address and port (RFC 4787 §5).
//! - **Ping**: one ICMP datagram socket for each address and identifier of a member.
//!
//! Where a member must not get by this way is in the module `reach`: this machine, its links, the overlay.

mod counters;
mod datagram;
mod descriptors;
mod engine;
mod error_queue;
mod fragments;
mod inbox;
mod reach;
mod recovery;
mod route;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;
mod timers;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use fielato_gateway::Buffer;
use ipnet::IpNet;

pub use counters::{DropReason, Stats};

use counters::Counters;
use engine::Engine;
use inbox::Inbox;

/// Least MTU: what IPv6 needs (RFC 8200 §5).
const MTU_MIN: u16 = 1280;

/// How the way out is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest packet to a member, in bytes: the tunnel's MTU, 1,280 or more.
    pub mtu: u16,
    /// Whether the sink takes TCP superpackets, with [`Buffer::offload`] saying how they are cut. Otherwise each packet is one for
    /// the wire, with its checksums.
    pub superpackets: bool,
    /// What becomes of packets for the hub's own overlay addresses.
    pub local: Local,
    /// Networks that members reach through the tunnel, not this way: the overlay, and what lies behind members.
    pub overlay: Vec<IpNet>,
    /// The hub's own interface, if it has one: what the machine routes there is for members, and refused.
    pub interface: Option<String>,
    /// Upper bounds.
    pub limits: Limits,
}

impl Options {
    /// Plain packets up to `mtu` bytes, nothing answered locally, the usual limits.
    pub fn new(mtu: u16) -> Self {
        Self {
            mtu,
            superpackets: false,
            local: Local::None,
            overlay: Vec::new(),
            interface: None,
            limits: Limits::default(),
        }
    }
}

/// What becomes of packets for the hub's own overlay addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Local {
    /// They are refused: another way leads there.
    #[default]
    None,
    /// Ping to these addresses is answered. TCP and UDP to a port go on to the same port of the machine's own primary address, so
    /// that services which listen on all addresses are reached, and those on the loopback are not.
    Addresses(Vec<IpAddr>),
}

/// Upper bounds. What is beyond is dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections, those being made and closed included.
    pub tcp: usize,
    /// TCP connections of one member address.
    pub tcp_member: usize,
    /// UDP mappings: a member's address and port each.
    pub udp: usize,
    /// UDP mappings of one member address.
    pub udp_member: usize,
    /// Ping mappings: a member's address and identifier each.
    pub ping: usize,
    /// Ping mappings of one member address.
    pub ping_member: usize,
    /// Bytes for TCP's buffers in all. Each connection can have 64 KiB of it at least; the first ones get up to 2 MiB.
    pub tcp_memory: usize,
    /// Packets that wait for the thread.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp: 4096,
            tcp_member: 1024,
            udp: 10_000,
            udp_member: 2500,
            ping: 1024,
            ping_member: 64,
            tcp_memory: 512 << 20,
            queue: 4096,
        }
    }
}

/// Where packets from outside go: the caller judges, shapes and encrypts them.
pub trait Sink: Send + Sync {
    /// Takes all `packets` out of the list. Called by the proxy's thread: it should be quick and must not wait.
    fn send(&self, packets: &mut Vec<Buffer>);
}

/// Why there is no way out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An MTU too small.
    #[error("the proxy's MTU of {0} is below {MTU_MIN}, which IPv6 needs; give the tunnel a greater one")]
    Mtu(u16),
    /// Something the system refuses.
    #[error("the proxy's {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The answer.
        error: io::Error,
    },
}

/// The way out, with its thread, which ends when this is dropped: connections are reset then.
pub struct Proxy {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts it, in the network namespace of the calling thread.
    ///
    /// The process's soft limit of open files is raised towards the hard one, as far as [`Limits`] need it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: Options, sink: Arc<dyn Sink>) -> Result<Self, StartError> {
        if options.mtu < MTU_MIN {
            return Err(StartError::Mtu(options.mtu));
        }
        let system = |what| move |error| StartError::System { what, error };
        let inbox = Arc::new(Inbox::new(options.limits.queue).map_err(system("waker"))?);
        let counters = Arc::new(Counters::default());
        descriptors::prepare(&options.limits, &counters);
        let engine = Engine::new(options, Arc::clone(&counters), sink)?;
        engine.watch(&inbox).map_err(system("epoll set"))?;
        let thread = std::thread::Builder::new().name("proxy".into()).spawn({
            let inbox = Arc::clone(&inbox);
            move || engine.run(&inbox)
        });
        Ok(Self {
            inbox,
            counters,
            thread: Some(thread.map_err(system("thread"))?),
        })
    }

    /// Takes a packet from a member, which may be a superpacket. `false`: the queue is full and the packet dropped, which is
    /// counted; or the thread has ended.
    pub fn send(&self, packet: Buffer) -> bool {
        let taken = self.inbox.push(packet);
        if !taken {
            self.counters.dropped(DropReason::QueueFull);
        }
        taken
    }

    /// What it did until now.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inbox.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the proxy's thread had ended with a panic");
        }
    }
}
