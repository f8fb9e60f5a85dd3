//! `exit = "proxy"`: what leaves the VPN goes on by sockets of the hub's machine, and its answers come back by them.

use std::net::{IpAddr, SocketAddr};

use fielato_wire::{Addr, Family, Headers, checksum, number};
use ipnet::IpNet;

use super::station::Step;

/// The sockets that members' packets go on by.
#[derive(Default)]
pub(super) struct Proxy {
    flows: Vec<Flow>,
}

/// A member's socket, and the one that stands for it; a socket keeps its port here.
struct Flow {
    protocol: u8,
    member: SocketAddr,
    hub: SocketAddr,
    peer: SocketAddr,
}

/// Why the proxy does not carry a packet: the name of the drop.
pub(super) const UNCARRIED: &str = "not-proxied";

impl Proxy {
    /// A member's packet as the hub's socket sends it on, from one of these addresses; `None` when it is neither TCP nor UDP nor a
    /// ping.
    pub fn go_on(&mut self, packet: &[u8], own: &[IpNet]) -> Option<(Vec<u8>, Step)> {
        let headers = Headers::parse(packet).ok()?;
        let (member, peer) = ends(&headers, packet)?;
        let same = |net: &&IpNet| net.addr().is_ipv4() == member.is_ipv4();
        let hub = SocketAddr::new(own.iter().find(same)?.addr(), member.port());
        let known = |flow: &Flow| (flow.protocol, flow.member, flow.peer) == (headers.protocol, member, peer);
        if !self.flows.iter().any(known) {
            self.flows.push(Flow {
                protocol: headers.protocol,
                member,
                hub,
                peer,
            });
        }
        let sent = readdressed(packet, hub.ip(), peer.ip())?;
        Some((sent, Step::Proxy { address: hub.ip() }))
    }

    /// The answer to such a packet, as the gateway gets it; `None` when no socket waits for it.
    pub fn come_back(&self, packet: &[u8]) -> Option<(Vec<u8>, Step)> {
        let headers = Headers::parse(packet).ok()?;
        let (peer, hub) = ends(&headers, packet)?;
        let mut flows = self.flows.iter();
        let flow = flows.find(|flow| (flow.protocol, flow.hub, flow.peer) == (headers.protocol, hub, peer))?;
        let received = readdressed(packet, peer.ip(), flow.member.ip())?;
        let address = flow.member.ip();
        Some((received, Step::Proxy { address }))
    }
}

/// Source and destination with their ports; of pings both have the identifier.
fn ends(headers: &Headers, packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let identifier = || Some(u16::from_be_bytes(*headers.transport(packet).get(4..)?.first_chunk()?));
    let ports = match headers.protocol {
        _ if !headers.l4_whole => return None,
        number::TCP | number::UDP => (headers.sport, headers.dport),
        number::ICMP if matches!(headers.icmp_type, 0 | 8) => (identifier()?, identifier()?),
        number::ICMPV6 if matches!(headers.icmp_type, 128 | 129) => (identifier()?, identifier()?),
        _ => return None,
    };
    let to_ip = |address: Addr| address.to_ip(headers.family);
    Some((
        SocketAddr::new(to_ip(headers.src), ports.0),
        SocketAddr::new(to_ip(headers.dst), ports.1),
    ))
}

/// The packet between other addresses, with its checksums.
fn readdressed(packet: &[u8], source: IpAddr, destination: IpAddr) -> Option<Vec<u8>> {
    let headers = Headers::parse(packet).ok()?;
    let (source, destination): (Addr, Addr) = (source.into(), destination.into());
    let mut bytes = packet.to_vec();
    let (begin, length) = match headers.family {
        Family::V4 => (12, 4),
        Family::V6 => (8, 16),
    };
    source.write(bytes.get_mut(begin..begin + length)?);
    destination.write(bytes.get_mut(begin + length..begin + 2 * length)?);
    if headers.family == Family::V4 {
        bytes.get_mut(10..12)?.fill(0);
        let sum = checksum::checksum(bytes.get(..headers.ip_header_len())?);
        bytes.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    }
    let place = match headers.protocol {
        number::TCP => 16,
        number::UDP => 6,
        number::ICMPV6 => 2,
        // ICMP's covers no address.
        _ => return Some(bytes),
    };
    let transport = headers.transport_mut(&mut bytes);
    transport.get_mut(place..place + 2)?.fill(0);
    let sum = checksum::transport(source, destination, headers.protocol, transport);
    transport.get_mut(place..place + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use fielato_wire::build::{Ip, Tcp};

    use super::*;

    #[test]
    fn there_and_back_with_whole_checksums() {
        let own = ["10.0.0.1/24".parse().unwrap(), "2001:db8::1/64".parse().unwrap()];
        for (member, peer) in [("192.168.4.2", "10.0.0.9"), ("fd00::2", "2001:db8::9")] {
            let (member, peer): (IpAddr, IpAddr) = (member.parse().unwrap(), peer.parse().unwrap());
            let ip = Ip::between(member, peer).unwrap();
            let packets = [ip.tcp(&Tcp::new(7, 8).syn()), ip.udp(7, 8, b"?"), ip.echo_request(7, 1, b"?")];
            for packet in packets {
                let mut proxy = Proxy::default();
                assert!(proxy.come_back(&packet).is_none());
                let (sent, _) = proxy.go_on(&packet, &own).unwrap();
                let hub = own.iter().find(|net| net.addr().is_ipv4() == member.is_ipv4()).unwrap();
                assert_is(&sent, hub.addr(), peer);
                let answer = super::super::packet::answer(&sent).unwrap();
                let (received, _) = proxy.come_back(&answer).unwrap();
                assert_is(&received, peer, member);
            }
            assert!(Proxy::default().go_on(&ip.packet(47, &[0; 8]), &own).is_none());
        }
    }

    fn assert_is(packet: &[u8], source: IpAddr, destination: IpAddr) {
        // The IPv4 header's checksum is verified there.
        let headers = Headers::receive(packet).unwrap();
        let to_ip = |address: Addr| address.to_ip(headers.family);
        assert_eq!((to_ip(headers.src), to_ip(headers.dst)), (source, destination));
        let transport = headers.transport(packet);
        let pseudo = match headers.protocol {
            number::ICMP => 0,
            protocol => checksum::pseudo(headers.src, headers.dst, protocol, transport.len() as u32),
        };
        assert_eq!(checksum::fold(pseudo + checksum::sum(transport)), 0xffff);
    }
}
