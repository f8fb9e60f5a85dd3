//! A packet with what the host knows about it beside its bytes.

use fielato_wire::{Headers, Malformed};

use crate::Interface;
use crate::conntrack::defrag::Pieces;
use crate::conntrack::{ConnId, CtState, Direction, Template};
use crate::summed::Summed;

/// How a packet relates to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketCt {
    /// Connection tracking has not seen it, or found it invalid.
    #[default]
    None,
    /// Excluded from tracking (NOTRACK).
    Untracked,
    /// It answers a packet that was excluded, and is yet to be tracked; CT has no say in it, as if it had been seen before
    /// (`nf_conntrack_attach` notes a state without a connection).
    AnswersUntracked,
    /// It belongs to this connection.
    Tracked {
        /// The connection.
        id: ConnId,
        /// Its state, seen from this packet.
        state: CtState,
        /// Whose direction the packet goes in.
        direction: Direction,
    },
}

/// Link-layer kind of a received packet (`-m pkttype`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketType {
    /// To this host.
    #[default]
    Unicast,
    /// To everybody.
    Broadcast,
    /// To a group.
    Multicast,
}

/// The bridge ports of a packet that a bridge passes on (`-m physdev`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgePorts {
    /// Port it came in by; none when it came through the bridge itself.
    pub incoming: Interface,
    /// Port it goes out by; none as long as that isn't known.
    pub outgoing: Interface,
    /// It is bridged, not routed.
    pub bridged: bool,
}

/// A packet on its way through the hooks.
///
/// [`Packet::headers`] is kept in step with the bytes: whoever changes bytes that it holds calls [`Packet::reparse`].
#[derive(Clone, Debug)]
pub struct Packet {
    /// The bytes, from the IP header.
    pub data: Vec<u8>,
    /// What its headers say.
    pub headers: Headers,
    /// The mark (`nfmark`).
    pub mark: u32,
    /// Priority: the class in a queueing discipline (CLASSIFY).
    pub priority: u32,
    /// Interface it came in by.
    pub in_interface: Interface,
    /// Interface it goes out by, once routed.
    pub out_interface: Interface,
    /// Largest packet on the way out, once routed.
    pub mtu: u32,
    /// Routing realm of its route.
    pub realm: u32,
    /// Its connection.
    pub ct: PacketCt,
    /// What `-j CT` asked for; taken by [`crate::conntrack::Conntrack::track`].
    pub template: Option<Box<Template>>,
    /// Source MAC address, where the link has one.
    pub source_mac: Option<[u8; 6]>,
    /// Destination MAC address, where the link has one (LOG).
    pub destination_mac: Option<[u8; 6]>,
    /// Link-layer kind.
    pub packet_type: PacketType,
    /// Bridge ports, when a bridge passes it on.
    pub bridge: Option<Box<BridgePorts>>,
    /// The listening socket that TPROXY gave it to.
    pub tproxy: Option<Box<(fielato_wire::Addr, u16)>>,
    /// Every rule it meets is reported (TRACE).
    pub trace: bool,
    /// Largest fragment it was put together from; 0 when it was whole. It is fragmented again to this size.
    pub largest_fragment: u16,
    /// Of a superpacket, the length of the longest packet that it is cut into, from the IP header on; 0 for a plain packet.
    pub segment: u16,
    /// The pieces it came in, when it was put together and its payload was not touched since. It leaves in the same where they fit.
    pub pieces: Option<Box<Pieces>>,
    /// The sender left the transport checksum to the device (`CHECKSUM_PARTIAL`, `VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    pub partial_checksum: bool,
    /// What is known of its transport checksum.
    pub(crate) summed: Summed,
    /// It is a copy (TEE).
    pub(crate) copied: bool,
}

impl Packet {
    /// A packet received on `interface`. Checks what a receiver checks ([`Headers::receive`]) and cuts padding off.
    // Made where the caller keeps it, as with the headers.
    #[inline(always)]
    pub fn received(data: Vec<u8>, interface: Interface) -> Result<Packet, Malformed> {
        let headers = Headers::receive(&data)?;
        Ok(Packet::with(data, headers, interface))
    }

    /// A packet made on this host.
    pub fn local(data: Vec<u8>) -> Result<Packet, Malformed> {
        let headers = Headers::parse(&data)?;
        Ok(Packet::with(data, headers, Interface::NONE))
    }

    /// What is left when a packet's bytes are taken elsewhere.
    pub(crate) fn empty(headers: Headers) -> Packet {
        Packet::with(Vec::new(), headers, Interface::NONE)
    }

    #[inline(always)]
    fn with(mut data: Vec<u8>, headers: Headers, in_interface: Interface) -> Packet {
        data.truncate(usize::from(headers.len));
        Packet {
            data,
            headers,
            mark: 0,
            priority: 0,
            in_interface,
            out_interface: Interface::NONE,
            mtu: u32::from(u16::MAX),
            realm: 0,
            ct: PacketCt::None,
            template: None,
            source_mac: None,
            destination_mac: None,
            packet_type: PacketType::Unicast,
            bridge: None,
            tproxy: None,
            trace: false,
            largest_fragment: 0,
            segment: 0,
            pieces: None,
            partial_checksum: false,
            summed: Summed::default(),
            copied: false,
        }
    }

    /// Reads the headers again after the bytes were changed.
    pub fn reparse(&mut self) -> Result<(), Malformed> {
        self.headers = Headers::parse(&self.data)?;
        Ok(())
    }

    /// The transport checksum was vouched for: by the device, or by the cipher that the packet came under
    /// (`CHECKSUM_UNNECESSARY`, `VIRTIO_NET_HDR_F_DATA_VALID`). Nobody sums it again.
    pub fn vouch_checksum(&mut self) {
        self.summed = Summed::RIGHT;
    }

    /// What a way out compares with its MTU: the packet, the largest of the fragments it came in, or a superpacket's segments.
    #[inline]
    pub(crate) fn size_on_way(&self) -> u32 {
        match (self.largest_fragment, self.segment) {
            (0, 0) => self.data.len() as u32,
            (0, segment) => u32::from(segment),
            (largest, _) => u32::from(largest),
        }
    }

    /// The first `len` bytes of the transport are needed in one piece, to be written or summed (`skb_ensure_writable`): if the first
    /// fragment has fewer it takes them from those behind it (`__pskb_pull_tail`).
    pub(crate) fn join_header(&mut self, len: u16) {
        let transport = self.transport().len();
        let Some(pieces) = &mut self.pieces else { return };
        // Extension headers that stood behind the fragment header are in the first fragment too.
        let whole: usize = pieces.sizes.iter().map(|&size| usize::from(size)).sum();
        let extensions = u16::try_from(whole.saturating_sub(transport)).unwrap_or(u16::MAX);
        let len = extensions.saturating_add(len);
        let Some((first, behind)) = pieces.sizes.split_first_mut() else {
            return;
        };
        for size in behind {
            let taken = len.saturating_sub(*first).min(*size);
            (*first, *size) = (*first + taken, *size - taken);
        }
        pieces.sizes.retain(|&size| size > 0);
    }

    /// The transport header and payload.
    #[inline]
    pub fn transport(&self) -> &[u8] {
        self.headers.transport(&self.data)
    }
}
