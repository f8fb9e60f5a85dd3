//! A packet's way in: from a port, past the guard, through the hooks.

use fielato_netfilter::engine::Ended;
use fielato_netfilter::host::AddressType;
use fielato_netfilter::packet::PacketType;
use fielato_netfilter::{Effect, Interface, Now, Packet};
use fielato_wire::{Addr, Family, Offload, checksum, number};

use super::Gateway;
use super::link::Opened;
use super::tracing::Arrival;
use crate::config::{PortId, PortKind};
use crate::guard::Refusal;
use crate::neighbour::{Frame, is_group};
use crate::router::Router;
use crate::trace::{GuardVerdict, Outcome, Station};
use crate::{Buffer, DropReason};

/// Most packets that one packet may bring about.
const EFFECTS: usize = 256;

impl Gateway {
    /// Takes a packet that came by a port, judges it, and queues what becomes of it.
    pub fn receive(&mut self, port: PortId, packet: Buffer, now: Now) {
        if self.tracer.is_on() && self.tracer.wants(port, &packet.data) {
            let stations = self.receive_traced(port, packet, now);
            return self.tracer.note(stations, now);
        }
        self.receive_untraced(port, packet, now);
    }

    pub(super) fn receive_untraced(&mut self, port: PortId, packet: Buffer, now: Now) {
        let Some(place) = self.place(port) else {
            return self.drop(DropReason::NoPort);
        };
        self.take(place, packet, now);
    }

