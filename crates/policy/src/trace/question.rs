//! What is asked: from whom, to what, and as which packet; names resolved by the configuration.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use fielato_wire::Headers;
use ipnet::IpNet;
use serde::Serialize;

use super::packet::Transport;
use crate::config::{Config, Engine, Exit, Hub, Party, PortSpec, Protocol, Strategy};

/// A question about one packet, or about a connection's.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who sends: a member, a host, `hub`, or an address.
    pub from: String,
    /// Where to: a service, a host, a member, `hub`, `internet` or an address; perhaps `:PORT/PROTOCOL` behind it.
    pub to: String,
    /// What the packet's source says, when that is not the sender's address.
    pub source: Option<IpAddr>,
    /// The interface by which it reaches the hub, when that is not what the sender's address says.
    pub by: Option<String>,
    /// The source port.
    pub source_port: Option<u16>,
    /// IPv4 or IPv6 where both would do.
    pub version: Option<IpVersion>,
    /// Whether a connection begins with it, or goes on.
    pub state: State,
    /// Whether the answer's way is asked for, too.
    pub reply: bool,
}

impl Question {
    /// Whether a new connection's first packet passes.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Question {
        Question {
            from: from.into(),
            to: to.into(),
            source: None,
            by: None,
            source_port: None,
            version: None,
            state: State::New,
            reply: false,
        }
    }
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    pub(super) const fn of(address: IpAddr) -> IpVersion {
        if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 }
    }
}

impl fmt::Display for IpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpVersion::V4 => "IPv4",
            IpVersion::V6 => "IPv6",
        })
    }
}

/// What the packet is to its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The first of a connection.
    #[default]
    New,
    /// A later one, of a connection that has been answered.
    Established,
}

/// Who sends a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum Sender {
    /// A member, through the tunnel.
    Member(String),
    /// The hub itself.
    Hub,
    /// A machine on the uplink's side: a host of this name, or somebody.
    Outside(Option<String>),
}

/// A question whose names are resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub sender: Sender,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub transport: Transport,
}

/// Why a question can't be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A name that nothing has.
    #[error("there is no {what} {name:?} in the configuration; say {say}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The name.
        name: String,
        /// What there could be.
        say: &'static str,
    },
    /// A name of many.
    #[error("{name} is a group; ask about one of its members: {}", .members.join(", "))]
    Group {
        /// The group.
        name: String,
        /// Its members.
        members: Vec<String>,
    },
    /// The ends have no common family.
    #[error("{from} and {to} have no address of the same family{}", .asked.map_or("", |version| match version {
        IpVersion::V4 => " IPv4",
        IpVersion::V6 => " IPv6",
    }))]
    NoFamily {
        /// The sender.
        from: String,
        /// The destination.
        to: String,
        /// The family that was asked for.
        asked: Option<IpVersion>,
    },
    /// An overlay address that nobody has.
    #[error(
        "no member has {address}: for a forged packet say `--from MEMBER --source {address}`, or `--by {uplink}` for one that comes from elsewhere"
    )]
    NobodysAddress {
        /// It.
        address: IpAddr,
        /// The uplink.
        uplink: String,
    },
    /// An interface that the hub has not.
    #[error("packets reach the hub by {interface} or {uplink}, not by {by:?}")]
    Interface {
        /// The tunnel.
        interface: String,
        /// The uplink.
        uplink: String,
        /// What was said.
        by: String,
    },
    /// By the tunnel comes what a member sends.
    #[error("{from} is no member, so it sends nothing by {interface}")]
    NotByTunnel {
        /// The sender.
        from: String,
        /// The tunnel.
        interface: String,
    },
    /// What stands behind the colon.
    #[error(
        "{text:?} is not a port: say PORT, PORT/tcp, PORT/udp, PORT/sctp, icmp, icmp/TYPE or a protocol's number as ip/NUMBER"
    )]
    Port {
        /// It.
        text: String,
    },
    /// Bytes that are no packet.
    #[error("packet {number}: {problem}")]
    Packet {
        /// Its place, 1-based.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// The plan makes no gateway.
    #[error("the configuration can't be simulated: {0}")]
    Gateway(String),
}

/// An end as it was said, with its addresses.
struct Known {
    addresses: Vec<IpAddr>,
    port: Option<PortSpec>,
}

/// Documentation addresses (RFC 5737, RFC 3849): somewhere outside.
const OUTSIDE: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

fn outside() -> impl Iterator<Item = IpAddr> {
    OUTSIDE.iter().filter_map(|text| text.parse().ok())
}

