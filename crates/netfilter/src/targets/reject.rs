//! `-j REJECT` (`ipt_REJECT.c`, `ip6t_REJECT.c`, `nf_reject_ipv4.c`, `nf_reject_ipv6.c`).

use fielato_wire::{Addr, Family, checksum, number};

use crate::check::{CheckContext, CheckError};
use crate::conntrack::CtState;
use crate::context::{Context, Effect, Slot};
use crate::edit::{read16, read32};
use crate::host::{AddressType, Host, IcmpError, Route, RouteKey};
use crate::packet::PacketType;
use crate::verdict::TargetVerdict;
use crate::{Hook, Interface, Packet, PacketCt};

/// `-j REJECT`: an answer, then the packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// `--reject-with tcp-reset`
    TcpReset,
    /// ICMP or ICMPv6 "destination unreachable" with this code.
    Unreachable(u8),
}

/// Hop limit of packets made here (`net.ipv4.ip_default_ttl`, `net.ipv6.conf.*.hop_limit`).
const DEFAULT_TTL: u8 = 64;

impl Reject {
    /// What is sent when nothing is said: port unreachable.
    pub const fn default_for(family: Family) -> Reject {
        match family {
            Family::V4 => Reject::Unreachable(3),
            Family::V6 => Reject::Unreachable(4),
        }
    }

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("REJECT", &["filter"])?;
        cx.only_hooks("REJECT", &[Hook::Input, Hook::Forward, Hook::Output])?;
        match *self {
            Reject::TcpReset => cx.only_protocols("REJECT --reject-with tcp-reset", &[number::TCP]),
            Reject::Unreachable(code) => {
                let known: &[u8] = match cx.family {
                    Family::V4 => &[0, 1, 2, 3, 9, 10, 13],
                    Family::V6 => &[0, 1, 3, 4, 5, 6],
                };
                match known.contains(&code) {
                    true => Ok(()),
                    false => Err(CheckError(format!("REJECT: there is no \"unreachable\" with code {code}"))),
                }
            }
        }
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let answer = match *self {
            Reject::TcpReset => reset(cx).and_then(|data| {
                let answer = attached(data, cx.packet)?;
                // The connection ends with it (`nf_ct_set_closing`).
                if let PacketCt::Tracked { id, .. } = cx.packet.ct {
                    cx.conntrack.set_closing(id, cx.now);
                }
                Some(answer)
            }),
            Reject::Unreachable(code) => unreachable(cx, code),
        };
        cx.effects.extend(answer.map(|answer| Effect::Send(Box::new(answer))));
        TargetVerdict::Drop
    }
}

/// An answer to `packet`: it goes the other way of its connection and is RELATED to it (`nf_conntrack_attach`).
fn attached(data: Vec<u8>, packet: &Packet) -> Option<Packet> {
    let mut answer = Packet::local(data).ok()?;
    answer.ct = match packet.ct {
        PacketCt::Tracked { id, direction, .. } => PacketCt::Tracked {
            id,
            state: CtState::Related,
            direction: direction.reverse(),
        },
        PacketCt::Untracked => PacketCt::AnswersUntracked,
        PacketCt::None | PacketCt::AnswersUntracked => PacketCt::None,
    };
    Some(answer)
}

/// Whether the destination is one host, not all or a group: such packets are never answered.
fn to_one_host(cx: &mut Context<'_>) -> bool {
    let headers = &cx.packet.headers;
    match headers.family {
        Family::V4 => {
            let kind = cx.host.address_type(Family::V4, headers.dst, None);
            !matches!(kind, AddressType::Broadcast | AddressType::Multicast)
        }
        Family::V6 => !is_multicast6(headers.dst),
    }
}

const fn is_multicast6(address: Addr) -> bool {
    address.hi >> 56 == 0xff
}

