//! Connections and expectations as people and programs read them: lines of `conntrack -L` and `-E`, of
//! `/proc/net/nf_conntrack`, and data for JSON.

use std::fmt::{self, Write};
use std::net::IpAddr;

use fielato_wire::{Addr, Family, number};
use serde::{Deserialize, Serialize};

use super::event::{Change, Changes, Event, ExpectChange};
use super::tuple::write_numbers;
use super::{Conn, Conntrack, Direction, Expectation, HelperKind, Status, Tuple, Zone, proto};
use crate::{Counters, Now};

/// A connection as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Tuples, by [`Direction::index`].
    pub tuples: [Tuple; 2],
    /// The protocol's name.
    pub protocol: &'static str,
    /// Seconds until it expires.
    pub timeout: u64,
    /// The protocol's state.
    pub state: Option<&'static str>,
    /// Status bits.
    pub status: Status,
    /// What passed; `None` when nothing is counted.
    pub counters: Option<[Counters; 2]>,
    /// Mark.
    pub mark: u32,
    /// Zone.
    pub zone: Zone,
    /// Helper.
    pub helper: Option<HelperKind>,
    /// Labels.
    pub labels: u128,
    /// GRE shows its timeouts in `/proc`, in seconds.
    gre_timeouts: Option<(u32, u32)>,
    /// A registered protocol's numbers, as it prints them.
    numbers: Option<Box<[String; 2]>>,
}

/// An expectation as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectRecord {
    /// The expectation.
    pub expectation: Expectation,
    /// The original tuple of the connection that announced it; `None` when that is gone.
    pub master: Option<Tuple>,
    /// Seconds until it expires.
    pub timeout: u64,
}

/// The name of a protocol, as `conntrack` knows it.
const fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        number::ICMP => "icmp",
        number::TCP => "tcp",
        number::UDP => "udp",
        number::DCCP => "dccp",
        number::GRE => "gre",
        number::ICMPV6 => "icmpv6",
        number::SCTP => "sctp",
        number::UDPLITE => "udplite",
        _ => "unknown",
    }
}

const fn family_name(family: Family) -> (&'static str, u8) {
    match family {
        Family::V4 => ("ipv4", 2),
        Family::V6 => ("ipv6", 10),
    }
}

impl Conntrack {
    /// A connection as listings show it.
    pub fn record(&self, conn: &Conn) -> Record {
        let protocol = conn.tuples[0].protocol;
        let tracker = self.trackers.get(protocol);
        let timeouts = &self.config.timeouts;
        Record {
            tuples: conn.tuples,
            protocol: tracker.map_or(protocol_name(protocol), |tracker| tracker.name()),
            timeout: conn.deadline.saturating_sub(self.now.mono) / Now::SECOND,
            state: proto::state_name(&conn.proto),
            status: conn.status,
            counters: self.config.acct.then_some(conn.counters),
            mark: conn.mark,
            zone: conn.zone,
            helper: conn.helper,
            labels: conn.extra.as_ref().map_or(0, |extra| extra.labels),
            gre_timeouts: (protocol == number::GRE).then_some((timeouts.gre, timeouts.gre_stream)),
            numbers: tracker.map(|tracker| {
                Box::new(conn.tuples.map(|tuple| {
                    let mut text = String::new();
                    // Writing to a string does not fail; a tracker that does says nothing.
                    let _ = tracker.print(&tuple, &mut text);
                    text
                }))
            }),
        }
    }

    /// Every confirmed connection of a family, or of both, as listings show them.
    pub fn records(&self, family: Option<Family>) -> impl Iterator<Item = Record> {
        self.iter()
            .filter(move |(_, conn)| family.is_none_or(|family| family == conn.tuples[0].family))
            // The kernel hides these too.
            .filter(|(_, conn)| !conn.status.has(Status::NAT_CLASH))
            .map(|(_, conn)| self.record(conn))
    }

