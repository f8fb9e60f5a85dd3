//! What was done, and what was not and why.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet was not carried on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All of them, in the order of their counters.
            pub const ALL: [DropReason; [$($name),*].len()] = [$(DropReason::$variant),*];

            /// Its name, for counters and messages.
            pub const fn name(self) -> &'static str {
                match self {
                    $(DropReason::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// More packets wait than the queue holds.
    QueueFull = "queue-full",
    /// No IP packet, a header cut short, or a wrong checksum.
    Malformed = "malformed",
    /// A protocol other than TCP, UDP and ping, or an ICMP message other than an echo request.
    NotCarried = "not-carried",
    /// To the loopback, a link-local, multicast or broadcast address, or one that is none.
    DestinationSpecial = "destination-special",
    /// To an address of this machine.
    DestinationOwn = "destination-own",
    /// To the overlay: members reach each other through the tunnel only.
    DestinationOverlay = "destination-overlay",
    /// This machine has no route there, or one that prohibits it.
    Unreachable = "unreachable",
    /// For the hub's own overlay address, and the machine has no address of that family besides.
    NoOwnAddress = "no-own-address",
    /// More TCP connections than the limit.
    TcpLimit = "tcp-limit",
    /// More TCP connections of one member than its limit.
    TcpMemberLimit = "tcp-member-limit",
    /// The outside did not answer a TCP connection in time.
    ConnectTimeout = "connect-timeout",
    /// More UDP mappings than the limit.
    UdpLimit = "udp-limit",
    /// More UDP mappings of one member than its limit.
    UdpMemberLimit = "udp-member-limit",
    /// More ping mappings than the limit.
    PingLimit = "ping-limit",
    /// More ping mappings of one member than its limit.
    PingMemberLimit = "ping-member-limit",
    /// The system does not allow ICMP sockets (`net.ipv4.ping_group_range`).
    PingNotPermitted = "ping-not-permitted",
    /// From outside, from whom the member did not talk to.
    Stranger = "stranger",
    /// The process has no file descriptors left.
    Descriptors = "descriptors",
    /// The system had no room, no free port, or another reason not to send.
    System = "system",
    /// More fragments wait for the rest of their datagram than the limit.
    FragmentLimit = "fragment-limit",
    /// A fragment whose datagram did not become whole in time, or contradicts itself.
    FragmentLost = "fragment-lost",
    /// Longer than can be sent on.
    TooLong = "too-long",
}

/// Counters that any thread reads while one writes.
pub(super) struct Counters {
    pub(super) tcp_open: AtomicU64,
    pub(super) tcp_opened: AtomicU64,
    pub(super) tcp_refused: AtomicU64,
    pub(super) udp_open: AtomicU64,
    pub(super) udp_opened: AtomicU64,
    pub(super) ping_open: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) tcp_memory: AtomicU64,
    pub(super) descriptors: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            tcp_open: AtomicU64::new(0),
            tcp_opened: AtomicU64::new(0),
            tcp_refused: AtomicU64::new(0),
            udp_open: AtomicU64::new(0),
            udp_opened: AtomicU64::new(0),
            ping_open: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            tcp_memory: AtomicU64::new(0),
            descriptors: AtomicU64::new(0),
            drops: [const { AtomicU64::new(0) }; DropReason::ALL.len()],
        }
    }
}

/// What the way out did until now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// TCP connections there are, those being made and closed included.
    pub tcp_open: u64,
    /// TCP connections that came about.
    pub tcp_opened: u64,
    /// TCP connections that the outside refused.
    pub tcp_refused: u64,
    /// UDP mappings there are.
    pub udp_open: u64,
    /// UDP mappings that were made.
    pub udp_opened: u64,
    /// Ping mappings there are.
    pub ping_open: u64,
    /// Payload bytes from members to the outside.
    pub bytes_out: u64,
    /// Payload bytes from the outside towards members.
    pub bytes_in: u64,
    /// Bytes of TCP's buffers, whether used or not.
    pub tcp_memory: u64,
    /// Open files that this process may have in all.
    pub descriptors: u64,
    /// Packets not carried on, by reason, those never met included.
    pub drops: Vec<(DropReason, u64)>,
}

impl Stats {
    /// How many packets met `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.iter().find(|(at, _)| *at == reason).map_or(0, |(_, count)| *count)
    }
}

impl Counters {
    pub(super) fn dropped(&self, reason: DropReason) {
        self.drops[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        let Self {
            tcp_open,
            tcp_opened,
            tcp_refused,
            udp_open,
            udp_opened,
            ping_open,
            bytes_out,
            bytes_in,
            tcp_memory,
            descriptors,
            drops,
        } = self;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            tcp_open: read(tcp_open),
            tcp_opened: read(tcp_opened),
            tcp_refused: read(tcp_refused),
            udp_open: read(udp_open),
            udp_opened: read(udp_opened),
            ping_open: read(ping_open),
            bytes_out: read(bytes_out),
            bytes_in: read(bytes_in),
            tcp_memory: read(tcp_memory),
            descriptors: read(descriptors),
            drops: DropReason::ALL.into_iter().zip(drops.iter().map(read)).collect(),
        }
    }
}