/// A RST for the packet; none for what must not be answered.
fn reset(cx: &mut Context<'_>) -> Option<Vec<u8>> {
    let headers = cx.packet.headers;
    let transport = cx.packet.transport();
    if headers.protocol != number::TCP || headers.is_later_fragment() || transport.len() < 20 {
        return None;
    }
    let flags = headers.tcp_flags;
    if flags.has(fielato_wire::TcpFlags::RST) || !cx.packet.checksum_is_right(cx.hook) {
        return None;
    }
    let transport = cx.packet.transport();
    let acknowledged = flags.has(fielato_wire::TcpFlags::ACK);
    let (seq, ack, flag) = if acknowledged {
        (read32(transport, 8)?, 0, 0)
    } else {
        let control = u32::from(flags.0 & 1) + u32::from(flags.0 >> 1 & 1);
        let payload = (transport.len() as u32).wrapping_sub(u32::from(*transport.get(12)? >> 4) * 4);
        let ack = read32(transport, 4)?.wrapping_add(control).wrapping_add(payload);
        (0, ack, fielato_wire::TcpFlags::ACK)
    };
    let mut tcp = Vec::with_capacity(20);
    tcp.extend_from_slice(&headers.dport.to_be_bytes());
    tcp.extend_from_slice(&headers.sport.to_be_bytes());
    tcp.extend_from_slice(&u32::to_be_bytes(seq));
    tcp.extend_from_slice(&u32::to_be_bytes(ack));
    tcp.extend_from_slice(&[0x50, fielato_wire::TcpFlags::RST | flag, 0, 0, 0, 0, 0, 0]);
    let unanswerable = headers.family == Family::V6 && (is_multicast6(headers.src) || headers.src == Addr::ZERO);
    if unanswerable || !to_one_host(cx) {
        return None;
    }
    let check = checksum::transport(headers.dst, headers.src, number::TCP, &tcp);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    // The kernel sends IPv4 resets with DF and id 0.
    Some(ip_packet(
        headers.family,
        headers.dst,
        headers.src,
        number::TCP,
        0,
        (0, true),
        &tcp,
    ))
}

/// Sends an ICMP or ICMPv6 error about the packet, where one may be sent. `rest` is the second word of its header.
pub(super) fn send_icmp_error(cx: &mut Context<'_>, kind: u8, code: u8, rest: u32) {
    let answer = icmp_error(cx.packet, cx.host, cx.rng, ErrorAbout::new(kind, code, rest));
    cx.effects.extend(answer.map(|answer| Effect::Send(Box::new(answer))));
}

/// The ICMP error for the packet; none for what must not be answered.
fn unreachable(cx: &mut Context<'_>, code: u8) -> Option<Packet> {
    if !may_be_answered(cx.packet, cx.hook) || !to_one_host(cx) {
        return None;
    }
    let kind = if cx.packet.headers.family == Family::V4 { 3 } else { 1 };
    icmp_error(cx.packet, cx.host, cx.rng, ErrorAbout::new(kind, code, 0))
}

/// Whether the packet is whole enough to be answered (`nf_send_unreach`, `reject6_csum_ok`).
fn may_be_answered(packet: &mut Packet, hook: Hook) -> bool {
    if packet.summed.is_right() {
        return true;
    }
    let headers = &packet.headers;
    // Over IPv6 a transport that isn't there can't be verified.
    let unseen = headers.is_later_fragment()
        || headers.lacks_protocol()
        || headers.protocol == number::NO_NEXT
        || packet.transport().is_empty();
    if headers.family == Family::V6 && unseen {
        return false;
    }
    !has_whole_checksum(packet) || packet.checksum_is_right(hook)
}

/// What an ICMP error says of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorAbout {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The second word of its header.
    pub(crate) rest: u32,
    /// There was no route.
    pub(crate) lacks_route: bool,
}

impl ErrorAbout {
    pub(crate) const fn new(kind: u8, code: u8, rest: u32) -> ErrorAbout {
        ErrorAbout {
            kind,
            code,
            rest,
            lacks_route: false,
        }
    }
}

/// An ICMP error about `packet`; none for what must not be answered (`icmp_send`, `icmp6_send`; RFC 1122
/// §3.2.2, RFC 4443 §2.4 e).
pub(crate) fn icmp_error(packet: &Packet, host: &mut dyn Host, rng: &mut fastrand::Rng, error: ErrorAbout) -> Option<Packet> {
    let ErrorAbout {
        kind,
        code,
        rest,
        lacks_route,
    } = error;
    let headers = packet.headers;
    // Over IPv6 later fragments are answered, too.
    let later_v4 = headers.family == Family::V4 && headers.is_later_fragment();
    if later_v4 || packet.packet_type != PacketType::Unicast || answers_error(packet) {
        return None;
    }
    if headers.src == Addr::ZERO || headers.family == Family::V6 && is_multicast6(headers.src) {
        return None;
    }
    // A router's anycast address is no single host's (`icmpv6_route_lookup`).
    if headers.family == Family::V6 && host.address_type(Family::V6, headers.src, None) == AddressType::Anycast {
        return None;
    }
    let src = answer_source(packet, host)?;
    let allowed = host.may_send_icmp(&IcmpError {
        family: headers.family,
        to: headers.src,
        kind,
        code,
        lacks_route,
    });
    if !allowed {
        return None;
    }
    let quoted = packet.data.len().min(match headers.family {
        // 576 bytes in all for IPv4, 1280 for IPv6.
        Family::V4 => 576 - 20 - 8,
        Family::V6 => 1280 - 40 - 8,
    });
    let mut icmp = vec![kind, code, 0, 0];
    icmp.extend_from_slice(&rest.to_be_bytes());
    icmp.extend_from_slice(packet.data.get(..quoted)?);
    let (protocol, check, tos) = match headers.family {
        // Errors have precedence "internetwork control".
        Family::V4 => (number::ICMP, checksum::checksum(&icmp), headers.tos & 0x1e | 0xc0),
        Family::V6 => {
            let check = checksum::transport(src, headers.src, number::ICMPV6, &icmp);
            (number::ICMPV6, check, 0)
        }
    };
    icmp[2..4].copy_from_slice(&check.to_be_bytes());
    let id = rng.u16(..);
    attached(
        ip_packet(headers.family, src, headers.src, protocol, tos, (id, false), &icmp),
        packet,
    )
}

