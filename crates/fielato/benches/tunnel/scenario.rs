//! What is measured between two machines, and through a hub between them.
//!
//! ```text
//!  a ── 10.77.0.1 ═ veth ═ 10.77.0.2 ── b            tunnel: 10.88.0.1, 10.88.0.2
//!
//!  a ── 10.77.0.1 ═ veth ═ 10.77.0.9 ── hub ── 10.78.0.9 ═ veth ═ 10.78.0.2 ── b
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fielato_lab::Interrupt;

use crate::implementation::{Device, Implementation, MTU};
use crate::machine::Machine;
use crate::traffic::{self, Server};

/// MTU of the tunnels through the hub: the inner packets have so many bytes.
const HUB_MTU: u32 = 1400;
/// Payload of a TCP segment in them: 20 bytes of IPv4, 32 of TCP with its timestamps.
const HUB_SEGMENT: f64 = HUB_MTU as f64 - 52.0;
/// Payload of the small datagrams.
const SMALL: u32 = 64;
/// Their length on the tunnel, with IPv4 and UDP.
const SMALL_PACKET: f64 = SMALL as f64 + 28.0;
/// Pings on an idle tunnel.
const IDLE_PINGS: u32 = 100;

/// One kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Pings on an idle tunnel
    Ping,
    /// One TCP stream, and the memory it takes
    Tcp,
    /// Pings beside one TCP stream
    PingLoaded,
    /// 64-byte datagrams as fast as iperf3 sends them
    Udp,
    /// One TCP stream, the veth pair's offloads switched off
    TcpPlain,
    /// One TCP stream from a through a hub to b
    Hub,
    /// 10,000 peers at a hub, of whom 1,000 send
    Peers,
}

impl Scenario {
    /// In the order of a round.
    pub const ALL: [Self; 7] = [
        Self::Ping,
        Self::Tcp,
        Self::PingLoaded,
        Self::Udp,
        Self::TcpPlain,
        Self::Hub,
        Self::Peers,
    ];

    /// In the result's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Tcp => "tcp",
            Self::PingLoaded => "ping-loaded",
            Self::Udp => "udp",
            Self::TcpPlain => "tcp-plain",
            Self::Hub => "hub",
            Self::Peers => "peers",
        }
    }

    /// Over its table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ping => "ping, idle tunnel",
            Self::Tcp => "TCP, one stream; CPU per kB of payload at each end; memory of the receiving end",
            Self::PingLoaded => "ping under one TCP stream",
            Self::Udp => "UDP, 64 bytes of payload, one iperf3 stream without a limit; CPU per packet at each end",
            Self::TcpPlain => "TCP, one stream, the veth pair's offloads off",
            Self::Hub => "TCP, one stream a → hub → b, packets of 1,400 bytes; CPU per packet at the hub",
            Self::Peers => "a hub with 10,000 peers, packets of 1,400 bytes from 1,000 of them, against one peer alone",
        }
    }

    /// Whether it can be measured without a tunnel, for comparison.
    pub const fn can_be_bare(self) -> bool {
        !matches!(self, Self::Hub | Self::Peers)
    }
}

/// What was measured: a figure's name in the result's file, and its value.
pub type Figures = Vec<(&'static str, f64)>;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub seconds: u32,
    pub interrupt: &'static Interrupt,
}

/// Measures once. Without an implementation, on the bare veth pair.
pub fn measure(scenario: Scenario, implementation: Option<&Implementation>, extent: Extent) -> Result<Figures> {
    if let (Scenario::Hub, Some(implementation)) = (scenario, implementation) {
        return hub(implementation, extent);
    }
    if let (Scenario::Peers, Some(implementation)) = (scenario, implementation) {
        return crate::peers::measure(implementation, extent);
    }
    let pair = Pair::new(implementation, extent.interrupt)?;
    match scenario {
        Scenario::Ping => {
            let times = traffic::ping(&pair.a, pair.target, IDLE_PINGS, extent.interrupt)?;
            Ok(vec![("median_ms", quantile(&times, 0.5))])
        }
        Scenario::Tcp => pair.tcp(extent),
        Scenario::PingLoaded => pair.ping_loaded(extent),
        Scenario::Udp => pair.udp(extent),
        Scenario::TcpPlain => {
            for (machine, interface) in [(&pair.a, "v0"), (&pair.b, "v0")] {
                offloads_off(machine, interface)?;
            }
            pair.tcp(extent)
        }
        Scenario::Hub | Scenario::Peers => bail!("{} needs an implementation", scenario.name()),
    }
}

