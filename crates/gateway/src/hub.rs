//! A gateway with a WireGuard device at its tunnel port, for one thread: for embedders, tests and simulations.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fielato_netfilter::Now;
use fielato_wireguard::Device;
use fielato_wireguard::outbox::{Destination, Outbox, Path};

use crate::{Buffer, Gateway, PortId};

/// A moment, as WireGuard has it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// On the clock that never goes back.
    pub instant: Instant,
    /// The time of day.
    pub wall: SystemTime,
}

/// What a hub wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A UDP datagram to a peer.
    Datagram {
        /// Where the peer is.
        path: Path,
        /// TOS octet of the datagram.
        tos: u8,
        /// The datagram.
        data: Vec<u8>,
    },
    /// A packet that leaves by another port than the tunnel.
    Packet {
        /// The port.
        port: PortId,
        /// The packet.
        packet: Buffer,
    },
}

/// A gateway and the device at its tunnel port.
///
/// [`Hub::handle_udp`] and [`Hub::handle_packet`] take what comes, [`Hub::poll`] gives what is to be sent, until it gives nothing;
/// then [`Hub::poll_timeout`] says when [`Hub::handle_timeout`] is due.
pub struct Hub {
    device: Device,
    gateway: Gateway,
    tunnel: PortId,
    /// When the gateway's monotonic clock was zero.
    epoch: Instant,
    outbox: Outbox,
    outputs: VecDeque<Output>,
}

impl Hub {
    /// A hub. `epoch` is the moment that the gateway counts as zero, before everything else that it is told.
    pub fn new(device: Device, gateway: Gateway, tunnel: PortId, epoch: Instant) -> Hub {
        Hub {
            device,
            gateway,
            tunnel,
            epoch,
            outbox: Outbox::new(),
            outputs: VecDeque::new(),
        }
    }

    /// A moment on a gateway's clocks.
    pub fn now(epoch: Instant, at: Moment) -> Now {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Now {
            mono: nanoseconds(at.instant.saturating_duration_since(epoch)),
            wall: nanoseconds(at.wall.duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// The moment that the gateway counts as zero.
    pub const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The device. What it wants sent goes to the outbox.
    pub fn device_mut(&mut self) -> (&mut Device, &mut Outbox) {
        (&mut self.device, &mut self.outbox)
    }

    /// The gateway.
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The gateway, to be changed.
    pub const fn gateway_mut(&mut self) -> &mut Gateway {
        &mut self.gateway
    }

    /// Takes a datagram from a peer, and decrypts it where it stands. `tos` is the datagram's TOS octet.
    pub fn handle_udp(&mut self, datagram: &mut [u8], from: &Path, tos: u8, at: Moment) {
        let inner = self.device.handle_udp(datagram, from, tos, at.instant, &mut self.outbox);
        if let Some(packet) = inner.and_then(|inner| datagram.get(inner.range)) {
            let packet = Buffer::from(packet.to_vec());
            self.gateway.receive(self.tunnel, packet, Hub::now(self.epoch, at));
        }
        self.settle(at);
    }

    /// Takes a packet from a port.
    pub fn handle_packet(&mut self, port: PortId, packet: Buffer, at: Moment) {
        self.gateway.receive(port, packet, Hub::now(self.epoch, at));
        self.settle(at);
    }

    /// What is to be done next.
    pub fn poll(&mut self, at: Moment) -> Option<Output> {
        if self.outputs.is_empty() {
            self.settle(at);
        }
        self.outputs.pop_front()
    }

    /// When [`Hub::handle_timeout`] has something to do, or [`Hub::poll`] something to give.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let gateway = self
            .gateway
            .poll_timeout()
            .map(|mono| self.epoch + Duration::from_nanos(mono));
        gateway.into_iter().chain(self.device.poll_timeout()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, at: Moment) {
        self.device.handle_timeout(at.instant, at.wall, &mut self.outbox);
        self.gateway.handle_timeout(Hub::now(self.epoch, at));
        self.settle(at);
    }

    /// Moves packets between the two, until nothing moves.
    fn settle(&mut self, at: Moment) {
        let now = Hub::now(self.epoch, at);
        self.empty_outbox(now);
        while let Some((port, buffer)) = self.gateway.transmit(now) {
            if port != self.tunnel {
                self.outputs.push_back(Output::Packet { port, packet: buffer });
                continue;
            }
            let (device, outbox) = (&mut self.device, &mut self.outbox);
            buffer.split(&mut |packet| device.handle_tun(&packet.data, at.instant, outbox));
            self.empty_outbox(now);
        }
    }

    fn empty_outbox(&mut self, now: Now) {
        for (destination, data) in self.outbox.iter() {
            match destination {
                Destination::Network { path, tos } => self.outputs.push_back(Output::Datagram {
                    path,
                    tos,
                    data: data.to_vec(),
                }),
                // An ICMP error of the device about a packet that it could not send: it comes out of the tunnel.
                Destination::Interface => self.gateway.receive(self.tunnel, Buffer::from(data.to_vec()), now),
            }
        }
        self.outbox.clear();
    }
}
