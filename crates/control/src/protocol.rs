//! What is said on the control socket: one JSON line each way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fielato_fleet::hub::HostStatus;
use fielato_policy::Grant;
use fielato_policy::config::Over;
use fielato_policy::lockout::Logins;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accounting::Counters;
use crate::fleet::Token;
use crate::live::report::LivePacket;
use crate::revisions::Revision;

/// Version of every JSON that Fielato prints or answers.
pub const VERSION: u32 = 1;

/// What a command asks of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Request {
    Status,
    Reload,
    /// Puts the file's policy in force and records it as a revision.
    Apply {
        /// What for.
        message: Option<String>,
        /// Seconds within which it must be confirmed, or it is taken back.
        confirm: Option<u64>,
        /// The file is that of this earlier revision.
        rollback_of: Option<u64>,
        /// Who is logged in: the connection of who applies it must not break, and the end of others is told.
        #[serde(default)]
        logins: Logins,
        /// Also if that connection breaks, or those of hosts' agents.
        force: bool,
    },
    Confirm,
    /// Takes back what waits to be confirmed.
    TakeBack,
    /// The last revisions, the newest first.
    Revisions {
        limit: usize,
    },
    Revision {
        /// The one in force when `None`.
        number: Option<u64>,
    },
    Grant(NewGrant),
    Revoke {
        member: String,
        service: String,
    },
    Grants,
    /// What a plan depends on beside the file and the time.
    Standing,
    Usage {
        since: Timestamp,
        by: By,
    },
    Stop,
    Ban {
        network: IpNet,
        until: Option<Timestamp>,
    },
    Unban {
        network: IpNet,
    },
    Bans,
    /// Makes a token for a protected host. Answered by [`Response::Token`].
    EnrolHost {
        host: String,
    },
    Top,
    Shape,
    Tc {
        words: Vec<String>,
    },
    /// Shows the gateway's packets, line by line, until the client goes. Answered by [`Response::Watching`].
    Watch(Watch),
}

/// `fielato grant`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGrant {
    /// Who.
    pub member: String,
    /// To what.
    pub service: String,
    /// Gone from this moment on.
    pub until: Timestamp,
    /// What for.
    pub reason: Option<String>,
}

/// What a plan depends on beside the file and the time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Temporary access.
    pub grants: Vec<Grant>,
    /// Members that have used up a quota.
    pub over_quota: BTreeMap<String, Over>,
}

/// What `fielato usage` sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Each member alone.
    Member,
    /// The members of each group; who is in two groups counts in both.
    Group,
}

/// `fielato usage --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Format.
    pub version: u32,
    /// From the hour of this moment on.
    pub since: Timestamp,
    /// Up to this moment.
    pub until: Timestamp,
    /// In order of name.
    pub usage: Vec<UsageOf>,
}

impl Usage {
    /// Of sums by member or by group.
    #[must_use]
    pub fn new(sums: BTreeMap<String, Counters>, since: Timestamp, until: Timestamp) -> Self {
        Self {
            version: VERSION,
            since,
            until,
            usage: sums.into_iter().map(|(name, counters)| UsageOf { name, counters }).collect(),
        }
    }
}

/// What a member or group has sent and received, seen from the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageOf {
    /// Member or group.
    pub name: String,
    /// How much.
    #[serde(flatten)]
    pub counters: Counters,
}

/// What came of `fielato apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The revision in force.
    pub revision: Option<u64>,
    /// Whether the policy is another than before.
    pub is_new: bool,
    /// When it is taken back unless it is confirmed.
    pub until: Option<Timestamp>,
    /// What changed on the hub.
    pub changes: Changes,
    /// Whose sessions it cuts, other than that of who applies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `fielato show --json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionReport {
    /// Format.
    pub version: u32,
    /// By whom, when and why.
    pub revision: Revision,
    /// Names and texts.
    pub files: Vec<(String, String)>,
    /// The one that was in force before.
    pub before: Option<u64>,
    /// What it changed, as a unified diff.
    pub diff: String,
}

/// Which packets of the gateway's a client wants to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Packets within the tunnel.
    pub clear: bool,
    /// Encrypted packets.
    pub cipher: bool,
    /// In the words of `fielato capture`.
    pub filter: String,
    /// Bytes of each packet; 0 for all.
    pub snaplen: u32,
    /// Of no more packets than this each second it is said what they meet.
    pub explained: u32,
    /// Packets beyond that are not wanted at all.
    pub only_explained: bool,
}

/// A line that follows [`Response::Watching`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// A packet.
    Packet(Box<WatchedPacket>),
    /// The client was too slow.
    Lost {
        /// Packets lost since it began.
        packets: u64,
    },
}

/// A packet of the gateway's or its device's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchedPacket {
    /// It is within the tunnel, else encrypted.
    pub clear: bool,
    /// It came from peers, else it goes there.
    pub inbound: bool,
    /// It is as it came to be judged, else as it went by. Packets towards peers are shown as both.
    pub judged: bool,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// How long it was, from its IP header.
    pub len: u32,
    /// As much of it as was asked for, in base64.
    pub bytes: String,
    /// What it met.
    pub told: Option<LivePacket>,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Response {
    Done,
    Status(Box<Status>),
    Reloaded(Changes),
    Applied(Applied),
    Confirmed {
        revision: u64,
    },
    TakenBack {
        revision: u64,
        in_force: u64,
    },
    Revisions(Vec<Revision>),
    Revision(Box<RevisionReport>),
    Granted(Grant),
    /// Whether there was one.
    Revoked(bool),
    Grants(Vec<Grant>),
    Standing(Standing),
    Usage(Usage),
    Unbanned(bool),
    Bans(BanList),
    Token(Box<Token>),
    Top(Top),
    Shape(ShapeReport),
    /// What tc would print, or nothing.
    Tc {
        text: String,
    },
    /// From now on, a [`Watched`] each line.
    Watching,
    /// It was not done.
    Refused {
        /// Why, and what to do.
        message: String,
        /// Whether the configuration file is the reason.
        configuration: bool,
    },
}

