//! A real packet's way, as it is told: the same words and the same JSON for both engines.

use std::fmt;
use std::net::IpAddr;

use fielato_wire::{Headers, number};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One packet: a line of `fielato trace --live --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LivePacket {
    /// Format.
    pub version: u32,
    /// When it was seen.
    pub at: Timestamp,
    /// The packet as it came.
    pub packet: Ends,
    /// The interface that it came in by; none when this machine sent it.
    pub interface: Option<String>,
    /// What it met, in order.
    pub stations: Vec<LiveStation>,
    /// What became of it.
    pub verdict: LiveVerdict,
    /// Why, for a person: the rule that decided, with its line in the configuration.
    pub reason: String,
    /// How it left, when it left by an interface.
    pub left: Option<Left>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LiveVerdict {
    /// It passed all rules.
    Passed,
    /// A rule or a policy dropped it.
    Dropped,
    /// It passed some rules and was not seen again.
    Lost,
}

impl LiveVerdict {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
        }
    }
}

/// Where a packet comes from and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or the protocol's number.
    pub protocol: String,
    /// Source port, where there are ports.
    pub source_port: Option<u16>,
    /// Destination port, where there are ports.
    pub destination_port: Option<u16>,
    /// Bytes, from the IP header.
    pub length: u32,
}

impl Ends {
    /// Of a packet.
    pub fn of(headers: &Headers) -> Self {
        let ports = matches!(
            headers.protocol,
            number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP
        );
        let ports = ports && headers.l4_whole && !headers.is_later_fragment();
        Self {
            source: headers.src.to_ip(headers.family),
            destination: headers.dst.to_ip(headers.family),
            protocol: match headers.protocol {
                number::TCP => "tcp".into(),
                number::UDP => "udp".into(),
                number::ICMP => "icmp".into(),
                number::ICMPV6 => "icmpv6".into(),
                other => other.to_string(),
            },
            source_port: ports.then_some(headers.sport),
            destination_port: ports.then_some(headers.dport),
            length: headers.len.into(),
        }
    }

    /// Whether the addresses and ports are the same.
    pub fn same_ends(&self, other: &Self) -> bool {
        let ends = |ends: &Self| (ends.source, ends.destination, ends.source_port, ends.destination_port);
        ends(self) == ends(other)
    }

    /// Source and destination, as `10.0.0.1:53 > 10.0.0.2:4000`.
    pub fn way(&self) -> String {
        format!(
            "{} > {}",
            end(self.source, self.source_port),
            end(self.destination, self.destination_port)
        )
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {} bytes", self.protocol, self.way(), self.length)
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (address, None) => address.to_string(),
        (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
    }
}

/// One thing that a packet met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveStation {
    /// Where: family, table and chain, as `inet fielato forward`; or `guard`, `route`, `queue`.
    pub place: String,
    /// What connection tracking thought of it there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// The rule as it is written; none where a chain's policy decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// Lines of the configuration that the rule was made from.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lines: Vec<usize>,
    /// What was decided: `accept`, `drop`, `continue`, and so on.
    pub verdict: String,
    /// The packet as it was there, when it had been changed on its way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub packet: Option<Ends>,
}

/// How a packet left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The interface.
    pub interface: String,
    /// The packet as it left.
    pub packet: Ends,
}

impl LivePacket {
    /// One sentence, for a comment in a capture file.
    pub fn sentence(&self) -> String {
        let Self {
            packet,
            verdict,
            reason,
            left,
            ..
        } = self;
        let mut sentence = format!("{}: {reason}", verdict.name());
        if let Some(left) = left {
            sentence += &format!("; left by {}", left.interface);
            if !left.packet.same_ends(packet) {
                sentence += &format!(" as {}", left.packet.way());
            }
        }
        sentence
    }
}

/// Several lines, for a terminal.
impl fmt::Display for LivePacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match &self.interface {
            Some(interface) => format!("in by {interface}"),
            None => "sent by this machine".to_owned(),
        };
        writeln!(f, "{} {}, {by}", self.at.strftime("%H:%M:%S%.6f"), self.packet)?;
        let width = self.stations.iter().map(|station| station.place.len()).max().unwrap_or(0);
        for station in &self.stations {
            write!(f, "    {:<width$}  {:<9}", station.place, station.verdict)?;
            if let Some(rule) = &station.rule {
                write!(f, "  {rule}")?;
            }
            if let Some(state) = &station.state {
                write!(f, "  [{state}]")?;
            }
            if let Some(packet) = &station.packet {
                write!(f, "  now {}", packet.way())?;
            }
            writeln!(f)?;
        }
        writeln!(f, "  {}", self.sentence())
    }
}