/// Protocols whose checksum covers all and is always there (`nf_reject_verify_csum`).
fn has_whole_checksum(packet: &Packet) -> bool {
    match packet.headers.protocol {
        number::AH | number::ESP | number::SCTP | number::UDPLITE | number::GRE => false,
        number::UDP => read16(packet.transport(), 6) != Some(0),
        _ => true,
    }
}

/// Whether the packet is an ICMP error itself, or may be one: errors are not answered with errors.
fn answers_error(packet: &Packet) -> bool {
    let kind = packet
        .transport()
        .first()
        .copied()
        .filter(|_| !packet.headers.is_later_fragment());
    match (packet.headers.family, packet.headers.protocol) {
        // What the kernel doesn't know counts as an error, too (`icmp_pointers`).
        (Family::V4, number::ICMP) => kind.is_none_or(|kind| !matches!(kind, 0 | 8 | 13..=18)),
        // A type in another fragment counts as harmless (`is_ineligible`).
        (Family::V6, number::ICMPV6) => !packet.headers.is_fragment() && kind.is_none() || kind.is_some_and(|kind| kind < 128),
        _ => false,
    }
}

/// The address that answers: the one the packet was sent to when it is ours, else that of the interface towards the sender.
fn answer_source(packet: &Packet, host: &mut dyn Host) -> Option<Addr> {
    let headers = packet.headers;
    // Of IPv6 an anycast address, too (`ipv6_chk_acast_addr_src`).
    let own = host.address_type(headers.family, headers.dst, None);
    if own == AddressType::Local || headers.family == Family::V6 && own == AddressType::Anycast {
        return Some(headers.dst);
    }
    // IPv6 answers with an address of the interface the packet came in by (`icmp6_send`).
    if headers.family == Family::V6 && packet.in_interface != Interface::NONE {
        return host.interface_address(Family::V6, packet.in_interface, headers.src);
    }
    let back = RouteKey {
        family: headers.family,
        src: Addr::ZERO,
        dst: headers.src,
        in_interface: Interface::NONE,
        mark: 0,
        tos: headers.tos,
    };
    match host.route(&back) {
        Route::Out { interface, .. } => host.interface_address(headers.family, interface, headers.src),
        Route::Local => Some(headers.src),
        Route::Unreachable | Route::HostUnreachable | Route::Prohibit | Route::Blackhole => None,
    }
}

/// A whole packet without options; `id` and "don't fragment" are IPv4's.
fn ip_packet(family: Family, src: Addr, dst: Addr, protocol: u8, tos: u8, id: (u16, bool), body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + body.len());
    match family {
        Family::V4 => {
            let len = (20 + body.len()) as u16;
            packet.extend_from_slice(&[0x45, tos]);
            packet.extend_from_slice(&len.to_be_bytes());
            packet.extend_from_slice(&id.0.to_be_bytes());
            packet.extend_from_slice(&[u8::from(id.1) << 6, 0, DEFAULT_TTL, protocol, 0, 0]);
            packet.resize(20, 0);
            src.write(&mut packet[12..16]);
            dst.write(&mut packet[16..20]);
            let check = checksum::checksum(&packet);
            packet[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Family::V6 => {
            packet.extend_from_slice(&[0x60 | tos >> 4, tos << 4, 0, 0]);
            packet.extend_from_slice(&(body.len() as u16).to_be_bytes());
            packet.extend_from_slice(&[protocol, DEFAULT_TTL]);
            packet.resize(40, 0);
            src.write(&mut packet[8..24]);
            dst.write(&mut packet[24..40]);
        }
    }
    packet.extend_from_slice(body);
    packet
}