    /// An expectation as listings show it.
    pub fn expect_record(&self, expectation: &Expectation) -> ExpectRecord {
        ExpectRecord {
            expectation: expectation.clone(),
            master: self.get(expectation.master).map(|conn| conn.tuples[0]),
            timeout: expectation.deadline.saturating_sub(self.now.mono) / Now::SECOND,
        }
    }

    /// Every expectation, as listings show them.
    pub fn expect_records(&self) -> impl Iterator<Item = ExpectRecord> {
        self.expectations().map(|expectation| self.expect_record(expectation))
    }

    /// Everything, for JSON.
    pub fn listing(&self, family: Option<Family>) -> Listing {
        Listing {
            version: LISTING_VERSION,
            connections: self.records(family).map(|record| Connection::from(&record)).collect(),
            expectations: self
                .expect_records()
                .filter(|record| family.is_none_or(|family| family == record.expectation.tuple.family))
                .map(|record| Expected::from(&record))
                .collect(),
        }
    }
}

/// What lines differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    List,
    Proc,
    Event(Change, Changes),
}

impl Record {
    /// The line that `conntrack -L` prints (1.4.7, its default format).
    pub fn conntrack_line(&self) -> String {
        self.line(Style::List)
    }

    /// The line of `/proc/net/nf_conntrack`.
    pub fn proc_line(&self) -> String {
        self.line(Style::Proc)
    }

    fn line(&self, style: Style) -> String {
        let mut out = String::with_capacity(256);
        // Writing to a string does not fail.
        let _ = self.write(&mut out, style);
        out
    }

    fn write(&self, out: &mut String, style: Style) -> fmt::Result {
        let tuple = &self.tuples[0];
        if style == Style::Proc {
            let (name, l3) = family_name(tuple.family);
            write!(out, "{name:<8} {l3} ")?;
        }
        write!(out, "{:<8} {}", self.protocol, tuple.protocol)?;
        if !matches!(style, Style::Event(Change::Destroy, _)) || self.timeout != 0 {
            write!(out, " {}", self.timeout)?;
        }
        if let Some(state) = self.state {
            write!(out, " {state}")?;
        }
        if let (Style::Proc, Some((unreplied, stream))) = (style, self.gre_timeouts) {
            write!(out, " timeout={unreplied}, stream_timeout={stream}")?;
        }
        self.write_direction(out, style, Direction::Original)?;
        if !self.status.has(Status::SEEN_REPLY) {
            out.write_str(" [UNREPLIED]")?;
        }
        self.write_direction(out, style, Direction::Reply)?;
        if self.status.has(Status::ASSURED) {
            out.write_str(" [ASSURED]")?;
        }
        let unmarked = matches!(style, Style::Event(_, changes) if !changes.has(Changes::MARK));
        if self.mark != 0 || !unmarked {
            write!(out, " mark={}", self.mark)?;
        }
        if matches!(self.zone.directions, 0 | 3) && (self.zone.id != 0 || style == Style::Proc) {
            write!(out, " zone={}", self.zone.id)?;
        }
        if let (Some(helper), Style::List | Style::Event(Change::New | Change::Update, _)) = (self.helper, style) {
            write!(out, " helper={}", helper.name())?;
        }
        match style {
            Style::List => out.write_str(" use=1"),
            // Whoever reads the file holds it too.
            Style::Proc => out.write_str(" use=2"),
            Style::Event(..) => Ok(()),
        }
    }

