//! What the engine asks of the machine around it.

use fielato_wire::{Addr, Family};

use crate::{Interface, InterfaceName, Packet};

/// What the routing decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct RouteKey {
    /// IP version.
    pub family: Family,
    /// Source; unspecified when the host is to choose.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Interface the packet came in by; none for a packet made here.
    pub in_interface: Interface,
    /// The packet's mark.
    pub mark: u32,
    /// Type of service.
    pub tos: u8,
}

/// The routing decision. A packet made here for an address of the host's own goes out by the loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// For this host.
    Local,
    /// To be forwarded (or sent).
    Out {
        /// The way out.
        interface: Interface,
        /// Largest packet there, in bytes.
        mtu: u32,
        /// Routing realm (`-m realm`), else 0.
        realm: u32,
    },
    /// No route.
    Unreachable,
    /// A route that says that the destination can't be reached (`ip route add unreachable`).
    HostUnreachable,
    /// A route that says that the destination must not be reached (`ip route add prohibit`).
    Prohibit,
    /// Silently dropped: martian, blackhole.
    Blackhole,
}

/// Kinds of addresses (`RTN_*`, `man 8 iptables-extensions`, addrtype), a bit each, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the kernel's names say it")]
pub enum AddressType {
    Unspec = 0,
    Unicast = 1,
    Local = 2,
    Broadcast = 3,
    Anycast = 4,
    Multicast = 5,
    Blackhole = 6,
    Unreachable = 7,
    Prohibit = 8,
    Throw = 9,
    Nat = 10,
    Xresolve = 11,
}

/// Who owns the socket a packet belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The control group of the socket a packet belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketCgroup {
    /// `net_cls.classid` (version 1).
    pub classid: u32,
    /// Path from the root of the version 2 hierarchy, with a leading slash.
    pub path: String,
}

/// An ICMP or ICMPv6 error that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// IP version.
    pub family: Family,
    /// Whom it goes to.
    pub to: Addr,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// There was no route: IPv4 has a limit of its own for these (`ip_error`).
    pub lacks_route: bool,
}

/// The embedder's side: routes, addresses, sockets. Every call must answer at once.
pub trait Host {
    /// Where does this packet go?
    fn route(&mut self, key: &RouteKey) -> Route;

    /// [`Host::route`] for a packet that doesn't exist: nothing is to be remembered of it.
    fn supposed_route(&mut self, key: &RouteKey) -> Route {
        self.route(key)
    }

    /// What kind of address is this, seen from `interface` when one is given (else from anywhere)?
    fn address_type(&mut self, family: Family, address: Addr, interface: Option<Interface>) -> AddressType;

    /// The address that the host would use as the source towards `dst` on `interface` (MASQUERADE), or the first one there
    /// (REDIRECT of a forwarded packet, MASQUERADE of one that goes to the IPv4 loopback, with `dst` unspecified).
    fn interface_address(&mut self, family: Family, interface: Interface, dst: Addr) -> Option<Addr>;

    /// Whether a packet from `src` would be answered through `interface` (`rpfilter`; `loose`: through any interface).
    fn reverse_path(&mut self, key: &RouteKey, loose: bool) -> bool {
        match self.route(&RouteKey {
            src: key.dst,
            dst: key.src,
            in_interface: Interface::NONE,
            ..*key
        }) {
            Route::Out { interface, .. } => loose || interface.index == key.in_interface.index,
            Route::Local | Route::Unreachable | Route::HostUnreachable | Route::Prohibit | Route::Blackhole => false,
        }
    }

    /// Whether what is sent by this interface comes in by it again.
    fn is_loopback(&self, interface: Interface) -> bool {
        interface.name == InterfaceName::LOOPBACK
    }

    /// The owner of the local socket that made this packet (`-m owner`).
    fn socket_owner(&mut self, packet: &Packet) -> Option<SocketOwner> {
        let _ = packet;
        None
    }

    /// The control group of the local socket that the packet belongs to (`-m cgroup`).
    fn socket_cgroup(&mut self, packet: &Packet) -> Option<SocketCgroup> {
        let _ = packet;
        None
    }

    /// The device group of an interface (`ip link set DEV group NUMBER`, `-m devgroup`).
    fn interface_group(&mut self, interface: Interface) -> u32 {
        let _ = interface;
        0
    }

    /// Whether a local socket would take this packet (`-m socket`, TPROXY): `transparent` asks for IP_TRANSPARENT ones only.
    fn has_socket(&mut self, packet: &Packet, transparent: bool) -> bool {
        let _ = (packet, transparent);
        false
    }

    /// The number of the processor at work (`-m cpu`, NFQUEUE's `--queue-cpu-fanout`).
    fn cpu(&mut self) -> u32 {
        0
    }

    /// Whether this ICMP error may be sent now: the embedder's rate limits. Asked last, when everything else allows it.
    fn may_send_icmp(&mut self, error: &IcmpError) -> bool {
        let _ = error;
        true
    }

    /// A number that changes when routes or addresses change, so that cached routes die.
    fn route_generation(&self) -> u64 {
        0
    }
}
