//! The stations of a packet's way, as data.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::cipher::Cipher;
use super::packet::Shown;
use super::question::Sender;
use crate::gateway::Origin;

/// Everything about one packet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// The packet as it was sent.
    pub packet: Shown,
    /// Who sent it.
    pub from: Sender,
    /// What it is among those that were traced.
    pub role: Role,
    /// Its way, in order.
    pub stations: Vec<Station>,
    /// How it ended.
    pub end: End,
}

impl Trace {
    /// Whether it arrived.
    pub const fn passes(&self) -> bool {
        matches!(self.end, End::Arrived { .. })
    }
}

/// What a traced packet is among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The one that was asked about.
    Asked,
    /// One that opens the connection, and was stopped: there can be no established one.
    Opening,
    /// The answer to the one before.
    Answer,
}

/// A machine on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum Place {
    /// A member's machine.
    Member(String),
    /// The hub.
    Hub,
    /// A protected host, or another machine that the file knows.
    Host(String),
    /// Some machine outside.
    Outside,
}

/// One thing that happens to a packet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Station {
    /// Where.
    pub place: Place,
    /// What.
    #[serde(flatten)]
    pub step: Step,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "station", rename_all = "kebab-case")]
pub enum Step {
    /// The member's own route.
    MemberRoute {
        /// `route` of the member.
        route: String,
        /// The entry of its AllowedIPs that holds the destination; none: it does not go into the tunnel.
        network: Option<IpNet>,
    },
    /// Into the tunnel.
    Encrypt {
        /// Who can read it.
        to: String,
        /// Sizes and outer addresses.
        cipher: Cipher,
    },
    /// Out of the tunnel: whose key it was, and whether the source is that member's.
    Decrypt {
        /// The member.
        from: String,
        /// The inner source.
        source: IpAddr,
        /// What the member may send from.
        allowed: Vec<IpNet>,
    },
    /// The hub does not know the key (any more).
    NoPeer {
        /// The member.
        member: String,
        /// Why.
        state: MemberState,
    },
    /// The guard's bans.
    Guard {
        /// The ban that stops it.
        ban: Option<IpNet>,
        /// Its source sent too much.
        limited: bool,
    },
    /// It comes to a machine by an interface, without a tunnel.
    Arrive {
        /// Which.
        interface: String,
    },
    /// What connection tracking says.
    Connection {
        /// `new`, `established`, `related`, `invalid` or `untracked`.
        state: &'static str,
    },
    /// A table's verdict.
    Table {
        /// The hook.
        hook: String,
        /// The table.
        table: String,
        /// The chain that decided.
        chain: String,
        /// The rule's place in its chain, 1-based; none: the chain's policy.
        rule: Option<usize>,
        /// What the rule was made from.
        origin: Option<Origin>,
        /// `accept`, `drop`, `reject`, `masquerade`.
        verdict: String,
    },
    /// An address or port was rewritten.
    Nat {
        /// Which end.
        end: PacketEnd,
        /// As it was.
        before: String,
        /// As it is.
        after: String,
        /// The new address stands for one that the file does not name.
        supposed: bool,
    },
    /// It goes on by a socket of the hub's machine, or came back by one (`exit = "proxy"`).
    Proxy {
        /// The address that stands in it from here on: as source when it goes on, as destination when it came back.
        address: IpAddr,
    },
    /// The routing decision.
    Route {
        /// The way out; none: it is for this machine.
        interface: Option<String>,
        /// The next hop.
        via: Option<IpAddr>,
    },
    /// Where it waits to be sent.
    Queue {
        /// The interface.
        interface: String,
        /// Disciplines and classes from the root on; empty for the plain queue.
        path: Vec<String>,
    },
    /// A packet that tells the sender what happened.
    Tell {
        /// It.
        packet: Shown,
        /// Where it is stopped itself, and why.
        #[serde(skip_serializing_if = "Option::is_none")]
        lost: Option<(Place, Reason)>,
    },
}

/// An end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum PacketEnd {
    Source,
    Destination,
}

/// Why a member is no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "since", rename_all = "kebab-case")]
pub enum MemberState {
    /// `disabled = true`
    Disabled,
    /// `expires` has passed.
    Expired(Timestamp),
}

/// How a packet's way ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum End {
    /// At its destination.
    Arrived {
        /// Where.
        at: Place,
        /// As it arrived.
        packet: Shown,
    },
    /// Stopped, or lost.
    Stopped {
        /// Where.
        at: Place,
        /// Why.
        reason: Reason,
        /// What to change, if it shall pass.
        advice: String,
    },
}

/// Why a packet was stopped.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// The member sends it elsewhere.
    NotTunnelled,
    /// A member that is no peer.
    NoPeer {
        /// It.
        member: String,
        /// Why.
        state: MemberState,
    },
    /// An overlay address that no member has.
    NobodysAddress,
    /// Its source is not the member's.
    ForeignSource,
    /// A ban.
    Banned {
        /// Of this network.
        network: IpNet,
    },
    /// A rule.
    Rule {
        /// What it was made from.
        origin: Origin,
    },
    /// Anything else that the gateway counts by name, or that a host drops for the same reason.
    Gateway {
        /// The drop's name.
        name: String,
    },
}

impl fmt::Display for PacketEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PacketEnd::Source => "source",
            PacketEnd::Destination => "destination",
        })
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberState::Disabled => f.write_str("is disabled"),
            MemberState::Expired(end) => write!(f, "expired at {end}"),
        }
    }
}