    fn write_direction(&self, out: &mut String, style: Style, direction: Direction) -> fmt::Result {
        let tuple = &self.tuples[direction.index()];
        match style {
            Style::Proc => write!(
                out,
                " src={} dst={}",
                Full(tuple.src, tuple.family),
                Full(tuple.dst, tuple.family)
            )?,
            _ => write!(
                out,
                " src={} dst={}",
                tuple.src.display(tuple.family),
                tuple.dst.display(tuple.family)
            )?,
        }
        match &self.numbers {
            Some(numbers) if numbers[direction.index()].is_empty() => {}
            Some(numbers) => write!(out, " {}", numbers[direction.index()].trim())?,
            None => write_numbers(tuple, out)?,
        }
        let zone = |out: &mut String| match (self.zone.directions, direction) {
            (1, Direction::Original) => write!(out, " zone-orig={}", self.zone.id),
            (2, Direction::Reply) => write!(out, " zone-reply={}", self.zone.id),
            _ => Ok(()),
        };
        zone(out)?;
        if let Some(counters) = self.counters
            && !matches!(style, Style::Event(Change::New | Change::Update, _))
        {
            let counter = counters[direction.index()];
            write!(out, " packets={} bytes={}", counter.packets, counter.bytes)?;
        }
        Ok(())
    }
}

/// An address with all its digits, as the kernel prints IPv6.
struct Full(Addr, Family);

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_ip(self.1) {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => {
                for (i, group) in v6.segments().into_iter().enumerate() {
                    write!(f, "{}{group:04x}", if i == 0 { "" } else { ":" })?;
                }
                Ok(())
            }
        }
    }
}

impl ExpectRecord {
    /// The line that `conntrack -L expect` prints.
    pub fn conntrack_line(&self) -> String {
        let Expectation {
            tuple,
            src_mask,
            sport_mask,
            class,
            ..
        } = &self.expectation;
        let family = tuple.family;
        let mask = Tuple {
            src: *src_mask,
            dst: Addr::mask(family, family.bits()),
            sport: *sport_mask,
            dport: u16::MAX,
            ..*tuple
        };
        let mut out = String::with_capacity(256);
        let _ = write!(out, "{} proto={} {tuple}", self.timeout, tuple.protocol);
        let _ = write!(
            out,
            " mask-src={} mask-dst={}",
            mask.src.display(family),
            mask.dst.display(family)
        );
        let _ = write_numbers(&mask, &mut out);
        if let Some(master) = &self.master {
            let _ = write!(
                out,
                " master-src={} master-dst={}",
                master.src.display(master.family),
                master.dst.display(master.family)
            );
            let _ = write_numbers(master, &mut out);
        }
        if self.expectation.permanent {
            out.push_str(" PERMANENT");
        }
        let _ = write!(out, " class=0 helper={}", class.name());
        out
    }

    /// The line of `/proc/net/nf_conntrack_expect`.
    pub fn proc_line(&self) -> String {
        let tuple = &self.expectation.tuple;
        let family = tuple.family;
        let mut out = String::with_capacity(160);
        let _ = write!(
            out,
            "{} l3proto = {} proto={} src={} dst={}",
            self.timeout,
            family_name(family).1,
            tuple.protocol,
            Full(tuple.src, family),
            Full(tuple.dst, family)
        );
        let _ = write_numbers(tuple, &mut out);
        if self.expectation.permanent {
            out.push_str(" PERMANENT");
        }
        let _ = write!(out, " {}", self.expectation.class.name());
        out
    }
}

impl fmt::Display for Event {
    /// The line that `conntrack -E` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Connection { change, changes, record } => {
                let kind = match change {
                    Change::New => "[NEW]",
                    Change::Update => "[UPDATE]",
                    Change::Destroy => "[DESTROY]",
                };
                write!(f, "{kind:>9} {}", record.line(Style::Event(*change, *changes)))
            }
            Event::Expectation { change, record } => {
                let kind = match change {
                    ExpectChange::New => "[NEW]",
                    ExpectChange::Destroy => "[DESTROY]",
                };
                write!(f, "{kind:>9} {}", record.conntrack_line())
            }
        }
    }
}

/// The version of [`Listing`]; it goes up when a field is removed or changes its meaning.
pub const LISTING_VERSION: u32 = 1;

/// Connections and expectations, for JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// [`LISTING_VERSION`].
    pub version: u32,
    /// Connections.
    pub connections: Vec<Connection>,
    /// Expectations.
    pub expectations: Vec<Expected>,
}

