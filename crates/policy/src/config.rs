//! The configuration after validation. A value of type [`Config`] has passed every check; nothing that holds
//! one needs to check again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fielato_qdisc::{Class, Qdisc};
use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod expect;
mod group;
mod limits;
mod nat;
mod rates;
mod schedule;

pub use expect::{Expect, Test};
pub(crate) use group::contents;
pub use group::{Content, Group, Groups};
pub use limits::{Limits, Over, Period, Quota, QuotaOf};
pub use nat::{Publish, RawRule, RawTable};
pub(crate) use rates::Rates;
pub(crate) use schedule::MIDNIGHT;
pub use schedule::{Days, Hours, When};

/// A validated `fielato.toml`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// `[hub]`
    pub hub: Hub,
    /// `[member.NAME]`, by name.
    pub members: BTreeMap<String, Member>,
    /// `[group.NAME]`, by name. A group that only `groups` of members and hosts name is not among them.
    pub groups: BTreeMap<String, Group>,
    /// `[host.NAME]`, by name.
    pub hosts: BTreeMap<String, Host>,
    /// `[service.NAME]`, by name.
    pub services: BTreeMap<String, Service>,
    /// `[[rule]]`, in the file's order: the first match decides.
    pub rules: Vec<Rule>,
    /// `[[shape]]`, in the file's order.
    pub shapes: Vec<Shape>,
    /// `[[ban]]`
    pub bans: Vec<Ban>,
    /// `[[nat.publish]]`, in the file's order.
    pub publish: Vec<Publish>,
    /// `[raw]`, in the file's order.
    pub raw: Vec<RawRule>,
    /// `[[test]]`, in the file's order.
    pub tests: Vec<Test>,
}

/// The machine that all connections cross.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hub {
    /// Name of the WireGuard interface; at most 15 bytes.
    pub interface: String,
    /// Where members reach the hub: host name or address, and port.
    pub endpoint: Endpoint,
    /// The hub's addresses in the overlay with the overlay's prefix lengths; one or both families.
    pub addresses: Vec<IpNet>,
    /// The interface towards the protected hosts and the outside.
    pub uplink: String,
    /// UDP port to listen on.
    pub listen_port: u16,
    /// MTU of the interface; 1420 unless set.
    pub mtu: u32,
    /// Name servers written into members' files.
    pub dns: Vec<IpAddr>,
    /// Networks behind the hub that `route = "lab"` sends through the tunnel, beside the overlay and the protected hosts.
    pub lab: Vec<IpNet>,
    /// The hub's own addresses as protected hosts see them; the endpoint's when that is an address.
    pub source: Vec<IpAddr>,
    /// Whether what leaves the VPN for elsewhere takes the hub's address. Default yes.
    pub masquerade: bool,
    /// What the hub's forward chain does with packets that neither come from nor go to the interface.
    pub transit: Transit,
    /// The XDP guard.
    pub guard: GuardConfig,
    /// Who judges and moves the packets.
    pub engine: Engine,
    /// How the user-space engine reaches what lies behind the hub.
    pub exit: Exit,
    /// TCP port of the control channel of protected hosts' agents, on the hub's overlay addresses; 51821 unless set.
    pub control_port: u16,
}

/// `engine = "auto" | "kernel" | "userspace"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The kernel's where it can do all that the file asks for, else the user-space one.
    #[default]
    Auto,
    /// nftables, tc and XDP.
    Kernel,
    /// One process; the kernel is asked for nothing but a TUN, and without root not even for that.
    Userspace,
}

/// `exit = "proxy" | "packet"`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// Connections end in the hub and go on by ordinary sockets of its machine: the hub's address, and no root.
    #[default]
    Proxy,
    /// Packets, by an interface that is given over to the hub.
    Packet(PacketExit),
}

/// `[hub.packet]`: an interface of the hub's own, with addresses that the machine's kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PacketExit {
    /// The interface: neither the hub's nor the uplink.
    pub interface: String,
    /// The hub's addresses on it, with the prefix lengths of the networks there.
    pub addresses: Vec<IpNet>,
    /// The routers to what is further away, at most one per family.
    pub gateways: Vec<IpAddr>,
}

/// `HOST:PORT` as members dial it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// What happens to forwarded packets that are not the VPN's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transit {
    /// Leave it to others' rules in a family that forwarded before `up`; drop in one where `up` turned forwarding on.
    Auto,
    /// Drop.
    Drop,
    /// Leave it to others' rules.
    Leave,
}

/// `[hub.guard]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardConfig {
    /// Attach on the WireGuard interface. Default yes.
    pub enabled: bool,
    /// Also attach on the uplink, where it sees outer addresses. Default no.
    pub uplink: bool,
    /// How many sources are counted at once, per family; the least recently seen gives way. Default 65,536.
    pub sources: u32,
}

/// A machine or person with a WireGuard key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// Overlay addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// Identity.
    pub public_key: PublicKey,
    /// Groups it is in.
    pub groups: Vec<String>,
    /// How much of its traffic is tunnelled.
    pub route: Route,
    /// Seconds between keepalives, in the member's own file.
    pub keepalive: Option<u16>,
    /// Not a peer from this moment on.
    pub expires: Option<Timestamp>,
    /// Not a peer while set.
    pub disabled: bool,
    /// How fast and how much.
    pub limits: Limits,
}

/// `route = "all" | "lab" | ["PREFIX", …]`
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Everything.
    All,
    /// The overlay, the protected hosts and `hub.lab`.
    Lab,
    /// These, and the overlay.
    Prefixes(Vec<IpNet>),
}

