//! Why the gateway dropped a packet, each reason with a name and a count.

use fielato_netfilter as netfilter;

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Netfilter: a rule, a policy, connection tracking, NAT, or the way through it.
    Netfilter(netfilter::DropReason),
    /// A ban of the guard.
    Banned,
    /// The guard's limit for each source.
    SourceLimit,
    /// An address that no packet can come from or go to.
    Martian,
    /// Answers would not leave by the port that the packet came in by.
    ReversePath,
    /// There is no route.
    NoRoute,
    /// A blackhole route.
    Blackhole,
    /// An unreachable route.
    Unreachable,
    /// A prohibiting route.
    Prohibited,
    /// A superpacket whose bytes are not what its offload says.
    Superpacket,
    /// Sent by the hub's stack from an address that isn't the hub's.
    Foreign,
    /// It came by a port, or leaves by one, that there isn't.
    NoPort,
    /// It is for the hub itself, whose stack is not connected.
    NoHost,
    /// Larger than the way out, and not to be cut.
    CannotFragment,
    /// A discipline dropped it.
    Queue(fielato_qdisc::DropReason),
    /// Its port was taken away.
    PortRemoved,
    /// An Ethernet frame for another station.
    OtherStation,
    /// For another host, in an Ethernet frame to all stations or a group of them.
    LinkGroup,
    /// An Ethernet frame that is cut short, or neither IP nor ARP.
    EtherType,
    /// An ARP or NDP message that the RFCs say to ignore.
    BadNeighbourMessage,
    /// The next hop does not answer.
    NoNeighbour,
    /// Too many packets wait for the next hop's answer.
    NeighbourQueue,
}

impl DropReason {
    /// Its name, for counters and messages.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Netfilter(reason) => reason.name(),
            DropReason::Banned => "banned",
            DropReason::SourceLimit => "source-limit",
            DropReason::Martian => "martian",
            DropReason::ReversePath => "reverse-path",
            DropReason::NoRoute => "no-route",
            DropReason::Blackhole => "blackhole",
            DropReason::Unreachable => "unreachable",
            DropReason::Prohibited => "prohibited",
            DropReason::Superpacket => "superpacket",
            DropReason::Foreign => "foreign",
            DropReason::NoPort => "no-port",
            DropReason::NoHost => "no-host",
            DropReason::CannotFragment => "cannot-fragment",
            DropReason::Queue(reason) => reason.name(),
            DropReason::PortRemoved => "port-removed",
            DropReason::OtherStation => "other-station",
            DropReason::LinkGroup => "link-group",
            DropReason::EtherType => "ether-type",
            DropReason::BadNeighbourMessage => "bad-neighbour-message",
            DropReason::NoNeighbour => "no-neighbour",
            DropReason::NeighbourQueue => "neighbour-queue",
        }
    }
}

/// Counts by name. There are few reasons: a search along the list is quick.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    counts: Vec<(&'static str, u64)>,
}

impl Drops {
    pub(crate) fn count(&mut self, reason: DropReason) {
        self.add(reason.name(), 1);
    }

    pub(crate) fn add(&mut self, name: &'static str, count: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, counted)) => *counted += count,
            None => self.counts.push((name, count)),
        }
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.into_iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().copied()
    }
}