/// `fielato status --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Format.
    pub version: u32,
    /// The hub's interface.
    pub interface: String,
    /// Who judges and moves packets: `"kernel"` or `"userspace"`.
    pub engine: String,
    /// What the kernel engine would have needed and this machine lacks, when the user-space engine was taken for that reason.
    #[serde(default)]
    pub missing: Vec<String>,
    /// How the user-space engine reaches what lies behind the hub: `"proxy"` or `"packet"`.
    #[serde(default)]
    pub exit: Option<String>,
    /// Connections that the user-space engine tracks.
    #[serde(default)]
    pub flows: Option<u64>,
    /// Who encrypts: `"kernel"` or `"userspace"`.
    pub wireguard: String,
    /// The hub's public key.
    pub public_key: String,
    /// UDP port.
    pub listen_port: u16,
    /// Overlay addresses of the hub.
    pub addresses: Vec<IpNet>,
    /// The interface towards the outside.
    pub uplink: String,
    /// When the daemon started.
    pub since: Timestamp,
    /// The daemon's process number.
    pub pid: u32,
    /// The guard: where it is attached.
    pub guard: Vec<GuardStatus>,
    /// The revision of the policy in force.
    #[serde(default)]
    pub revision: Option<u64>,
    /// When it is taken back unless it is confirmed.
    #[serde(default)]
    pub confirm_until: Option<Timestamp>,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// Packets that our own parts dropped, by reason; empty with the kernel's WireGuard under the kernel engine.
    pub drops: Vec<DropCount>,
    /// Protected hosts that have an agent.
    #[serde(default)]
    pub hosts: Vec<HostStatus>,
    /// What an administrator should look at.
    pub warnings: Vec<String>,
}

/// One attachment of the guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardStatus {
    /// Interface.
    pub interface: String,
    /// Of the XDP program `"native"` or `"generic"`; `"gateway"` where the user-space engine guards.
    pub mode: String,
    /// Whether bans stand when the daemon is killed.
    pub pinned: bool,
}

/// A member as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Name.
    pub name: String,
    /// Identity.
    pub public_key: String,
    /// Overlay addresses.
    pub addresses: Vec<IpNet>,
    /// Where it was last heard from.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake completed.
    pub latest_handshake: Option<Timestamp>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
}

/// Drops for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropCount {
    /// Who dropped them: `"wireguard"` or `"gateway"`.
    #[serde(default = "wireguard")]
    pub by: String,
    /// Name of the reason.
    pub reason: String,
    /// Packets.
    pub packets: u64,
}

/// It was the only one before there was a gateway.
fn wireguard() -> String {
    "wireguard".into()
}

/// `fielato bans --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BanList {
    /// Format.
    pub version: u32,
    /// The bans.
    pub bans: Vec<BanStatus>,
}

/// A ban and what it has stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BanStatus {
    /// Banned network.
    pub network: IpNet,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Whether it stands in the configuration file.
    pub configured: bool,
    /// Packets dropped since the daemon started.
    pub packets: u64,
    /// Bytes dropped since the daemon started.
    pub bytes: u64,
}

/// `fielato top --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// Format.
    pub version: u32,
    /// Sources, most bytes first.
    pub sources: Vec<Source>,
    /// The bans.
    pub bans: Vec<BanStatus>,
}

/// What came from one source address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Source address of the packets.
    pub address: IpAddr,
    /// Where it was counted.
    pub interface: String,
    /// The member that has this address.
    pub member: Option<String>,
    /// Packets.
    pub packets: u64,
    /// Bytes, from the IP header on.
    pub bytes: u64,
}

/// `fielato shape show --json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShapeReport {
    /// Format.
    pub version: u32,
    /// The hub's interface and its uplink.
    pub devices: Vec<ShapeDevice>,
}

/// The disciplines and classes of one interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShapeDevice {
    /// Interface.
    pub dev: String,
    /// Disciplines, then classes.
    pub items: Vec<ShapeItem>,
}

/// A discipline or class with its statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShapeItem {
    /// As `tc -s` prints it.
    pub text: String,
    /// Kind, handle, parent, parameters and counters.
    #[serde(flatten)]
    pub detail: serde_json::Value,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Peers added or changed.
    pub peers_set: usize,
    /// Peers removed.
    pub peers_removed: usize,
    /// The rule set: unchanged, its elements only, or whole.
    pub rules: RulesChange,
    /// Whether disciplines or classes changed.
    pub shaping: bool,
    /// Whether addresses, port or MTU changed.
    pub interface: bool,
    /// Bans added or removed.
    pub bans: usize,
    /// Connections that were ended because the rules of now would not let them begin.
    #[serde(default)]
    pub connections_cut: usize,
}

/// How much of the rule set changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum RulesChange {
    #[default]
    None,
    Elements,
    Whole,
}

impl Changes {
    /// Whether anything changed.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}