/// A protected machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Its addresses outside the overlay, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// How it tells the VPN's packets from others.
    pub strategy: Strategy,
    /// Whether it has an agent, which talks to the hub as the member of the same name.
    pub agent: bool,
    /// Groups it is in.
    pub groups: Vec<String>,
}

/// How a protected host tells the VPN's packets from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// By the hub's address: `! -s HUB`. The hub masquerades.
    Source,
    /// By the interface: `! -i wg0`. The host is itself a member, of the same name.
    Member,
}

/// Ports on hosts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// Names of `[host.NAME]`s, at least one; where the file names a group, its hosts.
    pub hosts: Vec<String>,
    /// What is open.
    pub ports: Vec<PortSpec>,
}

/// `tcp/1234` or `udp/5000-5010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    /// Transport.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port, inclusive.
    pub last: u16,
}

/// Transports that a service can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Every one, in the order in which rules name them.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// Its name in the file, in nft and in iptables.
    pub const fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// Its number in an IP header.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => fielato_wire::number::TCP,
            Protocol::Udp => fielato_wire::number::UDP,
            Protocol::Sctp => fielato_wire::number::SCTP,
        }
    }
}

/// One line of the policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// What people call it.
    pub name: Option<String>,
    /// Who.
    pub from: Vec<Party>,
    /// To what.
    pub to: Vec<Party>,
    /// What happens.
    pub action: Action,
    /// When it holds: in any of these times; always when there are none.
    pub when: Vec<When>,
    /// Gone from this moment on.
    pub until: Option<Timestamp>,
    /// The included file it stands in; `None` for the main one.
    pub file: Option<String>,
    /// Line in the file, 1-based, for people who ask why.
    pub line: usize,
}

/// What `from` and `to` can name. Members, groups, hosts and services share one name space
/// (a member and a host of one name are the same machine).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Party {
    /// `"any"`
    Any,
    /// `"members"`: every member.
    Members,
    /// `"hub"`: the hub itself.
    Hub,
    /// `"internet"`: everything outside the overlay, `hub.lab` and the protected hosts.
    Internet,
    /// A member's overlay addresses.
    Member(String),
    /// A group's members.
    Group(String),
    /// A host's addresses (for strategy `member`: its overlay addresses too).
    Host(String),
    /// A service's host and ports; only in `to`.
    Service(String),
    /// An address or a network.
    Prefix(IpNet),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Action {
    Accept,
    Drop,
    Reject,
    /// Writes a line and leaves the packet to the next rule.
    Log {
        /// What the line begins with; at most 29 bytes, which is what iptables takes.
        prefix: String,
    },
    /// Accepts what is within a rate, in each family by itself, and drops the rest.
    Limit(Rate),
}

/// `limit = "10/second"`, `burst = 20`: of new connections, since what belongs to one that was let in passes before the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many in a [unit](Self::per).
    pub count: u32,
    /// Of what.
    pub per: RateUnit,
    /// How many at once after a pause.
    pub burst: u32,
}

impl Rate {
    /// At once unless said.
    pub const BURST: u32 = 5;

    /// Time between two, in ten-thousandths of a second, which is how iptables keeps it (`XT_LIMIT_SCALE` in linux/netfilter/xt_limit.h).
    pub fn interval(&self) -> u32 {
        let known = RateUnit::WORDS.iter().find(|(_, unit, _)| *unit == self.per);
        let seconds = known.map_or(1, |(_, _, seconds)| *seconds);
        (seconds * 10_000) / self.count.max(1)
    }

    /// The largest burst that can be counted; 0 when the rate itself cannot be kept. A full bucket has 32 bits, of which each costs
    /// 3.2 for a ten-thousandth of a second (`CREDITS_PER_JIFFY` in net/netfilter/xt_limit.c).
    pub fn most_at_once(&self) -> u32 {
        match self.interval() {
            0 => 0,
            interval => (u64::from(u32::MAX) / (u64::from(interval) * 32 / 10).max(1)).min(10_000) as u32,
        }
    }
}

/// Units of a [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum RateUnit {
    Second,
    Minute,
    Hour,
    Day,
}

impl RateUnit {
    /// Every one with its word, which is nft's and iptables' too, and its seconds.
    pub const WORDS: [(&'static str, RateUnit, u32); 4] = [
        ("second", RateUnit::Second, 1),
        ("minute", RateUnit::Minute, 60),
        ("hour", RateUnit::Hour, 3600),
        ("day", RateUnit::Day, 86400),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        let known = RateUnit::WORDS.iter().find(|(_, unit, _)| *unit == self);
        known.map_or("second", |(word, _, _)| word)
    }
}

/// `[[shape]]`: `qdisc = "…"` or `class = "…"` in tc's words, on `dev`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// Interface; the hub's own unless set (only the hub's interface or its uplink).
    pub dev: String,
    /// What is added.
    pub item: ShapeItem,
    /// The included file it stands in; `None` for the main one.
    pub file: Option<String>,
    /// Line in the file, 1-based.
    pub line: usize,
}

/// A discipline, or a class with those whose traffic goes into it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum ShapeItem {
    /// `qdisc = "root handle 1: htb default 30"`
    Qdisc(Qdisc),
    /// `class = "parent 1: classid 1:10 htb rate 10mbit"`, `for = ["alice", "staff"]`
    Class {
        /// The class.
        class: Class,
        /// Members, groups or prefixes (never services or hosts).
        parties: Vec<Party>,
    },
}

/// `[[ban]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ban {
    /// Address or network.
    pub network: IpNet,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}