/// One direction of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the listing's line")]
pub struct Side {
    pub src: IpAddr,
    pub dst: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srckey: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dstkey: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A connection, for JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The protocol's name.
    pub protocol: String,
    /// The protocol's number.
    pub protocol_number: u8,
    /// Seconds until it expires.
    pub timeout: u64,
    /// The protocol's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// As the first packet.
    pub original: Side,
    /// Back.
    pub reply: Side,
    /// Whether packets have been seen both ways.
    pub replied: bool,
    /// Whether it is not dropped early.
    pub assured: bool,
    /// All status bits (`enum ip_conntrack_status`).
    pub status: u32,
    /// Mark.
    pub mark: u32,
    /// Zone.
    pub zone: u16,
    /// `original` or `reply` when the zone counts in one direction only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_direction: Option<String>,
    /// Helper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    /// Numbers of the labels that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<u8>,
}

/// An expectation, for JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// The protocol's number.
    pub protocol_number: u8,
    /// Seconds until it expires.
    pub timeout: u64,
    /// The tuple to come.
    pub tuple: Side,
    /// Bits of the source address that count.
    pub src_mask: IpAddr,
    /// Bits of the source port that count.
    pub sport_mask: u16,
    /// The original direction of the connection that announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<Side>,
    /// Whether it stays when it has been met.
    pub permanent: bool,
    /// The helper that made it.
    pub helper: String,
}

impl Side {
    fn new(tuple: &Tuple, counter: Option<Counters>) -> Side {
        let ports = tuple.has_ports();
        let gre = tuple.protocol == number::GRE;
        let (kind, code) = tuple.icmp();
        let icmp = matches!(tuple.protocol, number::ICMP | number::ICMPV6);
        Side {
            src: tuple.src.to_ip(tuple.family),
            dst: tuple.dst.to_ip(tuple.family),
            sport: ports.then_some(tuple.sport),
            dport: ports.then_some(tuple.dport),
            kind: icmp.then_some(kind),
            code: icmp.then_some(code),
            id: icmp.then_some(tuple.sport),
            srckey: gre.then_some(tuple.sport),
            dstkey: gre.then_some(tuple.dport),
            packets: counter.map(|counter| counter.packets),
            bytes: counter.map(|counter| counter.bytes),
        }
    }
}

impl From<&Record> for Connection {
    fn from(record: &Record) -> Connection {
        let side = |direction: Direction| {
            let at = direction.index();
            Side::new(&record.tuples[at], record.counters.map(|counters| counters[at]))
        };
        let zone_direction = match record.zone.directions {
            1 => Some("original"),
            2 => Some("reply"),
            _ => None,
        };
        Connection {
            family: family_name(record.tuples[0].family).0.to_owned(),
            protocol: record.protocol.to_owned(),
            protocol_number: record.tuples[0].protocol,
            timeout: record.timeout,
            state: record.state.map(str::to_owned),
            original: side(Direction::Original),
            reply: side(Direction::Reply),
            replied: record.status.has(Status::SEEN_REPLY),
            assured: record.status.has(Status::ASSURED),
            status: record.status.0,
            mark: record.mark,
            zone: record.zone.id,
            zone_direction: zone_direction.map(str::to_owned),
            helper: record.helper.map(|helper| helper.name().to_owned()),
            labels: (0..128).filter(|&bit| record.labels >> bit & 1 != 0).collect(),
        }
    }
}

impl From<&ExpectRecord> for Expected {
    fn from(record: &ExpectRecord) -> Expected {
        let expectation = &record.expectation;
        let family = expectation.tuple.family;
        Expected {
            family: family_name(family).0.to_owned(),
            protocol_number: expectation.tuple.protocol,
            timeout: record.timeout,
            tuple: Side::new(&expectation.tuple, None),
            src_mask: expectation.src_mask.to_ip(family),
            sport_mask: expectation.sport_mask,
            master: record.master.map(|master| Side::new(&master, None)),
            permanent: expectation.permanent,
            helper: expectation.class.name().to_owned(),
        }
    }
}