impl Case {
    pub fn of(question: &Question, config: &Config) -> Result<Case, QuestionError> {
        let (name, transport) = split(&question.to)?;
        let to = destination(name, config)?;
        let (mut sender, mut from) = sender(&question.from, config)?;
        let inside = |address: &IpAddr| config.hub.addresses.iter().any(|net| net.contains(address));
        if sender == Sender::Hub && !to.addresses.iter().any(inside) {
            // Elsewhere the hub is known by the uplink's address, as long as that is known.
            from.sort_by_key(inside);
        }
        let version = question.version.or(question.source.map(IpVersion::of));
        let fits = |address: &&IpAddr| version.is_none_or(|version| IpVersion::of(**address) == version);
        let pair = from.iter().filter(fits).find_map(|source| {
            let destination = to.addresses.iter().find(|to| to.is_ipv4() == source.is_ipv4())?;
            Some((*source, *destination))
        });
        let (address, destination) = pair.ok_or_else(|| QuestionError::NoFamily {
            from: question.from.clone(),
            to: name.to_owned(),
            asked: version,
        })?;
        if let Some(by) = &question.by {
            sender = by_interface(by, sender, question, config)?;
        } else if sender == Sender::Outside(None) && inside(&address) {
            return Err(QuestionError::NobodysAddress {
                address,
                uplink: config.hub.uplink.clone(),
            });
        }
        let source_port = question.source_port.unwrap_or(40_000);
        let transport = match (transport, to.port) {
            (Some(said), _) => said,
            (None, Some(port)) => match port.protocol {
                Protocol::Tcp => Transport::tcp(port.first),
                Protocol::Udp => Transport::udp(port.first),
                Protocol::Sctp => Transport::sctp(port.first),
            },
            (None, None) => Transport::PING,
        };
        Ok(Case {
            sender,
            source: question.source.unwrap_or(address),
            destination,
            transport: transport.with_source(source_port).in_family(destination),
        })
    }
}

impl Case {
    /// Of the conversation the packet with this number, 0 the first.
    pub fn packet(&self, place: u16) -> Result<Vec<u8>, QuestionError> {
        let packet = self.transport.packet(self.source, self.destination, place);
        packet.ok_or_else(|| QuestionError::NoFamily {
            from: self.source.to_string(),
            to: self.destination.to_string(),
            asked: None,
        })
    }
}

/// Who sent a captured packet, by its source; `None` when it is no packet.
pub(super) fn sender_of(packet: &[u8], config: &Config) -> Option<Sender> {
    let headers = Headers::parse(packet).ok()?;
    Some(whose(headers.src.to_ip(headers.family), config))
}

/// The name or address in a destination, and whether a port stands behind it.
pub(crate) fn split_destination(text: &str) -> Result<(&str, bool), QuestionError> {
    split(text).map(|(name, transport)| (name, transport.is_some()))
}

/// `NAME`, `NAME:PORT`, `ADDRESS`, `[ADDRESS]:PORT`.
fn split(text: &str) -> Result<(&str, Option<Transport>), QuestionError> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = rest.strip_prefix(':').map(transport).transpose()?;
        return match (port, rest) {
            (None, rest) if !rest.is_empty() => Err(QuestionError::Port { text: rest.to_owned() }),
            (port, _) => Ok((address, port)),
        };
    }
    match text.split_once(':') {
        Some((name, port)) => Ok((name, Some(transport(port)?))),
        None => Ok((text, None)),
    }
}

/// `80`, `80/tcp`, `tcp/80`, `icmp`, `icmp/8`, `ip/47`.
fn transport(text: &str) -> Result<Transport, QuestionError> {
    let refused = || QuestionError::Port { text: text.to_owned() };
    let (one, other) = text.split_once('/').unwrap_or((text, ""));
    let (word, number) = if one.starts_with(|c: char| c.is_ascii_digit()) {
        (other, one)
    } else {
        (one, other)
    };
    fn parsed<N: FromStr>(number: &str) -> Option<N> {
        number.parse().ok()
    }
    match word {
        "" | "tcp" => parsed(number).map(Transport::tcp),
        "udp" => parsed(number).map(Transport::udp),
        "sctp" => parsed(number).map(Transport::sctp),
        "icmp" if number.is_empty() => Some(Transport::PING),
        "icmp" => parsed(number).map(|kind| Transport::Icmp {
            kind: Some(kind),
            code: 0,
        }),
        "ip" => parsed(number).map(|protocol| Transport::Other { protocol }),
        _ => None,
    }
    .ok_or_else(refused)
}

