//! Per-protocol tracking: what a packet does to its connection's state and timeout.

mod checksum;
mod dccp;
mod gre;
pub(crate) mod icmp;
mod sctp;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod udp;

use std::fmt;

use fielato_wire::{Headers, number};

pub use dccp::{Dccp, DccpRole, DccpState};
pub use gre::Gre;
pub use sctp::{Sctp, SctpState};
pub use tcp::{End, Segment, Tcp, TcpState};
pub use udp::Udp;

use super::{Config, Conn, CtState, Direction, Status, Tuple};
use crate::{Hook, Now};

/// A packet as a protocol tracker sees it.
#[derive(Clone, Copy)]
pub struct ProtoPacket<'a> {
    /// Headers.
    pub headers: &'a Headers,
    /// Transport header and payload.
    pub transport: &'a [u8],
    /// Its checksum is known to be right, and not summed again (`CHECKSUM_UNNECESSARY`).
    pub vouched: bool,
    /// At which hook it is tracked.
    pub hook: Hook,
    /// Its state, as found before the tracker runs.
    pub state: CtState,
    /// Its direction.
    pub direction: Direction,
}

/// A tracker's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoVerdict {
    /// It belongs to the connection.
    Accept,
    /// It is let through as one of the connection's, but neither counted nor a reason for the connection to live longer
    /// (`NF_ACCEPT` without `nf_ct_refresh_acct`).
    Ignore,
    /// It is INVALID: the packet has no connection (`-NF_ACCEPT`).
    Invalid,
    /// The old connection is over: forget it and look again (`-NF_REPEAT`).
    Repeat,
    /// It is dropped (`NF_DROP`).
    Drop,
}

/// What a connection remembers of its protocol.
#[derive(Debug, Default)]
pub enum ProtoState {
    /// Nothing.
    #[default]
    None,
    /// TCP's.
    Tcp(Tcp),
    /// UDP's.
    Udp(Udp),
    /// SCTP's.
    Sctp(Sctp),
    /// DCCP's.
    Dccp(Dccp),
    /// GRE's.
    Gre(Gre),
    /// A registered protocol's.
    Ext(Box<dyn std::any::Any + Send>),
}

