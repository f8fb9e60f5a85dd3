//! Per-protocol tracking: what a packet does to its connection's state and timeout.

use std::fmt;

use fielato_wire::Headers;

use super::{Config, Conn, CtState, Direction, Tuple};
use crate::{Hook, Now};

/// A packet as a protocol tracker sees it.
#[derive(Clone, Copy)]
pub struct ProtoPacket<'a> {
    /// Headers.
    pub headers: &'a Headers,
    /// Transport header and payload.
    pub transport: &'a [u8],
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
    fn new(&self, conn: &mut Conn, packet: &ProtoPacket<'_>, config: &Config, now: Now) -> bool;
    /// Every packet: state and timeout.
    fn packet(&self, conn: &mut Conn, packet: &ProtoPacket<'_>, config: &Config, now: Now) -> ProtoVerdict;
}

/// The name of a connection's state as listings show it, where the protocol has states.
pub const fn state_name(state: &ProtoState) -> Option<&'static str> {
    match state {
        ProtoState::None | ProtoState::Ext(_) => None,
    }
}

/// What is checked before a connection is looked for (`nf_conntrack_handle_packet`'s `error` functions): a wrong checksum, flags
/// that can't be. False makes the packet INVALID.
pub(crate) fn is_sound(packet: &ProtoPacket<'_>, config: &Config) -> bool {
    let _ = (packet, config);
    true
}

/// Every packet of a connection, its first one included (`fresh`: the connection is not confirmed yet): state and timeout.
pub(crate) fn packet(conn: &mut Conn, packet: &ProtoPacket<'_>, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    let _ = (conn, packet, fresh, config, now);
    ProtoVerdict::Accept
}
