//! smoltcp, one connection at a time: a [`SocketSet`] for each, so that a packet costs the same however many there are.

use std::num::{NonZeroU16, NonZeroUsize};
use std::time::{Duration, Instant};

use fielato_wire::{Addr, Family, Headers, Offload, Segmentation, SegmentationKind, checksum, number};
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::wire::HardwareAddress;

use fielato_gateway::Buffer;

/// Longest superpacket, headers included.
const SUPERPACKET_MAX: NonZeroUsize = NonZeroUsize::new(65_535).unwrap();

/// Where the checksum stands in a TCP header.
const TCP_CHECKSUM: u16 = 16;

/// The stack that all connections share. What it sends gathers in [`Stack::outgoing`].
pub(super) struct Stack {
    interface: Interface,
    wire: Wire,
    /// smoltcp counts from here.
    start: Instant,
}

struct Wire {
    mtu: u16,
    incoming: Option<Vec<u8>>,
    outgoing: Vec<Buffer>,
    /// The end of what was sent last.
    sent: Option<u32>,
}

impl Stack {
    pub(super) fn new(mtu: u16, seed: u64, now: Instant) -> Self {
        let mut wire = Wire {
            mtu,
            incoming: None,
            outgoing: Vec::new(),
            sent: None,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.set_any_ip(true);
        Self {
            interface,
            wire,
            start: now,
        }
    }

    /// Gives a packet, whose checksums are right, to the connection that `sockets` holds. Without one it is answered as a closed
    /// port does: RST.
    pub(super) fn input(&mut self, sockets: &mut SocketSet<'static>, packet: Vec<u8>, now: Instant) {
        self.wire.incoming = Some(packet);
        let now = self.time(now);
        self.interface.poll_ingress_single(now, &mut self.wire, sockets);
        self.wire.incoming = None;
    }

    /// Sends what the connection has to send now. The end of what was sent last, as a sequence number.
    pub(super) fn output(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<u32> {
        let now = self.time(now);
        self.wire.sent = None;
        while self.interface.poll_egress(now, &mut self.wire, sockets) == PollResult::SocketStateChanged {}
        self.wire.sent
    }

    /// When the connection wants [`Stack::output`] again, whatever happens. As it has just had it, not at once.
    pub(super) fn wants(&mut self, sockets: &SocketSet<'static>, now: Instant) -> Option<Instant> {
        let time = self.time(now);
        let at = self.interface.poll_at(time, sockets)?;
        let micros = u64::try_from(at.total_micros() - time.total_micros()).unwrap_or(0);
        Some(now + Duration::from_micros(micros).clamp(SOON, FAR))
    }

    /// Packets for members.
    pub(super) fn outgoing(&mut self) -> &mut Vec<Buffer> {
        &mut self.wire.outgoing
    }

    fn time(&self, now: Instant) -> smoltcp::time::Instant {
        let micros = now.saturating_duration_since(self.start).as_micros();
        smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

/// Earlier deadlines than this are not worth a turn: what could be sent was sent.
const SOON: Duration = Duration::from_millis(1);

/// Later deadlines than this need not be told apart.
const FAR: Duration = Duration::from_secs(86_400);

impl Device for Wire {
    type RxToken<'a> = Receive;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Receive, Transmit<'_>)> {
        let packet = self.incoming.take()?;
        Some((Receive(packet), Transmit::new(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Transmit<'_>> {
        Some(Transmit::new(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu.into();
        // Verified before, completed behind: superpackets have one checksum, and each segment needs its own.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.segmentation.tcpv4 = Some(SUPERPACKET_MAX);
        // smoltcp 0.14 drops its own IPv6 superpackets: it takes them for packets that need fragmentation (`dispatch_ip`).
        capabilities.segmentation.tcpv6 = None;
        capabilities
    }
}

pub(super) struct Receive(Vec<u8>);

impl phy::RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

pub(super) struct Transmit<'a> {
    wire: &'a mut Wire,
    size: Option<NonZeroU16>,
}

impl<'a> Transmit<'a> {
    fn new(wire: &'a mut Wire) -> Self {
        Self { wire, size: None }
    }
}

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut data = vec![0; len];
        let result = write(&mut data);
        if let Some((offload, end)) = offload(&mut data, self.size) {
            self.wire.outgoing.push(Buffer { data, offload });
            self.wire.sent = Some(end);
        }
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.size = meta.segmentation_offload_size;
    }
}

/// What is left to do with a TCP packet of the stack's: the pseudo header's sum is put where the checksum comes. With the sequence
/// number behind its data. `None` for what
/// is no TCP packet: the stack's own ICMP errors, which are not wanted.
fn offload(packet: &mut [u8], size: Option<NonZeroU16>) -> Option<(Offload, u32)> {
    let headers = Headers::parse(packet).ok()?;
    if headers.protocol != number::TCP || !headers.l4_whole {
        return None;
    }
    let transport = headers.transport_mut(packet);
    let header_len = usize::from(transport.get(12)? >> 4) * 4;
    let sequence = u32::from_be_bytes(*transport.get(4..)?.first_chunk()?);
    let end = sequence.wrapping_add(transport.len().saturating_sub(header_len) as u32);
    let sum = pseudo(headers.src, headers.dst, transport.len());
    transport.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
    let l4 = u16::try_from(headers.ip_header_len()).ok()?;
    let offload = Offload {
        needs_csum: Some((l4, TCP_CHECKSUM)),
        data_valid: false,
        segmentation: size.map(|size| Segmentation {
            kind: match headers.family {
                Family::V4 => SegmentationKind::Tcp4,
                Family::V6 => SegmentationKind::Tcp6,
            },
            ecn: false,
            size: size.get(),
            header_len: l4 + header_len as u16,
        }),
    };
    Some((offload, end))
}

fn pseudo(src: Addr, dst: Addr, len: usize) -> u16 {
    checksum::fold(checksum::pseudo(src, dst, number::TCP, len as u32))
}
