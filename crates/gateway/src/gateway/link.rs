//! Ethernet ports: frames are opened and closed, neighbours looked for.

use fielato_netfilter::host::RouteKey;
use fielato_netfilter::{Now, Packet};
use fielato_wire::{Addr, Family};

use super::{Gateway, PortState};
use crate::config::{Link, Port, PortId};
use crate::egress::EgressPacket;
use crate::neighbour::{EtherType, Frame, HEADER, Neighbours, Resolved, Settings, is_group};
use crate::{Buffer, DropReason};

/// What came in a frame.
pub(super) enum Opened {
    /// A packet.
    Packet(Buffer, Frame),
    /// It was for the port itself, or dropped.
    Settled,
}

impl PortState {
    pub(super) fn neighbours_of(port: &Port, settings: Settings) -> Option<Neighbours> {
        match port.link {
            Link::Ip => None,
            Link::Ethernet { mac } => Some(Neighbours::new(mac, &port.addresses, settings)),
        }
    }

    /// The packet as it leaves: in a frame, on a port of that kind.
    pub(super) fn dress(&self, packet: EgressPacket) -> Buffer {
        let EgressPacket { buffer, next_hop, .. } = packet;
        match (self.port.link, next_hop) {
            (Link::Ethernet { mac }, Some(destination)) => {
                let kind = match buffer.data.first().map(|byte| byte >> 4) {
                    Some(6) => EtherType::Ipv6,
                    _ => EtherType::Ipv4,
                };
                let frame = Frame {
                    destination,
                    source: mac,
                    kind,
                };
                frame.wrap(buffer)
            }
            _ => buffer,
        }
    }
}

impl Gateway {
    /// Opens a frame, and hears what it says about neighbours.
    pub(super) fn open(&mut self, place: usize, buffer: Buffer, now: Now) -> Opened {
        let settled = |gateway: &mut Gateway, reason| {
            gateway.drop(reason);
            Opened::Settled
        };
        let Some(frame) = Frame::parse(&buffer.data) else {
            return settled(self, DropReason::EtherType);
        };
        let Some(PortState {
            port,
            neighbours: Some(neighbours),
            ..
        }) = self.ports.get_mut(place)
        else {
            return settled(self, DropReason::NoPort);
        };
        let is_ours = matches!(port.link, Link::Ethernet { mac } if frame.destination == mac);
        if !is_ours && !is_group(frame.destination) {
            return settled(self, DropReason::OtherStation);
        }
        let heard = match frame.kind {
            EtherType::Arp => Some(neighbours.handle_arp(&frame, buffer.data.get(HEADER..).unwrap_or(&[]), now)),
            EtherType::Ipv6 => neighbours.handle_ndp(buffer.data.get(HEADER..).unwrap_or(&[]), now),
            EtherType::Ipv4 => None,
        };
        let buffer = Frame::unwrap(buffer);
        match heard {
            None if matches!(
                (buffer.data.first().map(|byte| byte >> 4), frame.kind),
                (Some(4), EtherType::Ipv4) | (Some(6), EtherType::Ipv6)
            ) =>
            {
                Opened::Packet(buffer, frame)
            }
            None => settled(self, DropReason::EtherType),
            Some(Err(reason)) => settled(self, reason),
            Some(Ok(waited)) => {
                for packet in waited {
                    self.ports[place].egress.enqueue_packet(packet, now.mono);
                }
                Opened::Settled
            }
        }
    }

    /// The next hop of a packet that leaves by an Ethernet port; none on others.
    pub(super) fn hop(&self, place: usize, packet: &Packet, source: Addr, gateway: Option<Addr>) -> Option<(Family, Addr)> {
        let state = self.ports.get(place)?;
        state.neighbours.as_ref()?;
        let key = RouteKey {
            family: packet.headers.family,
            src: source,
            dst: packet.headers.dst,
            in_interface: packet.in_interface,
            mark: packet.mark,
            tos: packet.headers.tos,
        };
        let hop = gateway.unwrap_or_else(|| self.router.next_hop(&key, state.port.id));
        Some((packet.headers.family, hop))
    }

    /// Looks for the station that the packet goes to; gives the packet when it can be queued.
    pub(super) fn find_station(
        &mut self,
        place: usize,
        hop: (Family, Addr),
        packet: EgressPacket,
        now: Now,
    ) -> Option<EgressPacket> {
        let (family, address) = hop;
        let neighbours = self.ports.get_mut(place)?.neighbours.as_mut()?;
        match neighbours.resolve(address.to_ip(family), packet, now) {
            Resolved::Ready(packet) => Some(packet),
            Resolved::Waits => None,
            Resolved::Dropped(reason) => {
                self.drop(reason);
                None
            }
        }
    }

    /// Neighbours that did not answer: who sent them packets is told (`arp_error_report`, `ndisc_error_report`).
    pub(super) fn give_up_neighbours(&mut self, now: Now) {
        for place in 0..self.ports.len() {
            let Some(neighbours) = &mut self.ports[place].neighbours else {
                continue;
            };
            for EgressPacket { buffer, .. } in neighbours.handle_timeout(now) {
                self.drop(DropReason::NoNeighbour);
                let Ok(packet) = Packet::local(buffer.data) else {
                    continue;
                };
                // Host unreachable; address unreachable.
                let (kind, code) = match packet.headers.family {
                    Family::V4 => (3, 1),
                    Family::V6 => (1, 3),
                };
                self.router.at(now);
                self.netfilter.send_icmp_error(&packet, kind, code, &mut self.router, now);
                self.carry_out_all(Default::default(), now);
            }
        }
    }

    /// How many neighbours a port knows.
    pub fn neighbours(&self, port: PortId) -> usize {
        let state = self.place(port).and_then(|place| self.ports.get(place));
        state.and_then(|state| state.neighbours.as_ref()).map_or(0, Neighbours::len)
    }
}