/// Two machines, joined, with or without a tunnel between them.
struct Pair {
    /// The devices of a and of b; they end before their machines do.
    devices: Option<(Device, Device)>,
    server: Server,
    a: Machine,
    b: Machine,
    target: &'static str,
}

impl Pair {
    fn new(implementation: Option<&Implementation>, interrupt: &Interrupt) -> Result<Self> {
        let (a, b) = (Machine::new("a")?, Machine::new("b")?);
        Machine::join((&a, "v0", "10.77.0.1/24"), (&b, "v0", "10.77.0.2/24"))?;
        let mut target = "10.77.0.2";
        let mut devices = None;
        if let Some(implementation) = implementation {
            let near = Device::start(implementation, &a, interrupt)?;
            let far = Device::start(implementation, &b, interrupt)?;
            near.add_peer(&far.key, Some("10.77.0.2"), "10.88.0.2/32")?;
            far.add_peer(&near.key, Some("10.77.0.1"), "10.88.0.1/32")?;
            near.up(&a, "10.88.0.1/24", MTU)?;
            far.up(&b, "10.88.0.2/24", MTU)?;
            target = "10.88.0.2";
            devices = Some((near, far));
        }
        let server = Server::start(&b, interrupt)?;
        traffic::reach(&a, target, interrupt)?;
        Ok(Self {
            devices,
            server,
            a,
            b,
            target,
        })
    }

    /// Nanoseconds so far at a and at b.
    fn cpu(&self) -> Result<Option<(u64, u64)>> {
        let Some((near, far)) = &self.devices else {
            return Ok(None);
        };
        Ok(Some((near.process.cpu()?, far.process.cpu()?)))
    }

    fn tcp(mut self, extent: Extent) -> Result<Figures> {
        let before = self.cpu()?;
        let stream = traffic::start_tcp(&self.a, self.target, extent.seconds)?;
        extent.interrupt.sleep(half(extent.seconds))?;
        let resident = self.memory("VmRSS")?;
        let stream = traffic::finish_tcp(stream, extent.seconds, extent.interrupt)?;
        self.server.check()?;
        let mut figures = vec![("mbit_per_s", stream.mbit_per_second), ("retransmits", stream.retransmits)];
        if let (Some(before), Some(after)) = (before, self.cpu()?) {
            let per_kilobyte = |before: u64, after: u64| (after - before) as f64 / (stream.bytes / 1e3);
            figures.push(("sender_ns_per_kb", per_kilobyte(before.0, after.0)));
            figures.push(("receiver_ns_per_kb", per_kilobyte(before.1, after.1)));
        }
        figures.extend(resident.map(|megabytes| ("resident_mb", megabytes)));
        figures.extend(self.memory("VmHWM")?.map(|megabytes| ("peak_mb", megabytes)));
        Ok(figures)
    }

    fn memory(&self, field: &str) -> Result<Option<f64>> {
        self.devices.as_ref().map(|(_, far)| far.process.memory(field)).transpose()
    }

    fn ping_loaded(self, extent: Extent) -> Result<Figures> {
        let stream = traffic::start_tcp(&self.a, self.target, extent.seconds)?;
        extent.interrupt.sleep(Duration::from_secs(1))?;
        // As many as fit beside the stream, with room for answers that take longer.
        let times = traffic::ping(&self.a, self.target, extent.seconds * 80, extent.interrupt)?;
        let stream = traffic::finish_tcp(stream, extent.seconds, extent.interrupt)?;
        Ok(vec![
            ("median_ms", quantile(&times, 0.5)),
            ("p99_ms", quantile(&times, 0.99)),
            ("mbit_per_s", stream.mbit_per_second),
        ])
    }