    /// A packet that begins with its IP header.
    pub(super) fn take(&mut self, place: usize, packet: Buffer, now: Now) {
        let Some(state) = self.ports.get(place) else {
            return self.drop(DropReason::NoPort);
        };
        let (kind, interface) = (state.port.kind, state.interface);
        let (packet, frame) = match state.neighbours.is_some() {
            false => (packet, None),
            true => match self.open(place, packet, now) {
                Opened::Packet(packet, frame) => (packet, Some(frame)),
                Opened::Settled => return,
            },
        };
        self.note_received(place, &packet.data);
        if self.guard.stands_on(kind) {
            match self.guard.judge(&packet.data, now) {
                Ok(()) => self.station(|gateway| Station::Guard {
                    verdict: match gateway.guard.is_enabled() {
                        true => GuardVerdict::Passed,
                        false => GuardVerdict::Off,
                    },
                }),
                Err(refusal) => return self.refused(refusal),
            }
        }
        match kind {
            PortKind::Host => self.take_from_host(packet, now),
            PortKind::Tunnel | PortKind::Network => {
                self.judge(interface, kind == PortKind::Tunnel, frame, packet, now);
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let (verdict, reason) = match refusal {
            Refusal::Banned(net) => (GuardVerdict::Banned(net), DropReason::Banned),
            Refusal::Limited => (GuardVerdict::Limited, DropReason::SourceLimit),
        };
        self.station(|_| Station::Guard { verdict });
        self.drop(reason);
    }

    /// A packet from outside: PRE_ROUTING and what follows. What was `sealed` by the tunnel needs no checksum.
    fn judge(&mut self, interface: Interface, sealed: bool, frame: Option<Frame>, buffer: Buffer, now: Now) {
        let Ok(segment) = buffer.longest_segment() else {
            return self.drop(DropReason::Superpacket);
        };
        let Buffer { data, offload } = buffer;
        let mut packet = match Packet::received(data, interface) {
            Ok(packet) => packet,
            Err(malformed) => return self.drop(DropReason::Netfilter(fielato_netfilter::DropReason::Malformed(malformed))),
        };
        let (family, source) = (packet.headers.family, packet.headers.src);
        if family == Family::V6 && Router::is_martian_v6(source, packet.headers.dst) {
            return self.drop(DropReason::Martian);
        }
        prepare(&mut packet, &offload, segment, sealed);
        if let Some(frame) = frame {
            (packet.source_mac, packet.destination_mac) = (Some(frame.source), Some(frame.destination));
            packet.packet_type = match frame.destination {
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => PacketType::Broadcast,
                mac if is_group(mac) => PacketType::Multicast,
                _ => PacketType::Unicast,
            };
            // What all stations got is nobody's to forward (`ip_forward`, `ip6_forward`).
            let is_hosts = self.router.kind(family, packet.headers.dst) == AddressType::Unicast;
            if packet.packet_type != PacketType::Unicast && is_hosts {
                return self.drop(DropReason::LinkGroup);
            }
        }
        packet.trace = self.walk.is_some();
        let arrival = Arrival::of(&packet.headers, false);
        self.router.at(now);
        let ended = self.netfilter.receive_in_place(&mut packet, &mut self.router, now);
        self.settle(ended, packet, (source, arrival), offload, now);
    }

    /// A packet from the hub's own stack.
    fn take_from_host(&mut self, buffer: Buffer, now: Now) {
        let Ok(segment) = buffer.longest_segment() else {
            return self.drop(DropReason::Superpacket);
        };
        let mut packet = match Packet::local(buffer.data) {
            Ok(packet) => packet,
            Err(malformed) => return self.drop(DropReason::Netfilter(fielato_netfilter::DropReason::Malformed(malformed))),
        };
        let (family, source) = (packet.headers.family, packet.headers.src);
        if !self.router.is_own(family, source) {
            let Some(interface) = self.foreign.and_then(|port| self.interface(port)) else {
                return self.drop(DropReason::Foreign);
            };
            let buffer = Buffer {
                data: packet.data,
                offload: buffer.offload,
            };
            return self.judge(interface, false, None, buffer, now);
        }
        prepare(&mut packet, &buffer.offload, segment, true);
        self.send_local(packet, buffer.offload, now);
    }

    fn interface(&self, port: PortId) -> Option<Interface> {
        Some(self.ports.get(self.place(port)?)?.interface)
    }

    /// A packet made on the hub: LOCAL_OUT and what follows.
    fn send_local(&mut self, mut packet: Packet, offload: Offload, now: Now) {
        let source = packet.headers.src;
        packet.trace = self.walk.is_some();
        let arrival = Arrival::of(&packet.headers, true);
        self.router.at(now);
        let ended = self.netfilter.send_local_in_place(&mut packet, &mut self.router, now);
        self.settle(ended, packet, (source, arrival), offload, now);
    }

    /// Carries out what a packet's way caused, then its fate.
    fn settle(&mut self, ended: Ended, packet: Packet, (source, arrival): (Addr, Arrival), offload: Offload, now: Now) {
        let refusal = self.router.refusal;
        let first = self.effects.len();
        self.effects.extend(self.netfilter.drain_effects());
        if self.effects.len() > first || self.walk.is_some() {
            let effects = self.effects.split_off(first);
            self.note_way(arrival, &packet, &effects);
            // What the packet brings about has a way of its own, which nobody follows.
            let walk = self.walk.take();
            for effect in effects.into_iter().take(EFFECTS) {
                match effect {
                    Effect::Trace { .. } if walk.is_some() => {}
                    effect => self.carry_out(effect, offload, now),
                }
            }
            self.walk = walk;
        }
        self.router.refusal = refusal;
        match ended {
            Ended::Deliver => self.deliver(packet, offload, now),
            Ended::Transmit => self.output(packet, source, None, offload, now),
            Ended::Dropped(reason) => {
                let reason = self.reason(reason);
                self.drop(reason);
            }
            Ended::Stolen => self.note_outcome(Outcome::Stolen),
            Ended::Fragment => self.note_outcome(Outcome::Fragment),
            Ended::Queued => self.note_outcome(Outcome::Queued),
        }
    }

    /// Carries out what something else than a packet caused.
    pub(super) fn carry_out_all(&mut self, offload: Offload, now: Now) {
        let effects: Vec<Effect> = self.netfilter.drain_effects().collect();
        for effect in effects.into_iter().take(EFFECTS) {
            self.carry_out(effect, offload, now);
        }
    }

    fn carry_out(&mut self, effect: Effect, offload: Offload, now: Now) {
        match effect {
            Effect::Transmit(packet) | Effect::Send(packet) => {
                let source = packet.headers.src;
                match packet.out_interface == Interface::NONE {
                    true => self.deliver(*packet, Offload::default(), now),
                    false => self.output(*packet, source, None, Offload::default(), now),
                }
            }
            // A copy's copies are not made (`nf_skb_duplicated`).
            Effect::Copy { .. } if self.copying => {}
            Effect::Copy { gateway, mut packet } => {
                packet.in_interface = Interface::NONE;
                let source = packet.headers.src;
                self.router.at(now);
                (self.copying, self.router.gateway) = (true, Some(gateway));
                let ended = self.netfilter.send_local_in_place(&mut packet, &mut self.router, now);
                self.router.gateway = None;
                match ended {
                    Ended::Transmit => self.output(*packet, source, Some(gateway), offload, now),
                    ended => {
                        let arrival = Arrival::of(&packet.headers, true);
                        self.settle(ended, *packet, (source, arrival), offload, now);
                    }
                }
                self.copying = false;
            }
            Effect::Log { level, line } => self.note_line(format!("<{level}>{line}")),
            Effect::Audit { line } => self.note_line(line),
            Effect::NfLog { group, prefix, .. } => self.note_line(format!("NFLOG group {group}: {prefix}")),
            Effect::Trace { place, .. } => self.note_line(format!("TRACE: {place}")),
        }
    }

    /// A packet for the hub itself.
    fn deliver(&mut self, packet: Packet, offload: Offload, now: Now) {
        match self.place_of_kind(PortKind::Host) {
            Some(place) => {
                let source = packet.headers.src;
                self.enqueue(place, packet, source, None, offload, now);
            }
            None => match echo_reply(&packet) {
                Some(reply) => {
                    self.note_outcome(Outcome::Delivered);
                    let walk = self.walk.take();
                    self.send_local(reply, Offload::default(), now);
                    self.walk = walk;
                }
                None => self.drop(DropReason::NoHost),
            },
        }
    }
}

/// What netfilter must know of a superpacket, and of checksums that were left to the device or vouched for.
fn prepare(packet: &mut Packet, offload: &Offload, segment: u16, vouched: bool) {
    packet.segment = segment;
    packet.partial_checksum = offload.needs_csum.is_some();
    if vouched || offload.data_valid || packet.partial_checksum || segment != 0 {
        packet.vouch_checksum();
    }
}

/// The answer to an echo request, for a hub without a stack of its own (RFC 792, RFC 4443 §4.2).
fn echo_reply(packet: &Packet) -> Option<Packet> {
    let headers = &packet.headers;
    let (request, reply) = match (headers.family, headers.protocol) {
        (Family::V4, number::ICMP) => (8, 0),
        (Family::V6, number::ICMPV6) => (128, 129),
        _ => return None,
    };
    if headers.icmp_type != request || headers.icmp_code != 0 || !headers.l4_whole || headers.is_fragment() {
        return None;
    }
    let mut icmp = packet.transport().to_vec();
    icmp.splice(..4, [reply, 0, 0, 0]);
    let sum = match headers.family {
        Family::V4 => checksum::checksum(&icmp),
        Family::V6 => checksum::transport(headers.dst, headers.src, number::ICMPV6, &icmp),
    };
    icmp.splice(2..4, sum.to_be_bytes());
    let ip = fielato_wire::build::Ip::new(headers.family, headers.dst, headers.src).tos(headers.tos);
    Packet::local(ip.packet(headers.protocol, &icmp)).ok()
}
