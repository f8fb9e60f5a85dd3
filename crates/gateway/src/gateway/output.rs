//! A packet's way out: cut where it must be, then into the queue of its port.

use fielato_netfilter::conntrack::defrag::fragment;
use fielato_netfilter::{Now, Packet};
use fielato_wire::{Addr, Family, Offload, checksum};

use super::Gateway;
use crate::config::PortKind;
use crate::egress::Key;
use crate::router::port_of;
use crate::trace::{Outcome, Station};
use crate::{Buffer, DropReason};

impl Gateway {
    /// A packet that left POST_ROUTING. `source` is its source as it was before NAT, `gateway` the next hop when that is not the
    /// route's.
    pub(super) fn output(&mut self, packet: Packet, source: Addr, gateway: Option<Addr>, offload: Offload, now: Now) {
        match port_of(packet.out_interface).and_then(|port| self.place(port)) {
            Some(place) => self.enqueue(place, packet, source, gateway, offload, now),
            None => self.drop(DropReason::NoPort),
        }
    }

    pub(super) fn enqueue(
        &mut self,
        place: usize,
        mut packet: Packet,
        source: Addr,
        gateway: Option<Addr>,
        mut offload: Offload,
        now: Now,
    ) {
        let key = Key {
            source: Some(source.to_ip(packet.headers.family)),
            priority: packet.priority,
            mark: packet.mark,
        };
        let hop = self.hop(place, &packet, source, gateway);
        if !packet.partial_checksum {
            offload.needs_csum = None;
        }
        if let Some(place) = offload.needs_csum {
            renew_pseudo_sum(&mut packet, place);
        }
        let port = self.ports.get(place).map(|state| &state.port);
        // What is delivered stays in one piece, however large: it doesn't leave for a link.
        if port.is_some_and(|port| port.kind == PortKind::Host) {
            let buffer = Buffer {
                data: packet.data,
                offload,
            };
            return self.queue(place, buffer, key, None, now);
        }
        let mtu = port.map_or(0, |port| port.mtu).min(packet.mtu);
        let size = match packet.segment {
            0 => packet.data.len(),
            longest => usize::from(longest),
        };
        if size <= mtu as usize && packet.largest_fragment == 0 {
            let buffer = Buffer {
                data: packet.data,
                offload,
            };
            return self.queue(place, buffer, key, hop, now);
        }
        // Only whole packets can be cut: superpackets first, checksums completed.
        let mut whole = Vec::new();
        match packet.segment == 0 && offload.needs_csum.is_none() {
            true => whole.push(packet),
            false => {
                let (in_interface, data) = (packet.in_interface, std::mem::take(&mut packet.data));
                Buffer { data, offload }.split(&mut |segment| {
                    if let Ok(mut piece) = Packet::local(segment.data) {
                        piece.in_interface = in_interface;
                        whole.push(piece);
                    }
                });
            }
        }
        for packet in whole {
            match fragment(&packet, mtu) {
                Some(pieces) => {
                    for piece in pieces {
                        self.queue(place, Buffer::from(piece), key, hop, now);
                    }
                }
                None => self.drop(DropReason::CannotFragment),
            }
        }
    }

    /// Into the port's queue.
    fn queue(&mut self, place: usize, buffer: Buffer, key: Key, hop: Option<(Family, Addr)>, now: Now) {
        let Some(state) = self.ports.get(place) else {
            return self.drop(DropReason::NoPort);
        };
        let mut packet = state.egress.packet(buffer, key);
        let mut station = None;
        if self.walk.is_some() {
            let path = state.egress.path_of(&packet).iter().map(ToString::to_string).collect();
            station = Some((state.port.name.clone(), state.port.kind, path));
        }
        if let Some(hop) = hop {
            match self.find_station(place, hop, packet, now) {
                Some(found) => packet = found,
                None => return,
            }
        }
        let dropped = self.ports[place].egress.enqueue_packet(packet, now.mono);
        let Some((port, kind, path)) = station else {
            return;
        };
        self.station(|_| Station::Queue {
            port: port.clone(),
            path,
        });
        self.note_outcome(match (dropped, kind) {
            (Some(reason), _) => Outcome::Dropped { reason: reason.name() },
            (None, PortKind::Host) => Outcome::Delivered,
            (None, PortKind::Tunnel | PortKind::Network) => Outcome::Sent { port },
        });
    }
}

/// Where the checksum is left to the device, the pseudo header's sum stands in its place: it is that of the addresses of now.
fn renew_pseudo_sum(packet: &mut Packet, (start, offset): (u16, u16)) {
    let headers = packet.headers;
    if start != headers.l4 {
        return;
    }
    let len = headers.transport(&packet.data).len() as u32;
    let sum = checksum::fold(checksum::pseudo(headers.src, headers.dst, headers.protocol, len));
    let at = usize::from(start) + usize::from(offset);
    if let Some(place) = packet.data.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}
