//! The machine around the engine: two interfaces with an address of each family, routes to their nets, and the answers of a host on
//! which no port is open.

use std::net::IpAddr;

use fielato_netfilter::host::{AddressType, Host, Route, RouteKey, SocketOwner};
use fielato_netfilter::{Interface, Packet};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::text::Line;
use fielato_wire::{Addr, Family, Headers, TcpFlags, number};

use crate::tapd::{NETS, TAPS};

const MTU: u32 = 1500;
/// Precedence of IPv4 errors (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Interfaces and addresses.
pub struct Machine {
    interfaces: Vec<Interface>,
    /// By interface: the machine's address on it, for each family.
    own: Vec<[Addr; 2]>,
}

/// The tap that an interface is.
pub fn tap_of(interface: Interface) -> Option<usize> {
    (interface.index as usize).checked_sub(1)
}

/// Bits of the nets' prefixes.
const fn prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

impl Machine {
    /// The taps, with address 1 of each net. `None` when a net or a name is none.
    pub fn new() -> Option<Machine> {
        let mut machine = Machine {
            interfaces: Vec::new(),
            own: Vec::new(),
        };
        for (number, (name, (v4, v6))) in TAPS.iter().zip(NETS).enumerate() {
            machine.interfaces.push(Interface::new(number as u32 + 1, name)?);
            let address = |text: String| text.parse::<IpAddr>().ok().map(Addr::from);
            machine.own.push([address(format!("{v4}.1"))?, address(format!("{v6}::1"))?]);
        }
        Some(machine)
    }

    /// The interface of a tap.
    pub fn interface(&self, tap: usize) -> Interface {
        self.interfaces.get(tap).copied().unwrap_or(Interface::NONE)
    }

    /// The tap behind which an address is.
    pub fn tap_towards(&self, family: Family, address: Addr) -> Option<usize> {
        let mask = Addr::mask(family, prefix(family));
        self.own
            .iter()
            .position(|own| address.within(own[family as usize].and(mask), mask))
    }

    fn is_own(&self, family: Family, address: Addr) -> bool {
        self.own.iter().any(|own| own[family as usize] == address)
    }

    /// An error to the sender of `packet`, from the address next to it. None is sent about errors and later fragments
    /// (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
    fn tell(&self, packet: &[u8], kind: u8, code: u8, rest: u32) -> Option<Vec<u8>> {
        let (about, _) = Line::read(packet).ok()?;
        let headers = Headers::parse(packet).ok()?;
        let is_error = match headers.protocol {
            number::ICMP => !matches!(headers.icmp_type, 0 | 8 | 13..=18),
            number::ICMPV6 => headers.icmp_type < 128,
            _ => false,
        };
        if is_error || headers.is_later_fragment() {
            return None;
        }
        let family = headers.family;
        // To its own address it answers from there, else from the one nearest to the sender.
        let source = match self.is_own(family, headers.dst) {
            true => about.dst,
            false => self.own.get(self.tap_towards(family, headers.src)?)?[family as usize].to_ip(family),
        };
        let tos = match family {
            Family::V4 => INTERNETWORK_CONTROL | about.tos & 0x1e,
            Family::V6 => 0,
        };
        Some(Ip::between(source, about.src)?.tos(tos).icmp_error(kind, code, rest, packet))
    }

    /// What a host answers to a packet for itself when no port is open.
    pub fn answer(&self, packet: &Packet) -> Option<Vec<u8>> {
        let headers = &packet.headers;
        let (line, payload) = Line::read(&packet.data).ok()?;
        if line.bad_sum {
            return None;
        }
        let ip = Ip::between(line.dst, line.src)?;
        let transport = packet.transport();
        let v4 = headers.family == Family::V4;
        match headers.protocol {
            number::ICMP if headers.icmp_type == 8 => Some(ip.tos(line.tos).icmp(0, 0, second_word(transport), payload)),
            number::ICMPV6 if headers.icmp_type == 128 => Some(ip.tos(line.tos).icmp(129, 0, second_word(transport), payload)),
            number::ICMP | number::ICMPV6 => None,
            number::TCP if !headers.tcp_flags.has(TcpFlags::RST) => {
                let seq = transport.get(4..8).map_or(0, be32);
                let reset = Tcp {
                    window: 0,
                    ..Tcp::new(headers.dport, headers.sport).flags(TcpFlags::RST)
                };
                // RFC 9293 §3.10.7.1
                let reset = match headers.tcp_flags.has(TcpFlags::ACK) {
                    true => reset.seq(second_word(&transport[4..])),
                    false => {
                        let space = headers.tcp_flags.has(TcpFlags::SYN) as u32 + headers.tcp_flags.has(TcpFlags::FIN) as u32;
                        reset.ack(seq.wrapping_add(payload.len() as u32).wrapping_add(space))
                    }
                };
                Some(ip.tcp(&reset))
            }
            number::TCP => None,
            number::UDP | number::UDPLITE if v4 => self.tell(&packet.data, 3, 3, 0),
            number::UDP | number::UDPLITE => self.tell(&packet.data, 1, 4, 0),
            _ if v4 => self.tell(&packet.data, 3, 2, 0),
            // The place of "next header" in a header without extensions.
            _ => self.tell(&packet.data, 4, 1, 6),
        }
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The second four bytes of a header.
fn second_word(header: &[u8]) -> u32 {
    header.get(4..8).map_or(0, be32)
}

impl Host for Machine {
    fn route(&mut self, key: &RouteKey) -> Route {
        if self.is_own(key.family, key.dst) {
            return Route::Local;
        }
        match self.tap_towards(key.family, key.dst) {
            Some(tap) => Route::Out {
                interface: self.interface(tap),
                mtu: MTU,
                realm: 0,
            },
            None => Route::Unreachable,
        }
    }

    fn address_type(&mut self, family: Family, address: Addr, interface: Option<Interface>) -> AddressType {
        let ip = address.to_ip(family);
        let here = |tap: usize| interface.is_none_or(|interface| interface == self.interface(tap));
        let own = self.own.iter().position(|own| own[family as usize] == address);
        match (own, self.tap_towards(family, address)) {
            (Some(tap), _) if here(tap) => AddressType::Local,
            (Some(_), _) => AddressType::Unicast,
            _ if ip.is_unspecified() => AddressType::Unspec,
            _ if ip.is_multicast() => AddressType::Multicast,
            (_, Some(_)) if family == Family::V4 && address.lo & 0xff == 0xff => AddressType::Broadcast,
            (_, None) if family == Family::V6 => AddressType::Unreachable,
            _ => AddressType::Unicast,
        }
    }

    fn interface_address(&mut self, family: Family, interface: Interface, _: Addr) -> Option<Addr> {
        self.own.get(tap_of(interface)?).map(|own| own[family as usize])
    }

    fn socket_owner(&mut self, packet: &Packet) -> Option<SocketOwner> {
        // The machine's own packets are root's, as with the kernel, where tapd sends them.
        (packet.in_interface == Interface::NONE).then(|| SocketOwner {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        })
    }
}
