//! Step 7.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::Deserialize;

use super::ping::{self, Ping, Way};
use super::{StepSpec, Talk};
use crate::topology::{Family, Node, TUNNEL};

pub(super) const STEP: StepSpec = StepSpec {
    title: "Guard",
    claim: "Every packet is counted by its source; packets of a banned address are dropped before the network stack.",
    needs_tunnel: true,
    takes_down: false,
    run,
};

/// What ping(8) sends unless told otherwise: 56 bytes behind 8 of ICMP and the IP header.
const PING_V4: u64 = 56 + 8 + 20;
const PING_V6: u64 = 56 + 8 + 40;
/// Pings for each way that a ban should close.
const LOST: u32 = 3;
/// No counter moves for this long: what was on its way from an earlier step has arrived.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    counters(talk)?;
    let banned = Family::BOTH.map(|family| Node::ClientB.overlay(family));
    let result = bans(talk, &banned);
    // Whatever happened: what follows is measured without bans.
    for address in banned {
        talk.lab
            .machine(Node::VpnCore)
            .fielato(["unban", &address.to_string()])
            .run(talk.interrupt)?;
    }
    result
}

/// Known numbers of pings, and what the counters gained.
fn counters(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let before = quiet(talk)?;
    let way = |from, to, family, count| Way {
        from,
        to,
        family,
        ping: Ping::of(count),
    };
    let ways = [
        way(Node::ClientA, Node::VpnCore, Family::V4, 7),
        way(Node::ClientA, Node::VpnCore, Family::V6, 5),
        way(Node::ClientB, Node::VpnCore, Family::V4, 4),
        way(Node::ClientB, Node::VpnCore, Family::V6, 3),
        way(Node::ClientA, Node::ClientB, Family::V4, 2),
        way(Node::ClientA, Node::ClientB, Family::V6, 6),
    ];
    let mut expected: BTreeMap<IpAddr, Count> = BTreeMap::new();
    for (way, pong) in ways.iter().zip(ping::send_all(talk.lab, &ways, talk.interrupt)?) {
        if !pong.all() {
            let all = format!("{0} of {0} answered", way.ping.count);
            talk.recorder.check(way.to_string(), all, pong.to_string(), false)?;
        }
        let size = if way.family == Family::V4 { PING_V4 } else { PING_V6 };
        // An answer is a packet of its sender; what the hub itself sends does not come in by its tunnel.
        for source in [way.from, way.to].into_iter().filter(|node| *node != Node::VpnCore) {
            let count = expected.entry(source.overlay(way.family)).or_default();
            count.add(u64::from(way.ping.count), size);
        }
    }
    let after = quiet(talk)?;
    for (source, expected) in expected {
        let measured = after.source(source).since(before.source(source));
        talk.recorder.check(
            format!("counted from {source}"),
            expected.to_string(),
            measured.to_string(),
            measured == expected,
        )?;
    }
    Ok(())
}

fn bans(talk: &mut Talk<'_, '_, '_>, banned: &[IpAddr]) -> Result<()> {
    let hub = talk.lab.machine(Node::VpnCore);
    for address in banned {
        hub.fielato(["ban", &address.to_string()]).succeed(talk.interrupt)?;
    }
    let before = quiet(talk)?;
    let closed = [(Node::ClientA, Node::ClientB), (Node::ClientB, Node::VpnCore)];
    talk.expect_loss("client-b banned: ", &closed, LOST)?;
    talk.expect_answers("client-b banned: ", &[(Node::ClientA, Node::VpnCore)])?;
    let after = quiet(talk)?;
    for &address in banned {
        // What client-b sent to the hub, and its answers to client-a.
        let expected = Count {
            packets: 2 * u64::from(LOST),
            bytes: 2 * u64::from(LOST) * if address.is_ipv4() { PING_V4 } else { PING_V6 },
        };
        let measured = after.ban(address).since(before.ban(address));
        talk.recorder.check(
            format!("dropped from {address}"),
            expected.to_string(),
            measured.to_string(),
            measured == expected,
        )?;
    }
    for address in banned {
        hub.fielato(["unban", &address.to_string()]).succeed(talk.interrupt)?;
    }
    talk.expect_answers("unbanned: ", &closed)
}

/// `fielato top --once --json`, once nothing moves any more.
fn quiet(talk: &Talk<'_, '_, '_>) -> Result<Top> {
    let mut last = Top::read(talk)?;
    let settled = talk.interrupt.wait(PATIENCE, || {
        talk.interrupt.sleep(QUIET)?;
        let now = Top::read(talk)?;
        let same = now == last;
        last = now;
        Ok(same.then_some(()))
    })?;
    settled.context("the guard's counters don't come to rest")?;
    Ok(last)
}

/// What `fielato top --once --json` prints, as far as it matters here.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Top {
    sources: Vec<Source>,
    bans: Vec<Ban>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Source {
    address: IpAddr,
    interface: String,
    #[serde(flatten)]
    count: Count,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Ban {
    network: IpNet,
    #[serde(flatten)]
    count: Count,
}

impl Top {
    fn read(talk: &Talk<'_, '_, '_>) -> Result<Self> {
        let json = talk
            .lab
            .machine(Node::VpnCore)
            .fielato(["top", "--once", "--json"])
            .succeed(talk.interrupt)?;
        let mut top: Self = serde_json::from_str(&json).with_context(|| format!("`fielato top --json` printed {json}"))?;
        // Most bytes first there; by address here, so that two can be compared.
        top.sources
            .sort_by(|one, other| (one.address, &one.interface).cmp(&(other.address, &other.interface)));
        top.bans.sort_by_key(|ban| ban.network);
        Ok(top)
    }

    fn source(&self, address: IpAddr) -> Count {
        self.sources
            .iter()
            .find(|source| source.address == address && source.interface == TUNNEL)
            .map_or_else(Count::default, |source| source.count)
    }

    fn ban(&self, address: IpAddr) -> Count {
        self.bans
            .iter()
            .find(|ban| ban.network == IpNet::from(address))
            .map_or_else(Count::default, |ban| ban.count)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, packets: u64, size: u64) {
        self.packets += packets;
        self.bytes += packets * size;
    }

    fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} packets, {} bytes", self.packets, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_top_prints() {
        let json = r#"{"version":1,"sources":[{"address":"192.168.4.2","interface":"wg0","member":"client-a","packets":3,"bytes":252}],
            "bans":[{"network":"192.168.4.3/32","until":null,"configured":false,"packets":2,"bytes":168}]}"#;
        let top: Top = serde_json::from_str(json).unwrap();
        assert_eq!(top.source("192.168.4.2".parse().unwrap()), Count { packets: 3, bytes: 252 });
        assert_eq!(top.source("192.168.4.9".parse().unwrap()), Count::default());
        assert_eq!(top.ban("192.168.4.3".parse().unwrap()), Count { packets: 2, bytes: 168 });
    }
}