fn destination(name: &str, config: &Config) -> Result<Known, QuestionError> {
    let known = |addresses| Ok(Known { addresses, port: None });
    if let Ok(address) = name.parse() {
        return known(vec![address]);
    }
    if let Some(service) = config.services.get(name) {
        return Ok(Known {
            addresses: service.hosts.iter().flat_map(|host| host_addresses(host, config)).collect(),
            port: service.ports.first().copied(),
        });
    }
    if config.hosts.contains_key(name) {
        return known(host_addresses(name, config));
    }
    if let Some(member) = config.members.get(name) {
        return known(member.addresses.clone());
    }
    match name {
        "hub" => known(config.hub.addresses.iter().map(IpNet::addr).collect()),
        "internet" => known(outside().collect()),
        _ => Err(unknown(
            name,
            config,
            "service, host, member or address",
            "one of these names, hub, internet or an address",
        )),
    }
}

/// Where a host is reached: strategy `member` in the overlay, else at its own address.
fn host_addresses(name: &str, config: &Config) -> Vec<IpAddr> {
    let Some(host) = config.hosts.get(name) else {
        return Vec::new();
    };
    match (host.strategy, config.members.get(name)) {
        (Strategy::Member, Some(member)) => member.addresses.clone(),
        _ => host.addresses.clone(),
    }
}

fn sender(name: &str, config: &Config) -> Result<(Sender, Vec<IpAddr>), QuestionError> {
    let hub = &config.hub;
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok((whose(address, config), vec![address]));
    }
    if let Some(member) = config.members.get(name) {
        return Ok((Sender::Member(name.to_owned()), member.addresses.clone()));
    }
    if let Some(host) = config.hosts.get(name) {
        return Ok((Sender::Outside(Some(name.to_owned())), host.addresses.clone()));
    }
    match name {
        "hub" => {
            let overlay = hub.addresses.iter().map(IpNet::addr);
            Ok((Sender::Hub, overlay.chain(outer(hub)).collect()))
        }
        "internet" => Ok((Sender::Outside(None), outside().collect())),
        _ => Err(unknown(
            name,
            config,
            "member, host or address",
            "one of these names, hub, internet or an address",
        )),
    }
}

/// The hub's addresses outside the overlay.
pub(crate) fn outer(hub: &Hub) -> Vec<IpAddr> {
    match (hub.engine, &hub.exit) {
        (Engine::Userspace, Exit::Packet(packet)) => packet.addresses.iter().map(IpNet::addr).collect(),
        _ => hub.source.clone(),
    }
}

/// Who has this address.
pub(crate) fn whose(address: IpAddr, config: &Config) -> Sender {
    let hub = &config.hub;
    if hub.addresses.iter().any(|net| net.addr() == address) || outer(hub).contains(&address) {
        return Sender::Hub;
    }
    let mut members = config.members.iter();
    if let Some((name, _)) = members.find(|(_, member)| member.addresses.contains(&address)) {
        return Sender::Member(name.clone());
    }
    let mut hosts = config.hosts.iter();
    let host = hosts.find(|(_, host)| host.addresses.contains(&address));
    Sender::Outside(host.map(|(name, _)| name.clone()))
}

fn by_interface(by: &str, sender: Sender, question: &Question, config: &Config) -> Result<Sender, QuestionError> {
    let hub = &config.hub;
    match sender {
        Sender::Member(_) if by == hub.interface => Ok(sender),
        _ if by == hub.uplink => Ok(match sender {
            Sender::Outside(name) => Sender::Outside(name),
            Sender::Member(_) | Sender::Hub => Sender::Outside(None),
        }),
        _ if by == hub.interface => Err(QuestionError::NotByTunnel {
            from: question.from.clone(),
            interface: by.to_owned(),
        }),
        _ => Err(QuestionError::Interface {
            interface: hub.interface.clone(),
            uplink: hub.uplink.clone(),
            by: by.to_owned(),
        }),
    }
}

fn unknown(name: &str, config: &Config, what: &'static str, say: &'static str) -> QuestionError {
    let of_group = config
        .members
        .iter()
        .filter(|(_, member)| member.groups.iter().any(|group| group == name));
    let members: Vec<String> = of_group.map(|(name, _)| name.clone()).collect();
    if members.is_empty() {
        let name = name.to_owned();
        QuestionError::Unknown { what, name, say }
    } else {
        let name = name.to_owned();
        QuestionError::Group { name, members }
    }
}

/// How a rule could name the ends of a packet, most particular first.
pub(super) fn parties(address: IpAddr, config: &Config) -> Vec<Party> {
    let mut parties = Vec::new();
    match whose(address, config) {
        Sender::Member(name) => {
            let groups = config.members.get(&name).map_or(&[][..], |member| &member.groups);
            parties.extend(groups.iter().cloned().map(Party::Group));
            parties.push(Party::Member(name));
        }
        Sender::Hub => parties.push(Party::Hub),
        Sender::Outside(Some(name)) => parties.push(Party::Host(name)),
        Sender::Outside(None) if outside().any(|somebody| somebody == address) => parties.push(Party::Internet),
        Sender::Outside(None) => parties.push(Party::Prefix(IpNet::from(address))),
    }
    parties
}