    fn udp(self, extent: Extent) -> Result<Figures> {
        let sent = |pair: &Self| pair.devices.as_ref().map(|(near, _)| near.counters()).transpose();
        let (before, sent_before) = (self.cpu()?, sent(&self)?);
        let datagrams = traffic::udp(&self.a, self.target, SMALL, extent.seconds, extent.interrupt)?;
        let mut figures = vec![("packets_per_s", datagrams.per_second)];
        if let (Some(before), Some(after), Some(sent_before), Some(sent)) = (before, self.cpu()?, sent_before, sent(&self)?) {
            // What the tunnel's queue dropped before the program saw it costs the program nothing, and isn't counted.
            let taken = (sent.sent_bytes - sent_before.sent_bytes) as f64 / SMALL_PACKET;
            figures.push(("taken_per_s", taken / f64::from(extent.seconds)));
            figures.push(("sender_us_per_packet", (after.0 - before.0) as f64 / taken / 1e3));
            figures.push((
                "receiver_us_per_packet",
                (after.1 - before.1) as f64 / datagrams.received / 1e3,
            ));
        }
        Ok(figures)
    }
}

fn hub(implementation: &Implementation, extent: Extent) -> Result<Figures> {
    let Extent { seconds, interrupt } = extent;
    let (a, hub, b) = (Machine::new("a")?, Machine::new("hub")?, Machine::new("b")?);
    Machine::join((&a, "v0", "10.77.0.1/24"), (&hub, "v0", "10.77.0.9/24"))?;
    Machine::join((&b, "v0", "10.78.0.2/24"), (&hub, "v1", "10.78.0.9/24"))?;
    let middle = Device::start(implementation, &hub, interrupt)?;
    middle.up(&hub, "10.88.0.9/24", HUB_MTU)?;
    let mut clients = Vec::new();
    for (machine, outer, inner) in [(&a, "10.77.0", "10.88.0.1"), (&b, "10.78.0", "10.88.0.2")] {
        let client = Device::start(implementation, machine, interrupt)?;
        client.add_peer(&middle.key, Some(&format!("{outer}.9")), "10.88.0.0/24")?;
        client.up(machine, &format!("{inner}/24"), HUB_MTU)?;
        let host = outer_host(inner)?;
        middle.add_peer(&client.key, Some(&format!("{outer}.{host}")), &format!("{inner}/32"))?;
        clients.push(client);
    }
    let mut server = Server::start(&b, interrupt)?;
    traffic::reach(&a, "10.88.0.2", interrupt)?;
    let before = middle.process.cpu()?;
    let stream = traffic::finish_tcp(traffic::start_tcp(&a, "10.88.0.2", seconds)?, seconds, interrupt)?;
    server.check()?;
    let packets = stream.bytes / HUB_SEGMENT;
    Ok(vec![
        ("mbit_per_s", stream.mbit_per_second),
        ("hub_ns_per_packet", (middle.process.cpu()? - before) as f64 / packets),
        ("hub_peak_mb", middle.process.memory("VmHWM")?),
    ])
}

/// The last number of an address: it is the same inside and outside of the tunnel.
fn outer_host(inner: &str) -> Result<&str> {
    inner.rsplit('.').next().context("an IPv4 address has dots")
}

/// Every packet crosses the pair by itself, with its checksum made, as on a network without such help.
fn offloads_off(machine: &Machine, interface: &str) -> Result<()> {
    machine.shell(&format!(
        "ethtool -K {interface} tso off gso off gro off tx-udp-segmentation off tx off"
    ))
}

fn half(seconds: u32) -> Duration {
    Duration::from_millis(u64::from(seconds) * 500 + 1000)
}

/// Of sorted values.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