/// A protocol that a program registers beside the built-in ones.
pub trait Tracker: Send + Sync {
    /// Its name, as listed.
    fn name(&self) -> &'static str;
    /// IP protocol number.
    fn protocol(&self) -> u8;
    /// The numbers of a packet's tuple; `None` when the packet is too short.
    fn tuple(&self, headers: &Headers, transport: &[u8]) -> Option<(u16, u16)>;
    /// The numbers of the reply's tuple; `None` when there is no reply to such a packet.
    fn invert(&self, tuple: &Tuple) -> Option<(u16, u16)>;
    /// The numbers as the listing shows them, after the addresses.
    fn print(&self, tuple: &Tuple, out: &mut dyn fmt::Write) -> fmt::Result;
    /// The first packet of a connection: whether it may begin one.
    #[expect(clippy::new_ret_no_self, clippy::wrong_self_convention, reason = "the kernel's name for it")]
    fn new(&self, conn: &mut Conn, packet: &ProtoPacket<'_>, config: &Config, now: Now) -> bool;
    /// Every packet: state and timeout.
    fn packet(&self, conn: &mut Conn, packet: &ProtoPacket<'_>, config: &Config, now: Now) -> ProtoVerdict;
}

/// The name of a connection's state as listings show it, where the protocol has states.
pub const fn state_name(state: &ProtoState) -> Option<&'static str> {
    match state {
        ProtoState::Tcp(tcp) => Some(tcp.state.name()),
        ProtoState::Sctp(sctp) => Some(sctp.state.name()),
        ProtoState::Dccp(dccp) => Some(dccp.state.name()),
        ProtoState::None | ProtoState::Udp(_) | ProtoState::Gre(_) | ProtoState::Ext(_) => None,
    }
}

/// Whether a connection may be dropped early although it is assured, because it is about to end
/// (`nf_ct_l4proto.can_early_drop`).
pub const fn can_early_drop(state: &ProtoState) -> bool {
    match state {
        ProtoState::Tcp(tcp) => tcp.state.is_ending(),
        ProtoState::Sctp(sctp) => sctp.state.is_ending(),
        ProtoState::Dccp(dccp) => dccp.state.is_ending(),
        ProtoState::None | ProtoState::Udp(_) | ProtoState::Gre(_) | ProtoState::Ext(_) => false,
    }
}

/// What a packet does to its connection: [`is_sound`], then [`packet`]. The second value is what summing gave, when the whole
/// transport was summed with the pseudo header.
#[inline]
pub(crate) fn judge(
    conn: &mut Conn,
    seen: &ProtoPacket<'_>,
    fresh: bool,
    config: &Config,
    now: Now,
) -> (ProtoVerdict, Option<bool>) {
    let judge = |protocol: u8, conn: &mut Conn| match is_sound(protocol, seen, config) {
        (true, summed) => (packet(protocol, conn, seen, fresh, config, now), summed),
        (false, summed) => (ProtoVerdict::Invalid, summed),
    };
    // Most packets are of one of these: with the protocol known, one decision stands for all that follow.
    match seen.headers.protocol {
        number::UDP => judge(number::UDP, conn),
        number::TCP => judge(number::TCP, conn),
        protocol => judge(protocol, conn),
    }
}

/// What is checked before a connection is looked for (`nf_conntrack_handle_packet`'s `error` functions): a wrong checksum, flags
/// that can't be. False makes the packet INVALID.
#[inline(always)]
fn is_sound(protocol: u8, packet: &ProtoPacket<'_>, config: &Config) -> (bool, Option<bool>) {
    let bytes = packet.transport;
    let sound = match protocol {
        number::TCP => tcp::is_whole(bytes),
        number::UDP => udp::is_sound(bytes),
        number::UDPLITE => udp::is_sound_lite(bytes),
        // Its checksum was looked at before.
        number::ICMP | number::ICMPV6 => return (icmp::is_sound(packet.headers, bytes), None),
        number::SCTP => bytes.len() >= sctp::HEADER,
        number::DCCP => dccp::is_sound(bytes),
        _ => return (true, None),
    };
    if !sound {
        return (false, None);
    }
    // Only what comes from outside is summed: what this host sends may be left to the device.
    let summed = config.checksum && packet.hook == Hook::Prerouting && !packet.vouched;
    let right = !summed || checksum::is_right(protocol, packet.headers, bytes);
    let whole = match protocol {
        number::TCP => true,
        number::UDP => checksum::word(bytes, 6) != 0,
        _ => false,
    };
    let sound = right && (protocol != number::TCP || tcp::is_sound(bytes));
    (sound, (summed && whole).then_some(right))
}

/// Every packet of a connection, its first one included (`fresh`: the connection is not confirmed yet): state and timeout.
///
/// A connection that ends with this packet gets [`Status::DYING`]; the packet itself still belongs to it.
#[inline(always)]
fn packet(protocol: u8, conn: &mut Conn, packet: &ProtoPacket<'_>, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    match protocol {
        number::TCP => tcp::packet(conn, packet, fresh, config, now),
        number::UDP => udp::packet(conn, fresh, config, now),
        number::UDPLITE => udp::packet_lite(conn, config, now),
        number::ICMP | number::ICMPV6 => icmp::packet(conn, packet, fresh, config, now),
        number::SCTP => sctp::packet(conn, packet, fresh, config, now),
        number::DCCP => dccp::packet(conn, packet, fresh, config, now),
        number::GRE => gre::packet(conn, fresh, config, now),
        _ => {
            refresh(conn, override_of(conn, 0).unwrap_or(config.timeouts.generic), now);
            ProtoVerdict::Accept
        }
    }
}

/// Sets the time at which a connection expires, unless that is fixed (`nf_ct_refresh_acct`).
#[inline]
fn refresh(conn: &mut Conn, seconds: u32, now: Now) {
    if !conn.status.has(Status::FIXED_TIMEOUT) {
        conn.deadline = now.mono.saturating_add(u64::from(seconds) * Now::SECOND);
    }
}

/// Makes a TCP connection CLOSE, because a RST was made here; others stay as they are (`nf_ct_set_closing`).
pub(crate) fn close(conn: &mut Conn, config: &Config, now: Now) {
    tcp::close(conn, config, now);
}

/// Ends a connection (`nf_ct_kill`). What was left of its time stays to be seen by the packet that ends it.
fn kill(conn: &mut Conn) {
    conn.status.set(Status::DYING);
}

/// The timeout that `-j CT --timeout` gave this connection, if any. The kernel's `CTA_TIMEOUT_*` attributes give the order for
/// each protocol, from 0.
#[inline]
fn override_of(conn: &Conn, index: usize) -> Option<u32> {
    conn.extra.as_ref()?.timeouts.as_ref()?.get(index).copied()
}
